//! Rules for numbers, durations and sizes, each with its unit and range.

use std::time::Duration;

use bytesize::ByteSize;
use config::{Value, ValueKind};
use jiff::SignedDuration;

use super::{RuleResult, ValueRule, ValueShape, value_problem};

/// A whole number within a range.
pub(crate) struct IntegerRule {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl ValueRule for IntegerRule {
    type Out = u32;
    const SHAPE: ValueShape = ValueShape::Number;

    fn allowed_values(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn parse_value(&self, value: &Value) -> RuleResult<u32> {
        let ValueKind::I64(number) = value.kind else {
            return value_problem(value, "not a whole number");
        };
        match u32::try_from(number) {
            Ok(count) if (self.min..=self.max).contains(&count) => Ok(count),
            _ => value_problem(value, "out of range"),
        }
    }
}

/// A ratio above 0 and at most 1.
pub(crate) struct RatioRule;

impl ValueRule for RatioRule {
    type Out = f64;
    const SHAPE: ValueShape = ValueShape::Number;

    fn allowed_values(&self) -> String {
        "a number above 0 and at most 1".to_owned()
    }

    fn parse_value(&self, value: &Value) -> RuleResult<f64> {
        match value.kind {
            ValueKind::Float(share) if share > 0.0 && share <= 1.0 => Ok(share),
            ValueKind::I64(1) => Ok(1.0),
            ValueKind::Float(_) | ValueKind::I64(_) => value_problem(value, "out of range"),
            _ => value_problem(value, "not a number"),
        }
    }
}

/// A duration with its unit, within a range.
pub(crate) struct DurationRule {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl ValueRule for DurationRule {
    type Out = Duration;
    const SHAPE: ValueShape = ValueShape::Text;

    fn allowed_values(&self) -> String {
        format!("{} to {}", duration_text(self.min), duration_text(self.max))
    }

    fn parse_value(&self, value: &Value) -> RuleResult<Duration> {
        let text = match &value.kind {
            ValueKind::I64(_) | ValueKind::Float(_) => return value_problem(value, NO_TIME_UNIT),
            ValueKind::String(text) => text,
            _ => return value_problem(value, "not a duration"),
        };
        if text.parse::<f64>().is_ok() {
            return value_problem(value, NO_TIME_UNIT);
        }
        match text.parse::<SignedDuration>().map(Duration::try_from) {
            Ok(Ok(span)) if (self.min..=self.max).contains(&span) => Ok(span),
            Ok(_) => value_problem(value, "out of range"),
            Err(_) => value_problem(value, "not a duration such as \"10s\" or \"1h 30m\""),
        }
    }
}

/// A duration that may also be a number of days of 24 hours, such as `7d`; at most `max`.
pub(crate) struct DaysRule {
    pub(crate) max: Duration,
}

impl ValueRule for DaysRule {
    type Out = Duration;
    const SHAPE: ValueShape = ValueShape::Text;

    fn allowed_values(&self) -> String {
        format!("0s to {}d", self.max.as_secs() / DAY_SECONDS)
    }

    fn parse_value(&self, value: &Value) -> RuleResult<Duration> {
        let days = match &value.kind {
            ValueKind::String(text) => text.strip_suffix('d').map(str::parse::<u32>),
            _ => None,
        };
        match days {
            Some(Ok(days)) => {
                let span = Duration::from_secs(u64::from(days).saturating_mul(DAY_SECONDS));
                if span <= self.max { Ok(span) } else { value_problem(value, "out of range") }
            }
            _ => DurationRule { min: Duration::ZERO, max: self.max }.parse_value(value),
        }
    }
}

/// Seconds of a day.
const DAY_SECONDS: u64 = 24 * 60 * 60;

const NO_TIME_UNIT: &str =
    "has no unit; write a string with the unit ms, s, m or h, such as \"10s\"";

/// Formats a duration as the settings write it.
fn duration_text(span: Duration) -> String {
    match SignedDuration::try_from(span) {
        Ok(span) => format!("{span:#}"),
        Err(_) => format!("{}s", span.as_secs()),
    }
}

/// A size in bytes with its unit, at most `max`.
pub(crate) struct SizeRule {
    pub(crate) max: u64,
}

impl ValueRule for SizeRule {
    type Out = u64;
    const SHAPE: ValueShape = ValueShape::Text;

    fn allowed_values(&self) -> String {
        format!("0B to {}", ByteSize::b(self.max).display().iec())
    }

