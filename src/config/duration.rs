//! Durations in settings.

use std::time::Duration;

/// Far below the limits of timers and of PostgreSQL.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// Parses a duration with its unit, such as `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms or 2s"))?;
    if duration < Duration::from_millis(1) || duration > MAX_DURATION {
        return Err("a duration from 1ms to 24h is expected".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_have_bounds() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        for invalid in ["", "5", "-1s", "0s", "1ns", "2days", "soon"] {
            assert!(parse_duration(invalid).is_err(), "{invalid}");
        }
    }
}
