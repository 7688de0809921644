//! Dates in the forms that ZStack's clients and database write.

use std::cmp::Ordering;

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::{DateTimeParser, Pieces, PiecesOffset};
use jiff::tz::{Disambiguation, Offset, OffsetConflict, TimeZone};

use crate::common::Timestamp;

/// The form of the inventories: `Dec 22, 2016 5:10:06 PM`.
const INVENTORY_FORMAT: &str = "%b %d, %Y %I:%M:%S %p";
/// Parses a date with a zone in brackets. An offset that the zone does not have, and a local time
/// that the zone has twice or never, are no date.
const ZONED_PARSER: DateTimeParser = DateTimeParser::new()
    .offset_conflict(OffsetConflict::Reject)
    .disambiguation(Disambiguation::Reject);

/// A date of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DateOperand {
    meaning: DateMeaning,
    /// True if the date has no fraction of a second.
    is_whole_second: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum DateMeaning {
    /// Milliseconds since 1970.
    Moment(i128),
    /// A date in the zone of the inventories. It is compared with the date that they show, because
    /// the same date occurs twice when the clocks go back.
    Shown(DateTime, TimeZone),
}

impl DateOperand {
    /// Parses a date in the form of an inventory, in RFC 3339, with a zone in brackets (RFC 9557),
    /// or as `2016-12-22 17:10:06`. A date without a zone is in `zone`. Java writes the first form
    /// with a comma after the year or a narrow blank before `PM`, which depends on its version.
    pub(super) fn parse(text: &str, zone: &TimeZone) -> Option<Self> {
        let text = text.trim();
        let (date, meaning) = match Pieces::parse(text) {
            _ if text.contains('[') => parse_zoned(text)?,
            Ok(pieces) => match pieces.offset() {
                Some(offset) => parse_moment(&pieces, offset)?,
                None => {
                    let date = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
                    (date, DateMeaning::Shown(date, zone.clone()))
                }
            },
            Err(_) => {
                let date = parse_inventory_date(text)?;
                (date, DateMeaning::Shown(date, zone.clone()))
            }
        };
        Some(Self { meaning, is_whole_second: date.subsec_nanosecond() == 0 })
    }

    /// Compares a date of a record with this date. The inventories show whole seconds, so a date of
    /// a whole second compares with the second of the record.
    pub(super) fn compare_from(&self, date: Timestamp) -> Ordering {
        let milliseconds = match self.is_whole_second {
            true => date.0 - date.0.rem_euclid(1000),
            false => date.0,
        };
        match &self.meaning {
            DateMeaning::Moment(at) => i128::from(milliseconds).cmp(at),
            DateMeaning::Shown(at, zone) => {
                let moment = jiff::Timestamp::from_millisecond(milliseconds);
                // A record has no date outside the years that can be shown.
                moment.map_or(Ordering::Greater, |moment| zone.to_datetime(moment).cmp(at))
            }
        }
    }
}

/// Returns a date with an offset from UTC (RFC 3339), and its milliseconds since 1970. They may be
/// outside the range of [`jiff::Timestamp`], which ends a day before the year 9999 does.
fn parse_moment(pieces: &Pieces<'_>, offset: PiecesOffset) -> Option<(DateTime, DateMeaning)> {
    let offset = match offset {
        PiecesOffset::Zulu => Offset::UTC,
        PiecesOffset::Numeric(numeric) => numeric.offset(),
        _ => return None,
    };
    let date = pieces.date().to_datetime(pieces.time()?);
    let in_utc = date.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_millis();
    Some((date, DateMeaning::Moment(in_utc - i128::from(offset.seconds()) * 1000)))
}

