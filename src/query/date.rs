//! Dates in the forms that ZStack's clients and database write.

use std::cmp::Ordering;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::common::Timestamp;

/// The form of the inventories: `Dec 22, 2016 5:10:06 PM`.
const INVENTORY_FORMAT: &str = "%b %d, %Y %I:%M:%S %p";

/// A date of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DateOperand {
    at: Timestamp,
    /// True if the date has no fraction of a second.
    is_whole_second: bool,
}

impl DateOperand {
    /// Parses a date in the form of an inventory, in RFC 3339, or as `2016-12-22 17:10:06`. A date
    /// without a zone is in `zone`. Java writes the first form with a comma after the year or a
    /// narrow blank before `PM`, which depends on its version.
    pub(super) fn parse(text: &str, zone: &TimeZone) -> Option<Self> {
        let text = text.trim();
        let with_zone = text.parse::<jiff::Timestamp>();
        let time = with_zone.ok().or_else(|| {
            let date = text.parse().ok().or_else(|| parse_inventory_date(text))?;
            zone.to_timestamp(date).ok()
        })?;
        let is_whole_second = time.subsec_nanosecond() == 0;
        Some(Self { at: Timestamp(time.as_millisecond()), is_whole_second })
    }

    /// Compares a date of a record with this date. The inventories show whole seconds, so a date of
    /// a whole second compares with the second of the record.
    pub(super) fn compare_from(self, date: Timestamp) -> Ordering {
        let milliseconds = match self.is_whole_second {
            true => date.0 - date.0.rem_euclid(1000),
            false => date.0,
        };
        milliseconds.cmp(&self.at.0)
    }
}

fn parse_inventory_date(text: &str) -> Option<DateTime> {
    let plain = text.replace('\u{202f}', " ");
    // The first comma follows the day, and a second one the year.
    let (month_and_day, rest) = plain.split_once(',')?;
    let plain = format!("{month_and_day},{}", rest.replace(',', ""));
    jiff::fmt::strtime::parse(INVENTORY_FORMAT, plain).ok()?.to_datetime().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_482_426_606_000);

    #[test]
    fn all_forms_of_a_date_are_the_same_date() {
        for text in [
            "Dec 22, 2016 5:10:06 PM",
            " Dec 22, 2016 05:10:06 PM ",
            "Dec 22, 2016, 5:10:06 PM",
            "Dec 22, 2016, 5:10:06\u{202f}PM",
            "2016-12-22T17:10:06Z",
            "2016-12-22T17:10:06.000Z",
            "2016-12-23T01:10:06+08:00",
            "2016-12-22 17:10:06",
            "2016-12-22T17:10:06",
        ] {
            let date = DateOperand::parse(text, &TimeZone::UTC);
            assert_eq!(date, Some(DateOperand { at: AT, is_whole_second: true }), "{text}");
        }
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        for text in ["Dec 23, 2016 1:10:06 AM", "2016-12-23 01:10:06", "2016-12-22T17:10:06Z"] {
            let date = DateOperand::parse(text, &shanghai).unwrap();
            assert_eq!(date.at, AT, "{text}");
        }
        let midnight = DateOperand::parse("2016-12-22", &TimeZone::UTC).unwrap();
        assert_eq!(midnight.at, Timestamp(1_482_364_800_000));
    }

    #[test]
    fn any_other_text_is_no_date() {
        for text in [
            "",
            "x",
            "1482426606",
            "Dec 32, 2016 5:10:06 PM",
            "Dec 22, 2016 17:10:06 PM",
            "Dec 22 2016 5:10:06 PM",
            "22 Dec 2016",
            "2016-12-22T17:10:06 08:00",
            "2016-13-01",
        ] {
            assert_eq!(DateOperand::parse(text, &TimeZone::UTC), None, "{text}");
        }
    }

    #[test]
    fn a_whole_second_is_every_moment_of_that_second() {
        let second = DateOperand::parse("2016-12-22T17:10:06Z", &TimeZone::UTC).unwrap();
        let moment = DateOperand::parse("2016-12-22T17:10:06.007Z", &TimeZone::UTC).unwrap();
        let before = DateOperand::parse("1969-12-31T23:59:59Z", &TimeZone::UTC).unwrap();
        for (date, from, expected) in [
            (second, AT.0, Ordering::Equal),
            (second, AT.0 + 999, Ordering::Equal),
            (second, AT.0 + 1000, Ordering::Greater),
            (second, AT.0 - 1, Ordering::Less),
            (moment, AT.0 + 7, Ordering::Equal),
            (moment, AT.0, Ordering::Less),
            (before, -1, Ordering::Equal),
        ] {
            assert_eq!(date.compare_from(Timestamp(from)), expected, "{from}");
        }
    }
}
