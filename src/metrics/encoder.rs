//! The encoder of the families. A family can only be written with its entry in the table, and a
//! sample only through its family.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};

use super::families::MetricFamily;
use crate::common::HistogramSnapshot;

/// The labels of a sample: names and values.
pub(super) type Labels<'a> = [(&'static str, &'a str)];

/// Writes families.
pub(super) struct MetricsEncoder<'a>(DescriptorEncoder<'a>);

impl<'a> MetricsEncoder<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Writes the head of a family.
    pub(super) fn begin(
        &mut self,
        family: &'static MetricFamily,
    ) -> Result<FamilyEncoder<'_>, fmt::Error> {
        let MetricFamily { name, unit, kind, labels: _, help } = family;
        let unit = unit.as_ref();
        self.0.encode_descriptor(name, help, unit, kind.metric_type()).map(FamilyEncoder)
    }

    /// Writes a family with one sample, or with none if its value is not known.
    pub(super) fn write_gauge(
        &mut self,
        family: &'static MetricFamily,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let mut family = self.begin(family)?;
        value.map_or(Ok(()), |value| family.gauge(&[], value))
    }

    /// Writes a family with one counter.
    pub(super) fn write_counter(
        &mut self,
        family: &'static MetricFamily,
        value: u64,
    ) -> fmt::Result {
        self.begin(family)?.counter(&[], value)
    }
}

/// Writes the samples of one family.
pub(super) struct FamilyEncoder<'a>(MetricEncoder<'a>);

impl FamilyEncoder<'_> {
    pub(super) fn gauge(
        &mut self,
        labels: &Labels<'_>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    pub(super) fn counter(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// Writes a counter that is not whole.
    pub(super) fn fractional_counter(&mut self, labels: &Labels<'_>, value: f64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    pub(super) fn histogram(
        &mut self,
        labels: &Labels<'_>,
        histogram: &HistogramSnapshot,
    ) -> fmt::Result {
        let HistogramSnapshot { sum_seconds, count, buckets, exemplars: _ } = histogram;
        let mut sample = self.0.encode_family(&labels)?;
        sample.encode_histogram::<NoLabelSet>(*sum_seconds, *count, buckets, None)
    }

    pub(super) fn info(&mut self, labels: &Labels<'_>) -> fmt::Result {
        self.0.encode_info(&labels)
    }
}
