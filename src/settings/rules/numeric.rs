//! What one value may be: numbers, spans of time and sizes, each within bounds and with its unit.

use std::time::Duration;

use bytesize::ByteSize;
use config::{Value, ValueKind};
use jiff::SignedDuration;

use super::rule::{Rule, Shape, Taken, problem};

/// A whole number within bounds.
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Rule for Count {
    type Out = u32;
    const SHAPE: Shape = Shape::Number;

    fn allowed(&self) -> String {
        format!("a whole number, {} to {}", self.min, self.max)
    }

    fn take(&self, value: &Value) -> Taken<u32> {
        let ValueKind::I64(number) = value.kind else {
            return problem(value, "not a whole number");
        };
        match u32::try_from(number) {
            Ok(count) if (self.min..=self.max).contains(&count) => Ok(count),
            _ => problem(value, "out of range"),
        }
    }
}

/// A share of a whole: above 0, at most 1.
pub(crate) struct Share;

impl Rule for Share {
    type Out = f64;
    const SHAPE: Shape = Shape::Number;

    fn allowed(&self) -> String {
        "a number above 0 and at most 1".to_owned()
    }

    fn take(&self, value: &Value) -> Taken<f64> {
        match value.kind {
            ValueKind::Float(share) if share > 0.0 && share <= 1.0 => Ok(share),
            ValueKind::I64(1) => Ok(1.0),
            ValueKind::Float(_) | ValueKind::I64(_) => problem(value, "out of range"),
            _ => problem(value, "not a number"),
        }
    }
}

/// A span of time with its unit, within bounds.
pub(crate) struct Span {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Rule for Span {
    type Out = Duration;
    const SHAPE: Shape = Shape::Text;

    fn allowed(&self) -> String {
        format!("{} to {}", span_text(self.min), span_text(self.max))
    }

    fn take(&self, value: &Value) -> Taken<Duration> {
        let text = match &value.kind {
            ValueKind::I64(_) | ValueKind::Float(_) => return problem(value, NO_TIME_UNIT),
            ValueKind::String(text) => text,
            _ => return problem(value, "not a span of time"),
        };
        if text.parse::<f64>().is_ok() {
            return problem(value, NO_TIME_UNIT);
        }
        match text.parse::<SignedDuration>().map(Duration::try_from) {
            Ok(Ok(span)) if (self.min..=self.max).contains(&span) => Ok(span),
            Ok(_) => problem(value, "out of range"),
            Err(_) => problem(value, "not a span of time such as \"10s\" or \"1h 30m\""),
        }
    }
}

const NO_TIME_UNIT: &str = "has no unit; write it as text with ms, s, m or h, such as \"10s\"";

/// A span as it is written in the settings.
fn span_text(span: Duration) -> String {
    match SignedDuration::try_from(span) {
        Ok(span) => format!("{span:#}"),
        Err(_) => format!("{}s", span.as_secs()),
    }
}

/// A size in bytes with its unit, at most `max`.
pub(crate) struct Size {
    pub(crate) max: u64,
}

impl Rule for Size {
    type Out = u64;
    const SHAPE: Shape = Shape::Text;

    fn allowed(&self) -> String {
        format!("0B to {}", ByteSize::b(self.max).display().iec())
    }

    fn take(&self, value: &Value) -> Taken<u64> {
        let text = match &value.kind {
            ValueKind::I64(_) | ValueKind::Float(_) => return problem(value, NO_SIZE_UNIT),
            ValueKind::String(text) => text,
            _ => return problem(value, "not a size"),
        };
        if !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return problem(value, NO_SIZE_UNIT);
        }
        match text.parse::<ByteSize>() {
            Ok(ByteSize(size)) if size <= self.max => Ok(size),
            Ok(_) => problem(value, "out of range"),
            Err(_) => problem(value, "not a size such as \"512MiB\" or \"1GiB\""),
        }
    }
}

const NO_SIZE_UNIT: &str =
    "has no unit; write it as text with B, KiB, MiB, GiB or TiB, such as \"1GiB\"";

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { min: Duration::from_secs(1), max: Duration::from_secs(3600) };

    fn what<R: Rule>(rule: &R, value: impl Into<ValueKind>) -> Option<String> {
        rule.take(&Value::new(None, value)).err()?.pop().map(|problem| problem.what)
    }

    #[test]
    fn a_span_needs_its_unit_and_its_range() {
        for (text, seconds) in [("1s", 1.0), ("1.5s", 1.5), ("1h", 3600.0), ("2m 30s", 150.0)] {
            let span = SPAN.take(&Value::new(None, text)).unwrap();
            assert_eq!(span, Duration::from_secs_f64(seconds), "{text}");
        }
        assert_eq!(SPAN.allowed(), "1s to 1h");
        assert_eq!(what(&SPAN, 10_i64).as_deref(), Some(NO_TIME_UNIT));
        assert_eq!(what(&SPAN, "10").as_deref(), Some(NO_TIME_UNIT));
        for text in ["999ms", "3601s", "-5s", "5s ago", "2562047788015215h"] {
            assert_eq!(what(&SPAN, text).as_deref(), Some("out of range"), "{text}");
        }
        for text in ["", "s", "ten seconds", "10 parsecs"] {
            assert!(what(&SPAN, text).is_some_and(|what| what.starts_with("not a span")), "{text}");
        }
    }

    #[test]
    fn a_size_needs_its_unit_and_its_range() {
        let size = Size { max: 1 << 60 };
        for (text, bytes) in [("0B", 0), ("1GiB", 1 << 30), ("1.5 MiB", 3 << 19), ("1kB", 1000)] {
            assert_eq!(size.take(&Value::new(None, text)).unwrap(), bytes, "{text}");
        }
        assert_eq!(size.allowed(), "0B to 1.0 EiB");
        assert_eq!(what(&size, 5_i64).as_deref(), Some(NO_SIZE_UNIT));
        assert_eq!(what(&size, "5").as_deref(), Some(NO_SIZE_UNIT));
        assert_eq!(what(&size, "2EiB").as_deref(), Some("out of range"));
        assert_eq!(what(&size, "99999999999999999999EiB").as_deref(), Some("out of range"));
        assert!(what(&size, "-1GiB").is_some_and(|what| what.starts_with("not a size")));
    }

    #[test]
    fn a_share_is_above_0_and_at_most_1() {
        for share in [0.0, -0.1, 1.001, f64::NAN, f64::INFINITY] {
            assert_eq!(what(&Share, share).as_deref(), Some("out of range"), "{share}");
        }
        assert!(what(&Share, 1_i64).is_none() && what(&Share, 0.5).is_none());
    }
}
