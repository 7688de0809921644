//! Layer 8. The metrics of the daemon, as Prometheus and its relatives scrape them: `GET /metrics`.
//!
//! # Guarantees
//!
//! - The state of the stores is read from their snapshots at each scrape. A store that was removed
//!   has no series left.
//! - Each label is bounded: a store by its uuid, a route by its path in the table of the routes,
//!   and every other label by the words of an enum. The name and the path of a store are labels of
//!   one series, `imagestore_store_info`, alone.
//! - A figure that is not known has no series. It is never 0.
//! - [`FAMILIES`] has every family that a scrape can show.
//!
//! # Never
//!
//! - Keeps a second book: it counts nothing that another module knows.
//! - Touches a disk, except `/proc`.

mod encoder;
mod exemplars;
mod exposition;
mod families;
mod http_stats;
mod of_daemon;
mod of_stores;
mod process_stats;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::agent::{AgentStats, DaemonConditions, StoreService};
use crate::common::{Counter, LastTime, Timestamp};
use crate::ledger::Ledger;
use crate::notifier::NotifierHandle;
use encoder::MetricsEncoder;
pub use exposition::Exposition;
pub use families::{FAMILIES, FamilyKind, MetricFamily};
pub use http_stats::{HttpStats, RequestLabels, UNMATCHED_ROUTE};
use of_daemon::DaemonSample;
use of_stores::StoresSample;
pub use process_stats::{ProcessStats, ProcessStatsFn};

/// The sources of the metrics that belong to no store.
#[derive(Clone)]
pub struct MetricSources {
    /// The conditions that come from the daemon.
    pub conditions: DaemonConditions,
    /// The delivery of notices, or `None` without a callback.
    pub notifier: Option<NotifierHandle>,
    /// The counts of the attempts and the checks.
    pub agent: Arc<AgentStats>,
    /// The ledger, for the durations of its transactions.
    pub ledger: Ledger,
    /// The counts of the requests.
    pub http: Arc<HttpStats>,
    /// Number of lines that the log has lost.
    pub lost_log_lines: Arc<Counter>,
    /// The time of the last start or reload with valid settings.
    pub settings_loaded: Arc<LastTime>,
    /// The resources that the process uses.
    pub process_stats: ProcessStatsFn,
}

/// The facts of a scrape that the HTTP server knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerSample {
    /// The time at which the certificate of the listeners ends, or `None` without TLS.
    pub certificate_end: Option<Timestamp>,
    /// Number of open streams of events.
    pub open_streams: usize,
}

/// Renders the metrics.
#[derive(Clone)]
pub struct Metrics(MetricSources);

impl Metrics {
    /// Creates the metrics of these sources.
    pub fn new(sources: MetricSources) -> Self {
        Self(sources)
    }

    /// Returns the counts of the requests, which the HTTP server adds to.
    pub fn http_stats(&self) -> &Arc<HttpStats> {
        &self.0.http
    }

    /// Returns all metrics as text. The time grows with the number of stores: thousands of them
    /// take tens of milliseconds, so that the call belongs on a thread for blocking work.
    ///
    /// # Errors
    /// [`fmt::Error`] only because of an internal error.
    pub fn render<S: StoreService>(
        &self,
        stores: &S,
        server: ServerSample,
        exposition: Exposition,
    ) -> Result<String, fmt::Error> {
        let sample = ScrapeSample {
            stores: StoresSample::read(stores, &self.0.conditions),
            daemon: DaemonSample::read(&self.0, server),
        };
        sample.render(exposition)
    }
}

/// The state of everything at one scrape.
#[derive(Debug)]
struct ScrapeSample {
    stores: StoresSample,
    daemon: DaemonSample,
}

impl ScrapeSample {
    fn render(self, exposition: Exposition) -> Result<String, fmt::Error> {
        let login_phases = self.daemon.login_phases.clone();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(SampleCollector { sample: self, exposition }));
        let mut rendered = String::new();
        match exposition {
            Exposition::Text => prometheus_text::encode(&mut rendered, &registry)?,
            Exposition::OpenMetrics => {
                text::encode_registry(&mut rendered, &registry)?;
                exemplars::write_login_phases(&mut rendered, &login_phases)?;
                text::encode_eof(&mut rendered)?;
            }
        }
        Ok(rendered)
    }
}

/// Gives a sample to the encoder.
#[derive(Debug)]
struct SampleCollector {
    sample: ScrapeSample,
    exposition: Exposition,
}

impl Collector for SampleCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut encoder = MetricsEncoder::new(encoder);
        self.sample.stores.encode(&mut encoder)?;
        self.sample.daemon.encode(&mut encoder)?;
        if self.exposition == Exposition::Text {
            exemplars::encode_login_phases(&mut encoder, &self.sample.daemon.login_phases)?;
        }
        Ok(())
    }
}
