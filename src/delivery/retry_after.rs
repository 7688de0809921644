//! The value of `Retry-After` (RFC 9110, section 10.2.3): a number of seconds, or a date in one of
//! the three forms that recipients must accept (section 5.6.7).

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::common::Timestamp;

/// Parses `Retry-After`. Returns zero for a date in the past, and `None` if the value cannot be
/// parsed. A number that is too large for the result is the largest result.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let at = parse_http_date(value, now)?;
    let wait = at.0.saturating_sub(now.0);
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

/// Parses a date as it stands in HTTP headers. The name of the weekday is not compared with the
/// date.
fn parse_http_date(value: &str, now: Timestamp) -> Option<Timestamp> {
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    if let Ok(at) = parser.parse_timestamp(value) {
        return Some(Timestamp(at.as_millisecond()));
    }
    let at = match value.split_once(',') {
        Some((_, rest)) => parse_rfc850(rest.trim(), now)?,
        None => parse_asctime(value)?,
    };
    // HTTP dates are in UTC.
    let at = TimeZone::UTC.to_timestamp(at).ok()?;
    Some(Timestamp(at.as_millisecond()))
}

/// Parses `06-Nov-94 08:49:37 GMT`, the part of an RFC 850 date after the weekday. The century is
/// that of the nearest such date, up to 50 years in the future.
fn parse_rfc850(text: &str, now: Timestamp) -> Option<DateTime> {
    let parsed = BrokenDownTime::parse("%d-%b-%y %H:%M:%S GMT", text).ok()?.to_datetime().ok()?;
    let now = TimeZone::UTC.to_datetime(jiff::Timestamp::from_millisecond(now.0).ok()?);
    let century = now.year().checked_sub(now.year().checked_rem(100)?)?;
    let year_of_century = parsed.year().checked_rem(100)?;
    let latest = now.checked_add(jiff::Span::new().years(50)).ok()?;
    // A leap day exists only in some of these years.
    let years = [100, 0, -100].map(|offset| century + offset + year_of_century);
    let candidates = years.into_iter().filter_map(|year| parsed.with().year(year).build().ok());
    candidates.into_iter().find(|candidate| *candidate <= latest)
}

/// Parses `Sun Nov  6 08:49:37 1994`.
fn parse_asctime(text: &str) -> Option<DateTime> {
    // The day of the month may have one digit behind two spaces.
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, month, day, time, year] = parts.as_slice() else { return None };
    let text = format!("{month} {day} {time} {year}");
    BrokenDownTime::parse("%b %d %H:%M:%S %Y", &text).ok()?.to_datetime().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06 08:49:37.
    const NOW: Timestamp = Timestamp(784_111_777_000);

    #[test]
    fn a_delay_is_seconds_or_a_date_in_one_of_three_forms() {
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun Nov 6 08:50:37 1994", Some(60)),
            ("Wed Nov 16 08:49:37 1994", Some(864_000)),
            // A wrong weekday does not change the date.
            ("Mon, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Monday, 06-Nov-94 08:50:37 GMT", Some(60)),
            // The past.
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Saturday, 05-Nov-94 08:50:37 GMT", Some(0)),
            ("Thu Jan  1 00:00:00 1970", Some(0)),
            // Two digits of a year more than 50 years ahead are of the past.
            ("Friday, 06-Nov-45 08:49:37 GMT", Some(0)),
            ("1000000000000000000000000000000", Some(u64::MAX)),
            ("-1", None),
            ("+5", None),
            ("5s", None),
            ("1.5", None),
            ("1e9", None),
            ("soon", None),
            ("", None),
            ("Sunday, 31-Feb-94 08:49:37 GMT", None),
            ("Sunday, 06-Nov-94", None),
            ("Sun Nov  6 08:50:37", None),
            ("Sun Nov  6 25:50:37 1994", None),
            ("1994-11-06T08:50:37Z", None),
        ] {
            let found = retry_after(value, NOW).map(|delay| delay.as_secs());
            assert_eq!(found, expected, "{value:?}");
        }
    }

    #[test]
    fn two_digits_of_a_year_are_the_nearest_year_up_to_fifty_years_ahead() {
        // 2026-11-27 00:00:00, 1999-12-31 23:59:59.
        for (now, text, year) in [
            (1_795_737_600_000, "27-Nov-26 00:00:10 GMT", 2026),
            (1_795_737_600_000, "01-Jan-76 00:00:00 GMT", 2076),
            (1_795_737_600_000, "01-Jan-77 00:00:00 GMT", 1977),
            (946_684_799_000, "01-Jan-00 00:00:05 GMT", 2000),
            (946_684_799_000, "29-Feb-96 00:00:05 GMT", 1996),
        ] {
            let found = parse_rfc850(text, Timestamp(now)).unwrap();
            assert_eq!(found.year(), year, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_form_of_a_date_means_the_same(ahead in 0_i64..300) {
            let at = jiff::Timestamp::from_millisecond(NOW.0 + ahead * 1000).unwrap();
            let at = TimeZone::UTC.to_datetime(at);
            let expected = Some(Duration::from_secs(ahead.unsigned_abs()));
            for form in ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
                let text = at.strftime(form).to_string();
                prop_assert_eq!(retry_after(&text, NOW), expected, "{}", text);
            }
        }

        #[test]
        fn no_text_leads_to_a_panic(text in "\\PC{0,40}", seconds in any::<i64>()) {
            let _ = retry_after(&text, Timestamp(seconds));
        }
    }
}
