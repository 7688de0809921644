//! Decimal numbers of any notation, compared exactly with the integers of the records.

use std::cmp::Ordering;

/// Maximum number of digits of the whole part. Every number of 38 digits fits into an `i128`.
const MAX_DIGITS: usize = 38;

/// A decimal number, as its floor and whether it has a fraction above that. An integer compares
/// with it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    floor: i128,
    has_fraction: bool,
}

impl Decimal {
    /// Parses a number such as `22`, `-1`, `1.5` or `1.073741824E9`. Clients that keep numbers as
    /// floating-point values send the last form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (text, 0),
        };
        let (is_negative, unsigned) = match mantissa.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, mantissa),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        // The number of digits before the point, after the exponent has moved it.
        let point = i64::try_from(whole.len()).ok()?.checked_add(i64::from(exponent))?;
        let significant = digits.trim_start_matches('0');
        let point = point - i64::try_from(digits.len() - significant.len()).ok()?;
        let point = usize::try_from(point.max(0)).ok()?;
        if point > MAX_DIGITS && !significant.is_empty() {
            return None;
        }
        let (before, after) = significant.split_at(point.min(significant.len()));
        let padding = point.min(MAX_DIGITS).saturating_sub(before.len());
        let magnitude: i128 = format!("0{before}{}", "0".repeat(padding)).parse().ok()?;
        let has_fraction = after.bytes().any(|digit| digit != b'0');
        let floor = match is_negative {
            true => -magnitude - i128::from(has_fraction),
            false => magnitude,
        };
        Some(Self { floor, has_fraction })
    }

    /// Compares an integer with the number.
    pub(super) fn compare_from(self, integer: u64) -> Ordering {
        let at_floor = match self.has_fraction {
            true => Ordering::Less,
            false => Ordering::Equal,
        };
        i128::from(integer).cmp(&self.floor).then(at_floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_a_number_compares_exactly() {
        for (text, integer, expected) in [
            ("22", 22, Ordering::Equal),
            (" 22 ", 22, Ordering::Equal),
            ("022", 22, Ordering::Equal),
            ("22.0", 22, Ordering::Equal),
            ("22.5", 22, Ordering::Less),
            ("22.5", 23, Ordering::Greater),
            ("-1", 0, Ordering::Greater),
            ("-0.5", 0, Ordering::Greater),
            ("-0", 0, Ordering::Equal),
            ("0e9999", 0, Ordering::Equal),
            ("1.073741824E9", 1 << 30, Ordering::Equal),
            ("1e3", 1000, Ordering::Equal),
            ("15e-1", 1, Ordering::Less),
            ("15e-1", 2, Ordering::Greater),
            ("1e-9", 0, Ordering::Less),
            ("0.001e3", 1, Ordering::Equal),
            ("9007199254740993", 9_007_199_254_740_993, Ordering::Equal),
            ("18446744073709551616", u64::MAX, Ordering::Less),
        ] {
            let number = Decimal::parse(text).unwrap();
            assert_eq!(number.compare_from(integer), expected, "{text} {integer}");
        }
    }

    #[test]
    fn any_other_text_is_no_number() {
        let long = "1".repeat(39);
        for text in [
            "", " ", "x", "1x", "0x10", ".5", "-", "--1", "+1", "1e", "1e1.5", "1 000", "NaN",
            "inf", "1e39", "1e99999", "1_0", "²", &long,
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
