//! Durations in parameters, such as `2h` or `7d`.

use std::time::Duration;

use jiff::SignedDuration;

/// Seconds of a day.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Reads a duration with its unit: whole days (`7d`), or hours and smaller units (`2h`, `1h 30m`,
/// `90s`). Returns `None` for any other text, and for a negative duration.
pub fn parse_span(text: &str) -> Option<Duration> {
    if let Some(days) = text.strip_suffix('d')
        && !days.is_empty()
        && days.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(Duration::from_secs(days.parse::<u64>().ok()?.checked_mul(DAY_SECONDS)?));
    }
    // A number without a unit is no duration, and blanks around one are a mistake.
    if text.parse::<f64>().is_ok() || text.trim() != text {
        return None;
    }
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_is_not_negative() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("2h", Some(7200)),
            ("1h 30m", Some(5400)),
            ("1d", Some(86_400)),
            ("90d", Some(7_776_000)),
            ("", None),
            ("d", None),
            ("2", None),
            ("-2h", None),
            ("+1d", None),
            ("1.5d", None),
            ("99999999999999999999d", None),
            ("999999999999999999d", None),
            ("two hours", None),
            ("2h\n", None),
        ] {
            assert_eq!(parse_span(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
