//! The forecast of a store's space as a sentence.

use crate::catalog::Language;
use crate::model::{LimitOutlook, LimitOutlooks, SpaceForecast, UseForecast};

/// Days from which a time is given in weeks, and weeks from which it is given in months. Larger
/// numbers would claim a precision that no forecast has.
const MAX_SHOWN_DAYS: u32 = 20;
const MAX_SHOWN_WEEKS: u32 = 14;
const WEEK_DAYS: u32 = 7;
const MONTH_DAYS: u32 = 30;

/// Returns a forecast in words, such as `full in 2 to 6 weeks, near full in 9 to 20 days`. The
/// inodes are named only if they have a limit within a year.
pub fn forecast_phrase(forecast: &SpaceForecast, language: Language) -> String {
    let bytes = use_phrase(&forecast.bytes, language);
    let inodes = forecast.inodes.as_ref().filter(|inodes| {
        let sooner = inodes.full.outlooks.map(LimitOutlooks::sooner);
        matches!(sooner, Some(LimitOutlook::Reached | LimitOutlook::Within { .. }))
    });
    match (inodes.map(|inodes| use_phrase(inodes, language)), language) {
        (None, _) => bytes,
        (Some(inodes), Language::English) => format!("{bytes}; inodes {inodes}"),
        (Some(inodes), Language::Chinese) => format!("{bytes}；inode {inodes}"),
    }
}

/// Returns the forecast of the bytes or of the inodes in words.
fn use_phrase(forecast: &UseForecast, language: Language) -> String {
    use LimitOutlook::{Reached, Within};
    let Some(full) = forecast.full.outlooks else {
        let days = forecast.known_days;
        return match language {
            Language::English => format!("too little history ({days} d)"),
            Language::Chinese => format!("历史数据不足（{days} 天）"),
        };
    };
    let near_full = forecast.near_full.and_then(|limit| limit.outlooks);
    let near_full = near_full.filter(|_| full.sooner() != Reached);
    let is_range = |outlooks: LimitOutlooks| {
        let LimitOutlooks { net, without_cleanups } = outlooks;
        matches!((net, without_cleanups), (Within { .. }, Within { .. })) || net == without_cleanups
    };
    if is_range(full) && near_full.is_none_or(is_range) {
        return limits_phrase(full, near_full, language);
    }
    let alike = |outlook| LimitOutlooks { net: outlook, without_cleanups: outlook };
    let single = |of: fn(LimitOutlooks) -> LimitOutlook| {
        limits_phrase(alike(of(full)), near_full.map(|near| alike(of(near))), language)
    };
    let (net, without) = (single(|it| it.net), single(|it| it.without_cleanups));
    match language {
        _ if net == without => net,
        Language::English => format!("{net}; without clean-ups {without}"),
        Language::Chinese => format!("{net}；若不清理，{without}"),
    }
}

/// Returns the times until both limits. The nearer limit is left out if the use does not reach it
/// within a year.
fn limits_phrase(
    full: LimitOutlooks,
    near_full: Option<LimitOutlooks>,
    language: Language,
) -> String {
    let full_phrase = limit_phrase(full, Limit::Full, language);
    let near_full = near_full.filter(|near| near.sooner() < LimitOutlook::NotWithinAYear);
    match (near_full.map(|near| limit_phrase(near, Limit::NearFull, language)), language) {
        (None, _) => full_phrase,
        (Some(near), Language::English) => format!("{full_phrase}, {near}"),
        (Some(near), Language::Chinese) => format!("{full_phrase}，{near}"),
    }
}

/// A limit of the use.
#[derive(Clone, Copy)]
enum Limit {
    NearFull,
    Full,
}

impl Limit {
    fn word(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::NearFull, Language::English) => "near full",
            (Self::Full, Language::English) => "full",
            (Self::NearFull, Language::Chinese) => "接近写满",
            (Self::Full, Language::Chinese) => "写满",
        }
    }
}

/// Returns the time until one limit. Both assumptions have the same kind of outlook.
fn limit_phrase(outlooks: LimitOutlooks, limit: Limit, language: Language) -> String {
    let word = limit.word(language);
    match (outlooks.sooner(), outlooks.later(), language) {
        (LimitOutlook::Reached, _, Language::English) => format!("{word} now"),
        (LimitOutlook::Reached, _, Language::Chinese) => format!("已{word}"),
        (LimitOutlook::Within { days: sooner }, LimitOutlook::Within { days: later }, _) => {
            within_phrase(sooner, later, limit, language)
        }
        (_, LimitOutlook::NotGrowing, Language::English) => "not growing".to_owned(),
        (_, LimitOutlook::NotGrowing, Language::Chinese) => "用量没有增长".to_owned(),
        (_, _, Language::English) => format!("not {word} within a year"),
        (_, _, Language::Chinese) => format!("一年内不会{word}"),
    }
}

/// A number of days, weeks or months.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    number: u32,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Days,
    Weeks,
    Months,
}

impl Span {
    /// Returns days in the unit for their number, rounded to the nearest.
    fn of_days(days: u32) -> Self {
        let rounded = |of: u32| days.saturating_add(of / 2) / of;
        if days <= MAX_SHOWN_DAYS {
            Self { number: days, unit: Unit::Days }
        } else if rounded(WEEK_DAYS) <= MAX_SHOWN_WEEKS {
            Self { number: rounded(WEEK_DAYS), unit: Unit::Weeks }
        } else {
            Self { number: rounded(MONTH_DAYS), unit: Unit::Months }
        }
    }

