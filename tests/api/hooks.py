"""The format of cursors, for schemathesis."""

import base64
import json

import schemathesis
from hypothesis import strategies as st

times = st.none() | st.datetimes().map(lambda time: time.replace(microsecond=0).isoformat())
ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def cursor(time, order):
    """Encodes a `next_cursor`: the time and the id of the last order."""
    return base64.urlsafe_b64encode(json.dumps([time, order]).encode()).decode().rstrip("=")


schemathesis.openapi.format("cursor", st.builds(cursor, times, ids))
