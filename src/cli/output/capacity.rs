//! Formats the use of a store by day as text. Pure functions from JSON to lines.

use serde_json::Value;

use super::{format_size, str_field};

/// The marks of a use, from nothing to the total.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The mark of a day without figures.
const GAP: char = '·';
/// Maximum number of marks in the line. It fits a terminal of 80 columns.
const MAX_MARKS: usize = 60;

/// The text in place of a forecast that the daemon does not have.
const UNKNOWN: &str =
    "unknown, because nothing was measured yet or the state disk does not respond";

/// Formats the use of a store by day with its forecast, or returns `None` if the body has no such
/// form.
pub(crate) fn format_capacity(body: &Value) -> Option<String> {
    body.get("uuid").filter(|uuid| uuid.is_string())?;
    let points = body.get("points")?;
    let forecast = body.get("forecast")?;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    line("uuid", str_field(body, "uuid"));
    line("same as", str_field(body, "sameFilesystemAs"));
    if let Some(bytes) = object(forecast, "bytes") {
        line("used", format_use(bytes, format_size));
        line("near full", format_limit(bytes.get("nearFull"), format_size));
        line("full", format_limit(bytes.get("full"), format_size));
    }
    if let Some(inodes) = object(forecast, "inodes") {
        line("inodes used", format_use(inodes, format_count));
        line("inodes full", format_limit(inodes.get("full"), format_count));
    }
    let sentence = str_field(forecast, "sentence");
    line("forecast", if forecast.is_null() { UNKNOWN.to_owned() } else { sentence });
    let points = points.as_array().map_or(&[][..], Vec::as_slice);
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        line("days", format!("{} to {}", str_field(first, "day"), str_field(last, "day")));
        line("", spark_line(points));
    }
    Some(text)
}

fn format_count(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_u64).map_or_else(|| "?".to_owned(), |it| it.to_string())
}

fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| value.is_object())
}

/// Formats the use with its share of the total, such as `6 of 10 (60 %)`.
fn format_use(forecast: &Value, size: fn(&Value, &str) -> String) -> String {
    let number = |key| forecast.get(key).and_then(Value::as_u64).map(u128::from);
    let share = match (number("used"), number("total")) {
        (Some(used), Some(total)) if total > 0 => format!(" ({} %)", used * 100 / total),
        _ => String::new(),
    };
    format!("{} of {}{share}", size(forecast, "used"), size(forecast, "total"))
}

/// Formats a limit with the time until it is reached under both assumptions.
fn format_limit(limit: Option<&Value>, size: fn(&Value, &str) -> String) -> String {
    let Some(limit) = limit.filter(|limit| limit.is_object()) else { return String::new() };
    let outlook = |key: &str| {
        let outlook = limit.get(key).filter(|outlook| outlook.is_object())?;
        let date = str_field(outlook, "date");
        Some(if date.is_empty() { str_field(outlook, "outlook").replace('_', " ") } else { date })
    };
    let at = format!("at {}", size(limit, "used"));
    match (outlook("net"), outlook("withoutCleanups")) {
        (Some(net), Some(without)) if net == without => format!("{at}: {net}"),
        (Some(net), Some(without)) => format!("{at}: {net} net, {without} without clean-ups"),
        _ => at,
    }
}

/// Returns one mark for each day, or for several days if there are many: their highest use as a
/// share of the total.
fn spark_line(points: &[Value]) -> String {
    let per_mark = points.len().div_ceil(MAX_MARKS).max(1);
    let marks = points.chunks(per_mark).map(|days| {
        let levels = days.iter().filter_map(level);
        levels.max().and_then(|level| MARKS.get(level).copied()).unwrap_or(GAP)
    });
    marks.collect()
}

/// Returns the index of the mark of a day.
fn level(point: &Value) -> Option<usize> {
    let number = |key| point.get(key).and_then(Value::as_u64).map(u128::from);
    let (used, total) = (number("usedMax")?, number("totalCapacity").filter(|total| *total > 0)?);
    let highest = MARKS.len() - 1;
    let level = used * u128::try_from(MARKS.len()).ok()? / total;
    Some(usize::try_from(level).unwrap_or(highest).min(highest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(points: usize) -> Value {
        let point = |day: usize| {
            json!({"day": format!("2016-12-{:02}", day % 30 + 1), "totalCapacity": points,
                   "usedMax": day})
        };
        let limit = |used: u64, net: &str, without: &str| {
            json!({"used": used, "net": {"outlook": "within", "date": net},
                   "withoutCleanups": {"outlook": "within", "date": without}})
        };
        json!({
            "uuid": "4cd9fb91", "sameFilesystemAs": null,
            "forecast": {
                "sentence": "full in 3 weeks",
                "bytes": {"used": 60_u64 << 30, "total": 100_u64 << 30,
                          "nearFull": limit(85 << 30, "2016-12-25", "2016-12-24"),
                          "full": limit(95 << 30, "2017-01-14", "2017-01-14")},
                "inodes": {"used": 6, "total": 10,
                           "full": {"used": 10, "net": {"outlook": "not_growing"},
                                    "withoutCleanups": {"outlook": "not_growing"}}},
            },
            "points": (0..points).map(point).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn the_use_the_limits_and_the_days_have_a_line_each() {
        let expected = "\
uuid         4cd9fb91
used         60.0 GiB of 100.0 GiB (60 %)
near full    at 85.0 GiB: 2016-12-25 net, 2016-12-24 without clean-ups
full         at 95.0 GiB: 2017-01-14
inodes used  6 of 10 (60 %)
inodes full  at 10: not growing
forecast     full in 3 weeks
days         2016-12-01 to 2016-12-08
             ▁▂▃▄▅▆▇█
";
        let spark = format_capacity(&body(8)).unwrap();
        assert_eq!(spark, expected);
        for points in [1, 60, 61, 400] {
            let text = format_capacity(&body(points)).unwrap();
            let marks = text.lines().last().unwrap().trim().chars().count();
            assert!(marks <= MAX_MARKS && marks >= points.min(30), "{points}: {text}");
        }
    }

    #[test]
    fn a_day_without_figures_is_a_gap_and_a_body_of_another_form_is_none() {
        let unknown = json!({"uuid": "x", "forecast": null, "points": [{"day": "2016-12-01"}]});
        let text = format_capacity(&unknown).unwrap();
        assert!(text.contains("nothing was measured yet") && text.ends_with("·\n"), "{text}");
        for body in [json!({}), json!([]), json!({"uuid": "x", "points": []})] {
            assert_eq!(format_capacity(&body), None);
        }
    }
}
