//! The histograms of the login phases. Each bucket has an exemplar: the newest attempt in it, as
//! `imagestore-agent events` and `show` number it.
//!
//! Only OpenMetrics has exemplars. `prometheus-client` writes them for its own histograms alone,
//! which a collector cannot fill, so this module writes the samples of that family itself.
//! Source: OpenMetrics 1.0, sections "Histogram" and "Exemplars".

use std::fmt::{self, Write};

use super::encoder::MetricsEncoder;
use super::families::LOGIN_PHASE_DURATION;
use crate::common::{HistogramExemplar, HistogramSnapshot};

/// The phases and their histograms.
pub(super) type LoginPhaseSamples = [(&'static str, HistogramSnapshot)];

/// Writes the family without exemplars.
pub(super) fn encode_login_phases(
    encoder: &mut MetricsEncoder<'_>,
    phases: &LoginPhaseSamples,
) -> fmt::Result {
    let mut family = encoder.begin(&LOGIN_PHASE_DURATION)?;
    phases
        .iter()
        .try_for_each(|(phase, histogram)| family.histogram(&[("phase", phase)], histogram))
}

/// Writes the family in OpenMetrics, with its exemplars. No label needs to be escaped: a phase is a
/// word of the program, and an exemplar has a uuid and a number.
pub(super) fn write_login_phases(out: &mut impl Write, phases: &LoginPhaseSamples) -> fmt::Result {
    let family = &LOGIN_PHASE_DURATION;
    let name = family.full_name();
    writeln!(out, "# HELP {name} {}", family.help)?;
    writeln!(out, "# TYPE {name} {}", family.kind.as_str())?;
    writeln!(out, "# UNIT {name} seconds")?;
    for (phase, histogram) in phases {
        writeln!(out, "{name}_sum{{phase=\"{phase}\"}} {:?}", histogram.sum_seconds)?;
        writeln!(out, "{name}_count{{phase=\"{phase}\"}} {}", histogram.count)?;
        let mut below: u64 = 0;
        for (bucket, (bound, count)) in histogram.buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            match bound.is_finite() {
                true => write!(out, "{name}_bucket{{le=\"{bound:?}\",phase=\"{phase}\"}} {below}")?,
                false => write!(out, "{name}_bucket{{le=\"+Inf\",phase=\"{phase}\"}} {below}")?,
            }
            let of_bucket = histogram.exemplars.iter().find(|(place, _)| *place == bucket);
            if let Some((_, exemplar)) = of_bucket {
                write_exemplar(out, exemplar)?;
            }
            out.write_char('\n')?;
        }
    }
    Ok(())
}

fn write_exemplar(out: &mut impl Write, exemplar: &HistogramExemplar) -> fmt::Result {
    out.write_str(" # {")?;
    for (place, (label, value)) in exemplar.labels.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}{label}=\"{value}\"")?;
    }
    let at = exemplar.at.unix_ms();
    write!(out, "}} {:?} {}.{:03}", exemplar.seconds, at / 1000, at % 1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, text};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::common::{Histogram, Timestamp};

    fn phases() -> Vec<(&'static str, HistogramSnapshot)> {
        let (resolve, auth) = (Histogram::new(&[0.001, 0.25, 10.0]), Histogram::new(&[0.5]));
        resolve.observe(Duration::from_micros(900));
        resolve.observe(Duration::from_millis(3));
        let labels = || vec![("store", "4cd9".to_owned()), ("attempt", "7".to_owned())];
        resolve.observe_with(Duration::from_millis(5), labels(), Timestamp(1_795_731_619_998));
        auth.observe_with(Duration::from_secs(31), labels(), Timestamp(2_000));
        vec![("resolve", resolve.snapshot()), ("auth", auth.snapshot())]
    }

    fn rendered() -> String {
        let mut out = String::new();
        write_login_phases(&mut out, &phases()).unwrap();
        out
    }

    #[test]
    fn each_bucket_has_its_newest_attempt() {
        let name = "imagestore_login_phase_duration_seconds";
        let expected = [
            "_bucket{le=\"0.25\",phase=\"resolve\"} 3 # {store=\"4cd9\",attempt=\"7\"} 0.005 \
             1795731619.998",
            "_bucket{le=\"+Inf\",phase=\"auth\"} 1 # {store=\"4cd9\",attempt=\"7\"} 31.0 2.000",
            "_bucket{le=\"0.001\",phase=\"resolve\"} 1",
            "_count{phase=\"resolve\"} 3",
        ];
        let rendered = rendered();
        for line in expected {
            let line = format!("{name}{line}");
            assert!(rendered.lines().any(|found| found == line), "{line}: {rendered}");
        }
    }

    /// Writes the phases as the library does.
    #[derive(Debug)]
    struct PhaseCollector;

    impl Collector for PhaseCollector {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encode_login_phases(&mut MetricsEncoder::new(encoder), &phases())
        }
    }

    #[test]
    fn without_the_exemplars_the_text_is_that_of_the_library() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(PhaseCollector));
        let mut expected = String::new();
        text::encode_registry(&mut expected, &registry).unwrap();
        let without = |line: &str| line.split(" # {").next().unwrap().to_owned() + "\n";
        assert_eq!(rendered().lines().map(without).collect::<String>(), expected);
    }
}
