#!/usr/bin/env bash
# Management of many tenants: duration and peak memory of each command.
#
# Usage: benches/fleet.sh [TENANTS]…, by default 1000 and 10000. Needs psql, a PostgreSQL server on the machine
# (Debian: apt install postgresql), and an idle machine. Takes a quarter of an hour, mainly to create tenants.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked
program="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/tenant-orders"
scratch=$(mktemp -d)
chmod 755 "$scratch" # as root, PostgreSQL runs as another user
service=
cleanup() {
    [ -z "$service" ] || kill "$service" || true
    wait
    rm -rf "$scratch"
}
trap cleanup EXIT

measure() { # NAME COMMAND…: prints a row of the table
    local name=$1 start peak=0 now process
    shift
    start=$(date +%s.%N)
    "$@" >"$scratch/output" 2>&1 &
    process=$!
    while now=$(awk '/VmHWM/ {print $2}' "/proc/$process/status" 2>/dev/null) && [ -n "$now" ]; do
        peak=$now
        sleep 0.02
    done
    wait "$process" || { tail -n 5 "$scratch/output" >&2; return 1; }
    awk -v name="$name" -v start="$start" -v end="$(date +%s.%N)" -v peak="$peak" \
        'BEGIN {printf "| %s | %.2f | %.0f |\n", name, end - start, peak / 1024}'
}

back_to_version_1() { # 200 tenants per transaction, to fit the lock table
    for first in $(seq 1 200 "$1"); do
        psql "$DATABASE_URL" --quiet --output=/dev/null <<SQL
SET client_min_messages TO warning;
DO \$\$ BEGIN
    FOR tenant IN $first..least($first + 199, $1) LOOP
        EXECUTE format('DELETE FROM %1\$I._tenant_orders_migrations WHERE version > 1; DROP INDEX %1\$I.orders_user_id_idx;
                        ALTER TABLE %1\$I.items ALTER price TYPE double precision', 't' || tenant);
    END LOOP;
END \$\$;
SQL
    done
}

for tenants in "${@:-1000 10000}"; do
    for count in $tenants; do
        # The service gets no requests here. It only starts and stops PostgreSQL.
        rm -f "$scratch/service.log" && touch "$scratch/service.log"
        DATA_DIR="$scratch/$count" PORT=0 "$program" >"$scratch/service.log" 2>&1 &
        service=$!
        until grep -q 'listening on' "$scratch/service.log"; do
            kill -0 "$service" || { cat "$scratch/service.log" >&2; exit 1; }
            sleep 0.1
        done
        socket="$scratch/$count/cluster"
        export DATABASE_URL="postgres:///postgres?host=${socket//\//%2F}&port=5432&user=postgres"

        printf '\n%s tenants\n\n| | seconds | peak MiB |\n|---|--:|--:|\n' "$count"
        measure '`seed bulk`: create all, with 2 users, items and orders each' \
            "$program" seed bulk --tenants "$count" --users 2 --items 2 --orders 2
        measure '`tenants create`, one more tenant' "$program" tenants create 'one more'
        measure '`migrate`, nothing to do' "$program" migrate
        measure '`tenants list`' "$program" tenants list
        measure '`tenants check`' "$program" tenants check
        back_to_version_1 "$count"
        measure '`migrate --dry-run`, all tenants outdated' "$program" migrate --dry-run
        measure '`migrate`, all tenants outdated' "$program" migrate
        measure '`tenants check` after `migrate`' "$program" tenants check
        kill "$service"
        wait "$service"
        service=
    done
done