    fn unit_word(self, language: Language) -> &'static str {
        match (language, self.unit, self.number) {
            (Language::English, Unit::Days, 1) => "day",
            (Language::English, Unit::Days, _) => "days",
            (Language::English, Unit::Weeks, _) => "weeks",
            (Language::English, Unit::Months, _) => "months",
            (Language::Chinese, Unit::Days, _) => "天",
            (Language::Chinese, Unit::Weeks, _) => "周",
            (Language::Chinese, Unit::Months, _) => "个月",
        }
    }
}

fn within_phrase(sooner: u32, later: u32, limit: Limit, language: Language) -> String {
    let (first, last) = (Span::of_days(sooner), Span::of_days(later));
    let (first_unit, last_unit) = (first.unit_word(language), last.unit_word(language));
    let (word, from, to) = (limit.word(language), first.number, last.number);
    let same_unit = first.unit == last.unit;
    match language {
        Language::English if first == last => format!("{word} in {to} {last_unit}"),
        Language::English if same_unit => format!("{word} in {from} to {to} {last_unit}"),
        Language::English => format!("{word} in {from} {first_unit} to {to} {last_unit}"),
        Language::Chinese if first == last => format!("{to} {last_unit}后{word}"),
        Language::Chinese if same_unit => format!("{from} 至 {to} {last_unit}后{word}"),
        Language::Chinese => format!("{from} {first_unit}至 {to} {last_unit}后{word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{UseLimit, UtcDay};
    use LimitOutlook::{NotGrowing, NotWithinAYear, Reached};

    type Outlooks = Option<(LimitOutlook, LimitOutlook)>;

    fn within(days: u32) -> LimitOutlook {
        LimitOutlook::Within { days }
    }

    fn resource(near_full: Option<Outlooks>, full: Outlooks) -> UseForecast {
        let limit = |outlooks: Outlooks| UseLimit {
            used: 0,
            outlooks: outlooks
                .map(|(net, without_cleanups)| LimitOutlooks { net, without_cleanups }),
        };
        let near_full = near_full.map(limit);
        UseForecast { used: 0, total: 1, near_full, full: limit(full), known_days: 1 }
    }

    #[test]
    fn a_forecast_is_a_sentence_in_each_language() {
        let alike = |outlook| Some((outlook, outlook));
        let cases: [(Outlooks, Outlooks, &str, &str); 12] = [
            (None, None, "too little history (1 d)", "历史数据不足（1 天）"),
            (
                Some((within(20), within(9))),
                Some((within(45), within(18))),
                "full in 18 days to 6 weeks, near full in 9 to 20 days",
                "18 天至 6 周后写满，9 至 20 天后接近写满",
            ),
            (
                alike(within(30)),
                Some((within(99), within(24))),
                "full in 3 to 14 weeks, near full in 4 weeks",
                "3 至 14 周后写满，4 周后接近写满",
            ),
            (
                alike(Reached),
                alike(within(1)),
                "full in 1 day, near full now",
                "1 天后写满，已接近写满",
            ),
            (alike(Reached), alike(Reached), "full now", "已写满"),
            (alike(NotGrowing), alike(NotGrowing), "not growing", "用量没有增长"),
            (
                alike(NotWithinAYear),
                alike(NotWithinAYear),
                "not full within a year",
                "一年内不会写满",
            ),
            (
                Some((NotGrowing, within(9))),
                Some((NotGrowing, within(18))),
                "not growing; without clean-ups full in 18 days, near full in 9 days",
                "用量没有增长；若不清理，18 天后写满，9 天后接近写满",
            ),
            (
                Some((within(300), NotGrowing)),
                Some((within(365), NotGrowing)),
                "full in 12 months, near full in 10 months; without clean-ups not growing",
                "12 个月后写满，10 个月后接近写满；若不清理，用量没有增长",
            ),
            (
                alike(Reached),
                Some((NotGrowing, within(200))),
                "not growing, near full now; without clean-ups full in 7 months, near full now",
                "用量没有增长，已接近写满；若不清理，7 个月后写满，已接近写满",
            ),
            (
                alike(within(21)),
                Some((NotWithinAYear, within(200))),
                "not full within a year, near full in 3 weeks; \
                 without clean-ups full in 7 months, near full in 3 weeks",
                "一年内不会写满，3 周后接近写满；若不清理，7 个月后写满，3 周后接近写满",
            ),
            (
                Some((within(150), within(20))),
                Some((within(200), within(150))),
                "full in 5 to 7 months, near full in 20 days to 5 months",
                "5 至 7 个月后写满，20 天至 5 个月后接近写满",
            ),
        ];
        for (near_full, full, english, chinese) in cases {
            let bytes = resource(Some(near_full), full);
            let forecast = SpaceForecast { as_of: UtcDay(9), bytes, inodes: None };
            assert_eq!(forecast_phrase(&forecast, Language::English), english);
            assert_eq!(forecast_phrase(&forecast, Language::Chinese), chinese);
        }
    }

    #[test]
    fn inodes_are_named_if_they_have_a_limit_within_a_year() {
        let bytes = resource(Some(None), Some((NotGrowing, NotGrowing)));
        let phrase = |inodes, language| {
            forecast_phrase(
                &SpaceForecast { as_of: UtcDay(9), bytes, inodes: Some(inodes) },
                language,
            )
        };
        for harmless in [None, Some((NotGrowing, NotWithinAYear))] {
            assert_eq!(phrase(resource(None, harmless), Language::English), "not growing");
        }
        let scarce = resource(None, Some((within(20), within(9))));
        assert_eq!(phrase(scarce, Language::English), "not growing; inodes full in 9 to 20 days");
        assert_eq!(phrase(scarce, Language::Chinese), "用量没有增长；inode 9 至 20 天后写满");
        let full = resource(None, Some((Reached, Reached)));
        assert_eq!(phrase(full, Language::English), "not growing; inodes full now");
    }
}
