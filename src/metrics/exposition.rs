//! The text format of a scrape, which the scraper chooses with `Accept`.
//!
//! Prometheus asks for OpenMetrics first and accepts the older format too. A program that asks for
//! neither gets the older format, which every scraper reads. Sources: RFC 9110 section 12.5.1, and
//! the content types of `prometheus/common`, `expfmt/expfmt.go`.

use prometheus_client::encoding::prometheus_text;

/// The text format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

const OPEN_METRICS_TYPE: &str = "application/openmetrics-text";
/// The versions that a client may ask for. The first draft has the version 0.0.1, and its clients
/// read version 1.0.0.
const OPEN_METRICS_VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];
/// The weight of a range without `q`, in thousandths, and the greatest one.
const FULL_WEIGHT: u16 = 1000;

impl Exposition {
    /// Chooses the format by the values of `Accept`: OpenMetrics if the client names it and does
    /// not prefer the older format.
    pub fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0, 0);
        for range in accept.flat_map(|value| value.split(',')) {
            let MediaRange { name, version, weight } = MediaRange::parse(range);
            let is_one_of = |versions: &[&str]| version.is_none_or(|it| versions.contains(&it));
            if name.eq_ignore_ascii_case(OPEN_METRICS_TYPE) && is_one_of(&OPEN_METRICS_VERSIONS) {
                open_metrics = weight.max(open_metrics);
            } else if name.eq_ignore_ascii_case("text/plain") && is_one_of(&["0.0.4"]) {
                text = weight.max(text);
            }
        }
        if open_metrics > 0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One media range of `Accept`.
struct MediaRange<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// The weight `q` in thousandths.
    weight: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(range: &'a str) -> Self {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (mut version, mut weight) = (None, FULL_WEIGHT);
        for parameter in parts {
            let Some((key, value)) = parameter.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match key.trim() {
                key if key.eq_ignore_ascii_case("version") => version = Some(value),
                key if key.eq_ignore_ascii_case("q") => weight = parse_weight(value),
                _ => {}
            }
        }
        Self { name, version, weight }
    }
}

/// Reads a weight: `0`, `1`, or one of them with up to three decimals. A malformed weight is 0.
fn parse_weight(text: &str) -> u16 {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = decimals.chars().chain("000".chars()).take(3).collect();
    let (Ok(whole), Ok(decimals)) = (whole.parse::<u16>(), digits.parse::<u16>()) else { return 0 };
    whole.saturating_mul(FULL_WEIGHT).saturating_add(decimals).min(FULL_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_chooses_the_format() {
        use Exposition::{OpenMetrics, Text};
        let prometheus = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
            */*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
            */*;q=0.2";
        for (accept, expected) in [
            (vec![], Text),
            (vec![""], Text),
            (vec!["*/*"], Text),
            (vec!["text/html"], Text),
            (vec!["application/json"], Text),
            (vec!["text/plain"], Text),
            (vec!["application/openmetrics-text"], OpenMetrics),
            (vec!["Application/OpenMetrics-Text; version=\"1.0.0\" "], OpenMetrics),
            (vec!["application/openmetrics-text;version=2.0.0"], Text),
            (vec!["application/openmetrics-text;Version=2.0.0"], Text),
            (vec!["application/openmetrics-text;q=0"], Text),
            (vec!["application/openmetrics-text;q=x"], Text),
            (vec!["application/openmetrics-text;q=0.5,text/plain;q=0.6"], Text),
            (vec!["application/openmetrics-text;q=0.5,text/plain;q=0.5"], OpenMetrics),
            (vec!["application/openmetrics-text;q=0.1,*/*"], OpenMetrics),
            (vec!["application/openmetrics-text;q=0.5,text/plain;version=1.0.0"], OpenMetrics),
            (vec!["text/plain;q=0.4", "application/openmetrics-text;q=0.412"], OpenMetrics),
            (vec![prometheus], OpenMetrics),
            (vec![prometheus_3], OpenMetrics),
        ] {
            assert_eq!(Exposition::negotiate(accept.iter().copied()), expected, "{accept:?}");
        }
    }
}
