//! Durations as they are written in settings.

use std::time::Duration;

/// Settings are written in days at most; far below what any timer or PostgreSQL's own limits hold.
const LONGEST_DURATION: Duration = Duration::from_hours(24);

/// A duration with its unit, such as `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms or 2s"))?;
    if duration < Duration::from_millis(1) || duration > LONGEST_DURATION {
        return Err("a duration from 1ms to 24h is expected".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit_and_stay_in_bounds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "5", "-1s", "0s", "1ns", "2days", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