    fn parse_value(&self, value: &Value) -> RuleResult<u64> {
        let text = match &value.kind {
            ValueKind::I64(_) | ValueKind::Float(_) => return value_problem(value, NO_SIZE_UNIT),
            ValueKind::String(text) => text,
            _ => return value_problem(value, "not a size"),
        };
        if !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return value_problem(value, NO_SIZE_UNIT);
        }
        match text.parse::<ByteSize>() {
            Ok(ByteSize(size)) if size <= self.max => Ok(size),
            Ok(_) => value_problem(value, "out of range"),
            Err(_) => value_problem(value, "not a size such as \"512MiB\" or \"1GiB\""),
        }
    }
}

const NO_SIZE_UNIT: &str =
    "has no unit; write a string with the unit B, KiB, MiB, GiB or TiB, such as \"1GiB\"";

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: DurationRule =
        DurationRule { min: Duration::from_secs(1), max: Duration::from_secs(3600) };

    fn problem<R: ValueRule>(rule: &R, value: impl Into<ValueKind>) -> Option<String> {
        rule.parse_value(&Value::new(None, value)).err()?.pop().map(|problem| problem.text)
    }

    #[test]
    fn a_duration_needs_its_unit_and_its_range() {
        for (text, seconds) in [("1s", 1.0), ("1.5s", 1.5), ("1h", 3600.0), ("2m 30s", 150.0)] {
            let span = RULE.parse_value(&Value::new(None, text)).unwrap();
            assert_eq!(span, Duration::from_secs_f64(seconds), "{text}");
        }
        assert_eq!(RULE.allowed_values(), "1s to 1h");
        assert_eq!(problem(&RULE, 10_i64).as_deref(), Some(NO_TIME_UNIT));
        assert_eq!(problem(&RULE, "10").as_deref(), Some(NO_TIME_UNIT));
        for text in ["999ms", "3601s", "-5s", "5s ago", "2562047788015215h"] {
            assert_eq!(problem(&RULE, text).as_deref(), Some("out of range"), "{text}");
        }
        for text in ["", "s", "ten seconds", "10 parsecs"] {
            assert!(
                problem(&RULE, text).is_some_and(|text| text.starts_with("not a duration")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_number_of_days_is_a_duration_of_days() {
        let rule = DaysRule { max: Duration::from_secs(365 * DAY_SECONDS) };
        for (text, hours) in [("0s", 0), ("7d", 168), ("36h", 36), ("0d", 0), ("365d", 8760)] {
            let span = rule.parse_value(&Value::new(None, text)).unwrap();
            assert_eq!(span, Duration::from_secs(hours * 3600), "{text}");
        }
        assert_eq!(rule.allowed_values(), "0s to 365d");
        assert_eq!(problem(&rule, 7_i64).as_deref(), Some(NO_TIME_UNIT));
        assert_eq!(problem(&rule, "7").as_deref(), Some(NO_TIME_UNIT));
        for text in ["366d", "8761h", "-1h"] {
            assert_eq!(problem(&rule, text).as_deref(), Some("out of range"), "{text}");
        }
        assert!(problem(&rule, "soon").is_some_and(|text| text.starts_with("not a duration")));
    }

    #[test]
    fn a_size_needs_its_unit_and_its_range() {
        let size = SizeRule { max: 1 << 60 };
        for (text, bytes) in [("0B", 0), ("1GiB", 1 << 30), ("1.5 MiB", 3 << 19), ("1kB", 1000)] {
            assert_eq!(size.parse_value(&Value::new(None, text)).unwrap(), bytes, "{text}");
        }
        assert_eq!(size.allowed_values(), "0B to 1.0 EiB");
        assert_eq!(problem(&size, 5_i64).as_deref(), Some(NO_SIZE_UNIT));
        assert_eq!(problem(&size, "5").as_deref(), Some(NO_SIZE_UNIT));
        assert_eq!(problem(&size, "2EiB").as_deref(), Some("out of range"));
        assert_eq!(problem(&size, "99999999999999999999EiB").as_deref(), Some("out of range"));
        assert!(problem(&size, "-1GiB").is_some_and(|text| text.starts_with("not a size")));
    }

    #[test]
    fn a_ratio_is_above_0_and_at_most_1() {
        for share in [0.0, -0.1, 1.001, f64::NAN, f64::INFINITY] {
            assert_eq!(problem(&RatioRule, share).as_deref(), Some("out of range"), "{share}");
        }
        assert!(problem(&RatioRule, 1_i64).is_none() && problem(&RatioRule, 0.5).is_none());
    }
}
