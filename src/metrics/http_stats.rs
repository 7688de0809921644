//! The counts of the HTTP requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Counter, CounterFamily, Histogram, HistogramSnapshot, lock_unpoisoned};

/// The route of a request whose path is in no route.
pub const UNMATCHED_ROUTE: &str = "unmatched";

/// Upper bounds of the durations, in seconds. A read takes less than a millisecond, a reconnect up
/// to `monitor.attempt_deadline`, which is 30 s by default.
const DURATION_BOUNDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The labels of one request.
#[derive(Clone, Debug)]
pub struct RequestLabels {
    /// The path in the table of the routes, with its base path or prefix.
    pub route: Arc<str>,
    /// The method, one of those that HTTP defines, or `other`.
    pub method: &'static str,
    /// The status of the response.
    pub status: u16,
}

/// The counts of the requests.
#[derive(Debug, Default)]
pub struct HttpStats {
    routes: Mutex<BTreeMap<Arc<str>, RouteStats>>,
    /// Refused requests and connections, by the rule that refused them.
    pub refused: CounterFamily<&'static str>,
    /// Fields of requests that the daemon does not know.
    pub unknown_fields: Counter,
}

/// The counts of one route.
#[derive(Debug)]
struct RouteStats {
    responses: BTreeMap<(&'static str, u16), u64>,
    durations: Histogram,
}

impl HttpStats {
    /// Counts a request. The duration is that from its head to the head of its response.
    pub fn count_request(&self, labels: RequestLabels, duration: Duration) {
        let RequestLabels { route, method, status } = labels;
        let mut routes = lock_unpoisoned(&self.routes);
        let new = || RouteStats {
            responses: BTreeMap::new(),
            durations: Histogram::new(DURATION_BOUNDS),
        };
        let stats = routes.entry(route).or_insert_with(new);
        let count = stats.responses.entry((method, status)).or_default();
        *count = count.saturating_add(1);
        stats.durations.observe(duration);
    }

    /// Returns all counts.
    pub(super) fn counts(&self) -> RequestCounts {
        let routes = lock_unpoisoned(&self.routes);
        let sample = |(route, stats): (&Arc<str>, &RouteStats)| RouteSample {
            route: Arc::clone(route),
            responses: stats
                .responses
                .iter()
                .map(|((method, status), count)| ((*method, status.to_string()), *count))
                .collect(),
            durations: stats.durations.snapshot(),
        };
        RequestCounts {
            routes: routes.iter().map(sample).collect(),
            refused: self.refused.values(),
            unknown_fields: self.unknown_fields.value(),
        }
    }
}

/// The counts of all requests at a scrape.
#[derive(Debug)]
pub(super) struct RequestCounts {
    pub(super) routes: Vec<RouteSample>,
    pub(super) refused: Vec<(&'static str, u64)>,
    pub(super) unknown_fields: u64,
}

/// The counts of one route at a scrape.
#[derive(Debug)]
pub(super) struct RouteSample {
    pub(super) route: Arc<str>,
    /// The number of responses by method and status.
    pub(super) responses: Vec<((&'static str, String), u64)>,
    pub(super) durations: HistogramSnapshot,
}
