//! The dates of ZStack's API.

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;

use crate::common::Timestamp;
use crate::settings::DateForm;

/// The format of the dates in responses: `api.dates` and `api.time_zone`.
#[derive(Clone, Debug)]
pub struct DateFormat {
    pattern: &'static str,
    zone: TimeZone,
}

impl DateFormat {
    /// The format of the Java code of the management node, in UTC.
    pub const ZSTACK_UTC: Self = Self { pattern: ZSTACK_PATTERN, zone: TimeZone::UTC };

    /// Creates the format of the dates of this form, in this time zone.
    pub fn new(form: DateForm, zone: TimeZone) -> Self {
        let pattern = match form {
            DateForm::ZStack => ZSTACK_PATTERN,
            DateForm::Iso8601 => "%Y-%m-%dT%H:%M:%S%:z",
        };
        Self { pattern, zone }
    }

    /// Returns the time zone of the dates.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the date.
    pub fn format(&self, at: Timestamp) -> String {
        match jiff::Timestamp::from_millisecond(at.0) {
            Ok(time) => {
                ZonedDateTime::new(time, self.zone.clone()).strftime(self.pattern).to_string()
            }
            // The time is outside the years -9999 to 9999, so no calendar date exists.
            Err(_) => at.to_string(),
        }
    }
}

/// `MMM d, yyyy h:mm:ss a` of Java. Later versions of Java write a comma after the year or a narrow
/// space before AM, which clients of ZStack cannot read.
const ZSTACK_PATTERN: &str = "%b %-d, %Y %-I:%M:%S %p";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn noon_and_midnight_are_twelve() {
        let format = DateFormat::ZSTACK_UTC;
        assert_eq!(format.format(Timestamp(0)), "Jan 1, 1970 12:00:00 AM");
        assert_eq!(format.format(Timestamp(43_200_000)), "Jan 1, 1970 12:00:00 PM");
    }

    #[test]
    fn a_date_is_in_the_form_and_the_zone_of_the_settings() {
        let at = Timestamp(1_482_426_606_000);
        for (form, name, expected) in [
            (DateForm::ZStack, "UTC", "Dec 22, 2016 5:10:06 PM"),
            (DateForm::ZStack, "Asia/Shanghai", "Dec 23, 2016 1:10:06 AM"),
            (DateForm::ZStack, "America/New_York", "Dec 22, 2016 12:10:06 PM"),
            (DateForm::Iso8601, "UTC", "2016-12-22T17:10:06+00:00"),
            (DateForm::Iso8601, "Asia/Shanghai", "2016-12-23T01:10:06+08:00"),
            (DateForm::Iso8601, "Asia/Kolkata", "2016-12-22T22:40:06+05:30"),
        ] {
            assert_eq!(DateFormat::new(form, zone(name)).format(at), expected, "{name}");
        }
        // The zone has summer time.
        let summer = DateFormat::new(DateForm::Iso8601, zone("Europe/Berlin"));
        assert_eq!(summer.format(Timestamp(1_719_835_200_000)), "2024-07-01T14:00:00+02:00");
    }

    proptest! {
        /// No date has a comma after the year or a character outside ASCII, which clients cannot
        /// read, and an ISO date is the same instant.
        #[test]
        fn every_date_can_be_read(at in 0..253_402_300_799_i64, shanghai in any::<bool>()) {
            let zone = zone(if shanghai { "Asia/Shanghai" } else { "UTC" });
            let at = Timestamp(at.saturating_mul(1000));
            let text = DateFormat::new(DateForm::ZStack, zone.clone()).format(at);
            prop_assert!(text.is_ascii() && text.matches(',').count() == 1, "{}", text);
            let text = DateFormat::new(DateForm::Iso8601, zone).format(at);
            // A time of the last hours of the year 9999 is in the year 10000 in Shanghai.
            if let Ok(read) = text.parse::<jiff::Timestamp>() {
                prop_assert_eq!(read.as_millisecond(), at.0);
            } else {
                prop_assert!(text.starts_with("10000") || text.starts_with('+'), "{}", text);
            }
        }
    }
}