/// Parses a date with a zone in brackets.
fn parse_zoned(text: &str) -> Option<(DateTime, DateMeaning)> {
    let zoned = ZONED_PARSER.parse_zoned_datetime(text).ok()?;
    let milliseconds = zoned.timestamp().as_millisecond().into();
    Some((zoned.datetime(), DateMeaning::Moment(milliseconds)))
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
            let date = DateOperand::parse(text, &TimeZone::UTC).unwrap();
            assert_eq!(date.compare_from(AT), Ordering::Equal, "{text}");
            assert!(date.is_whole_second, "{text}");
        }
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        for text in ["Dec 23, 2016 1:10:06 AM", "2016-12-23 01:10:06", "2016-12-22T17:10:06Z"] {
            let date = DateOperand::parse(text, &shanghai).unwrap();
            assert_eq!(date.compare_from(AT), Ordering::Equal, "{text}");
        }
        let midnight = DateOperand::parse("2016-12-22", &TimeZone::UTC).unwrap();
        assert_eq!(midnight.compare_from(Timestamp(1_482_364_800_000)), Ordering::Equal);
    }

    #[test]
    fn a_date_that_occurs_twice_is_the_date_that_the_inventories_show() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let date = DateOperand::parse("Nov 1, 2026 1:30:04 AM", &zone).unwrap();
        // 05:30:04Z and 06:30:04Z.
        for (from, expected) in [
            (1_793_511_003, Ordering::Less),
            (1_793_511_004, Ordering::Equal),
            (1_793_514_604, Ordering::Equal),
            (1_793_514_605, Ordering::Greater),
        ] {
            assert_eq!(date.compare_from(Timestamp(from * 1000)), expected, "{from}");
        }
    }

    /// Java's `ZonedDateTime` writes such dates.
    #[test]
    fn a_zone_in_brackets_counts_and_agrees_with_the_offset_or_is_refused() {
        let kathmandu = TimeZone::get("Asia/Kathmandu").unwrap();
        for (text, expected) in [
            ("2016-12-23T01:10:06+08:00[Asia/Shanghai]", Some(AT)),
            ("2016-12-23T01:10:06[Asia/Shanghai]", Some(AT)),
            ("2016-12-23 01:10:06[Asia/Shanghai]", Some(AT)),
            ("2016-12-22T17:10:06Z[Asia/Shanghai]", Some(AT)),
            ("2016-12-22T17:10:06+00:00[UTC]", Some(AT)),
            ("2016-12-22T17:10:06+08:00[Asia/Shanghai]", Some(Timestamp(AT.0 - 8 * 3_600_000))),
            ("2016-12-22T17:10:06+07:00[Asia/Shanghai]", None),
            ("2016-12-22T17:10:06[Asia/Nowhere]", None),
            ("2016-12-22T17:10:06+08:00[u-ca=iso8601]", None),
            ("2016-12-22T17:10:06[", None),
            ("2016-12-22T17:10:06[]", None),
            // This time occurs twice, and the next one never.
            ("2026-11-01T01:30:00[America/New_York]", None),
            ("2026-03-08T02:30:00[America/New_York]", None),
            ("2026-11-01T01:30:00-05:00[America/New_York]", Some(Timestamp(1_793_514_600_000))),
        ] {
            for zone in [&TimeZone::UTC, &kathmandu] {
                let date = DateOperand::parse(text, zone);
                let compared = date
                    .as_ref()
                    .map(|date| (date.is_whole_second, expected.map(|at| date.compare_from(at))));
                let is_equal = expected.map(|_| (true, Some(Ordering::Equal)));
                assert_eq!(compared, is_equal, "{text}");
            }
        }
    }

    #[test]
    fn the_last_date_is_after_every_record() {
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-18:00", "9999-12-31 23:59:59"] {
            let date = DateOperand::parse(text, &TimeZone::UTC).unwrap();
            assert_eq!(date.compare_from(AT), Ordering::Less, "{text}");
        }
        let first = DateOperand::parse("0001-01-01T00:00:00Z", &TimeZone::UTC).unwrap();
        assert_eq!(first.compare_from(AT), Ordering::Greater);
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
            "2016-12-22+08:00",
            "2016-12-22Z",
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
            (&second, AT.0, Ordering::Equal),
            (&second, AT.0 + 999, Ordering::Equal),
            (&second, AT.0 + 1000, Ordering::Greater),
            (&second, AT.0 - 1, Ordering::Less),
            (&moment, AT.0 + 7, Ordering::Equal),
            (&moment, AT.0, Ordering::Less),
            (&before, -1, Ordering::Equal),
        ] {
            assert_eq!(date.compare_from(Timestamp(from)), expected, "{from}");
        }
    }
}
