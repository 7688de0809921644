//! The date that an access key signs, as ZStack's clients write it: `Fri, 27 Nov 2026 06:35:42` and
//! a time zone.
//!
//! A zone is an id of IANA (`Asia/Shanghai`), an offset (`GMT+08:00`, `+08:00`, `+0800`, `+07`), or
//! an abbreviation. An abbreviation has several meanings, and a local time occurs twice when the
//! clocks go back. Such a date is compared with the clock in each of its meanings.
//!
//! # Guarantees
//!
//! - It reads no file: the rules of the time zones are part of the program.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::abbreviation::find_abbreviation;

/// The form of the date before its zone.
const CIVIL_FORM: &str = "%a, %d %b %Y %H:%M:%S";
/// Maximum offset from UTC, in hours, as in `java.time.ZoneOffset`.
const MAX_OFFSET_HOURS: u8 = 18;

/// A date that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateFault {
    /// It does not have the form, or its weekday is not that of the day.
    Form,
    /// Its zone is unknown.
    Zone,
}

/// Returns the time from `now` to the date, in the meaning of the date that is nearest to `now`.
/// `local` is the zone of the daemon, whose own abbreviations count too.
///
/// # Errors
/// [`DateFault`] if the date has no meaning.
pub(super) fn date_skew(
    text: &str,
    now: Timestamp,
    local: &TimeZone,
) -> Result<SignedDuration, DateFault> {
    let (civil, zone) = text.trim().rsplit_once(' ').ok_or(DateFault::Form)?;
    let civil = BrokenDownTime::parse(CIVIL_FORM, civil.trim_end())
        .and_then(|date| date.to_datetime())
        .map_err(|_| DateFault::Form)?;
    let meanings = zone_meanings(zone, civil, local);
    // The meaning itself may be outside the range of a timestamp, which ends a day before the year
    // 9999 does.
    let now = Offset::UTC.to_datetime(now);
    let skew = |offset: Offset| {
        civil.duration_since(now) - SignedDuration::from_secs(offset.seconds().into())
    };
    meanings.map(skew).min_by_key(|skew| skew.abs()).ok_or(DateFault::Zone)
}

/// Returns the offsets from UTC that the zone may mean at the local time `civil`.
fn zone_meanings(zone: &str, civil: DateTime, local: &TimeZone) -> impl Iterator<Item = Offset> {
    let fixed = parse_offset(zone);
    let named = match fixed {
        Some(_) => None,
        None => TimeZoneDatabase::bundled().get(zone).ok(),
    };
    let abbreviated = match fixed {
        Some(_) => &[],
        None => find_abbreviation(zone),
    };
    let abbreviated = abbreviated.iter().filter_map(|minutes| offset_of_minutes(*minutes));
    let is_own_abbreviation = |offset: &Offset| {
        offset.to_timestamp(civil).is_ok_and(|instant| {
            local.to_offset_info(instant).abbreviation().eq_ignore_ascii_case(zone)
        })
    };
    let own: Vec<Offset> = local_offsets(local, civil).filter(is_own_abbreviation).collect();
    let named = named.into_iter().flat_map(move |named| {
        let offsets: Vec<Offset> = local_offsets(&named, civil).collect();
        offsets
    });
    fixed.into_iter().chain(named).chain(abbreviated).chain(own)
}

/// Returns the offsets of the zone at a local time: two if the time occurs twice, or not at all.
fn local_offsets(zone: &TimeZone, civil: DateTime) -> impl Iterator<Item = Offset> + use<> {
    let (first, second) = match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset, None),
        AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
            (before, Some(after))
        }
    };
    [first].into_iter().chain(second)
}

fn offset_of_minutes(minutes: i16) -> Option<Offset> {
    Offset::from_seconds(i32::from(minutes) * 60).ok()
}

