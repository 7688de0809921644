//! The samples of a scrape: a reader of the text format of Prometheus.

use std::collections::BTreeMap;

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
    /// The rest of the line: an exemplar.
    pub(crate) exemplar: String,
}

/// All samples of a scrape.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(pub(crate) Vec<Sample>);

impl Scrape {
    /// Reads the text format 0.0.4 or OpenMetrics.
    pub(crate) fn parse(text: &str) -> Self {
        let is_sample = |line: &&str| !line.is_empty() && !line.starts_with('#');
        Self(text.lines().filter(is_sample).map(parse_line).collect())
    }

    /// Returns the samples with this name and at least these labels.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let matches = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(matches).collect()
    }

    /// Returns the value of the only sample with this name and these labels, if there is one.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.all(name, labels);
        assert!(found.len() <= 1, "{name} {labels:?}: {found:?}");
        found.first().map(|sample| sample.value)
    }

    /// Returns the value of the only sample with this name and these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.unwrap_or_else(|| {
            panic!("{name} {labels:?} has no sample: {:#?}", self.all(name, &[]))
        })
    }
}

fn parse_line(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(list) = rest.strip_prefix('{') {
        rest = list;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.trim_start_matches(',').split_once("=\"").unwrap();
            let (value, after) = parse_quoted(quoted);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} twice: {line}");
            rest = after;
        }
        rest = &rest[1..];
    }
    let rest = rest.strip_prefix(' ').unwrap();
    let (value, exemplar) = rest.split_once(" # ").unwrap_or((rest, ""));
    let value = value.parse().unwrap_or_else(|_| panic!("no value: {line}"));
    Sample { name: name.to_owned(), labels, value, exemplar: exemplar.to_owned() }
}

/// Reads the value of a label up to its closing quote, and returns the text behind it.
fn parse_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote: {text}");
}