/// Parses an offset from UTC: `Z`, or a sign with `8`, `08`, `0800`, `08:00` or these with seconds,
/// also behind `GMT`, `UTC` or `UT`.
fn parse_offset(zone: &str) -> Option<Offset> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(Offset::UTC);
    }
    let digits = ["GMT", "UTC", "UT", ""].into_iter().find_map(|prefix| {
        let rest = zone.get(prefix.len()..)?;
        let has_prefix = zone.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
        rest.strip_prefix(['+', '-']).filter(|_| has_prefix)
    })?;
    let (hours, minutes, seconds) = split_offset(digits)?;
    let number = |text: &str, max: u8| {
        let is_number = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|number| is_number && *number <= max).map(i32::from)
    };
    let (minutes, seconds) = (number(minutes, 59)?, number(seconds, 59)?);
    let seconds = number(hours, MAX_OFFSET_HOURS)? * 3600 + minutes * 60 + seconds;
    let is_west = zone.contains('-');
    let offset = Offset::from_seconds(if is_west { -seconds } else { seconds }).ok()?;
    (seconds <= i32::from(MAX_OFFSET_HOURS) * 3600).then_some(offset)
}

/// Splits the digits of an offset into hours, minutes and seconds.
fn split_offset(digits: &str) -> Option<(&str, &str, &str)> {
    let mut fields = digits.split(':');
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(digits), None, ..) => match digits.len() {
            1 | 2 => Some((digits, "0", "0")),
            4 => Some((digits.get(..2)?, digits.get(2..)?, "0")),
            6 => Some((digits.get(..2)?, digits.get(2..4)?, digits.get(4..)?)),
            _ => None,
        },
        (Some(hours), Some(minutes), seconds, None) => {
            let seconds = seconds.unwrap_or("00");
            (minutes.len() == 2 && seconds.len() == 2).then_some((hours, minutes, seconds))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-26 22:26:21 UTC.
    const NOW: i64 = 1_795_731_981;

    fn skew(text: &str) -> Result<i64, DateFault> {
        let now = Timestamp::from_second(NOW).unwrap();
        date_skew(text, now, &TimeZone::UTC).map(|skew| skew.as_secs())
    }

    #[test]
    fn every_form_of_a_zone_has_its_meanings() {
        for (text, expected) in [
            // As the SDKs of Java and Go have sent it.
            ("Thu, 26 Nov 2026 22:26:21 Etc/UTC", Ok(0)),
            ("Thu, 26 Nov 2026 22:34:57 UTC", Ok(516)),
            ("Fri, 31 Dec 9999 23:59:59 UTC", Ok(251_606_568_818)),
            ("Fri, 27 Nov 2026 06:26:21 CST", Ok(0)),
            ("Thu, 26 Nov 2026 16:26:21 CST", Ok(0)),
            ("Thu, 26 Nov 2026 17:26:21 CST", Ok(0)),
            ("Thu, 26 Nov 2026 19:26:21 -03", Ok(0)),
            ("Fri, 27 Nov 2026 05:26:21 +07", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 GMT+08:00", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 Asia/Shanghai", Ok(0)),
            // Other forms of the same.
            ("Fri, 27 Nov 2026 06:26:21 +08:00", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 +0800", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 +8", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 UTC+8", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 GMT+8", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 gmt+0800", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 UT+08:00:00", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 asia/shanghai", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 Etc/GMT-8", Ok(0)),
            ("Fri, 27 Nov 2026 06:26:21 PRC", Ok(0)),
            ("Fri, 27 Nov 2026 03:56:21 +0530", Ok(0)),
            ("Thu, 26 Nov 2026 22:26:21 GMT", Ok(0)),
            ("Thu, 26 Nov 2026 22:26:21 Z", Ok(0)),
            ("Thu, 26 Nov 2026 22:26:21 UT", Ok(0)),
            ("Thu, 26 Nov 2026 22:26:21 GMT0", Ok(0)),
            ("thu, 26 nov 2026 22:26:21 utc", Ok(0)),
            ("Thu, 26 Nov 2026 17:26:21 EST", Ok(0)),
            ("Fri, 27 Nov 2026 09:26:21 AEDT", Ok(0)),
            // An hour off in every meaning, and the nearest of several.
            ("Thu, 26 Nov 2026 23:26:21 UTC", Ok(3600)),
            ("Thu, 26 Nov 2026 15:26:21 CST", Ok(-3600)),
            ("Fri, 27 Nov 2026 06:41:22 CST", Ok(901)),
            // No zone, or none of these forms.
            ("Thu, 26 Nov 2026 22:26:21 Asia/Nowhere", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 XYZ", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +08:0", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +08:60", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +080", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +19:00", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +18:01", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 +-8", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 GMT+\u{662}", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21 Étc", Err(DateFault::Zone)),
            ("Thu, 26 Nov 2026 22:26:21", Err(DateFault::Form)),
            // No such date, or another form.
            ("Fri, 26 Nov 2026 22:26:21 UTC", Err(DateFault::Form)),
            ("Mon, 30 Feb 2026 22:26:21 UTC", Err(DateFault::Form)),
            ("Thu, 26 Nov 2026 25:26:21 UTC", Err(DateFault::Form)),
            ("26 Nov 2026 22:26:21 UTC", Err(DateFault::Form)),
            ("2026-11-26T22:26:21Z", Err(DateFault::Form)),
            ("Thu, 26 Nov 2026 22:26 UTC", Err(DateFault::Form)),
            ("UTC", Err(DateFault::Form)),
            ("", Err(DateFault::Form)),
        ] {
            assert_eq!(skew(text), expected, "{text}");
        }
    }

    #[test]
    fn a_local_time_that_occurs_twice_or_not_at_all_is_right_in_both_meanings() {
        let berlin = |instant: &str, local: &str| {
            let now: Timestamp = instant.parse().unwrap();
            date_skew(&format!("{local} Europe/Berlin"), now, &TimeZone::UTC).unwrap()
        };
        for instant in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(berlin(instant, "Sun, 25 Oct 2026 02:30:00").is_zero(), "{instant}");
        }
        // A client whose rules are older writes a time that the newer rules skip.
        for instant in ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"] {
            assert!(berlin(instant, "Sun, 29 Mar 2026 02:30:00").is_zero(), "{instant}");
        }
    }

    #[test]
    fn the_abbreviations_of_the_own_zone_count() {
        let now = Timestamp::from_second(NOW).unwrap();
        let own = TimeZone::posix("XYZ-5:45").unwrap();
        let text = "Fri, 27 Nov 2026 04:11:21 XYZ";
        assert_eq!(date_skew(text, now, &own), Ok(SignedDuration::ZERO));
        assert_eq!(date_skew(text, now, &TimeZone::UTC), Err(DateFault::Zone));
        // It does not change the meaning of an offset.
        let offset = "Fri, 27 Nov 2026 04:11:21 +00";
        assert_eq!(date_skew(offset, now, &own), Ok(SignedDuration::from_mins(345)));
    }

    fn zones() -> Vec<TimeZone> {
        let database = TimeZoneDatabase::bundled();
        let names = database.available();
        names.filter_map(|name| database.get(name.as_str()).ok()).collect()
    }

    #[test]
    fn every_abbreviation_in_use_is_known_with_its_offset() {
        let mut missing = std::collections::BTreeSet::new();
        for zone in zones() {
            for month in 0..12 * 12 {
                let at = Timestamp::from_second(1_420_070_400 + month * 2_629_800).unwrap();
                let info = zone.to_offset_info(at);
                let name = info.abbreviation();
                let minutes = i16::try_from(info.offset().seconds() / 60).unwrap();
                let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic());
                if is_word && !find_abbreviation(name).contains(&minutes) {
                    missing.insert((name.to_owned(), minutes));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_date_in_any_zone_and_any_form_is_the_instant_that_was_written(
            zone in prop::sample::select(zones()),
            second in 1_420_070_400_i64..2_500_000_000,
            form in prop::sample::select(vec!["%Q", "%z", "%:z", "GMT%:z", "UTC%z"]),
            off in -4000_i64..4000,
        ) {
            let written = Timestamp::from_second(second).unwrap().to_zoned_datetime(zone);
            let text = written.strftime(&format!("{CIVIL_FORM} {form}")).to_string();
            let now = Timestamp::from_second(second - off).unwrap();
            let skew = date_skew(&text, now, &TimeZone::UTC).unwrap().as_secs();
            // Of two meanings, the nearer one counts.
            prop_assert!(skew.abs() <= off.abs(), "{text}: {skew} for {off}");
            if form != "%Q" {
                prop_assert_eq!(skew, off, "{}", text);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}", zone in "[A-Za-z+:/_-]{0,8}[0-9]{0,6}") {
            let now = Timestamp::from_second(NOW).unwrap();
            let _ = date_skew(&text, now, &TimeZone::UTC);
            let _ = date_skew(&format!("Thu, 26 Nov 2026 22:26:21 {zone}"), now, &TimeZone::UTC);
        }
    }
}
