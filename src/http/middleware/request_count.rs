//! The count of each request for the metrics, by the route that its path has in the table.
//!
//! The routes are matched here once more, because the router of axum gives the route of a request
//! only to its handler, and a request that is refused before it has none.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use tokio::time::Instant;

use crate::http::api::routes::served_paths;
use crate::metrics::{HttpStats, RequestLabels, UNMATCHED_ROUTE};

/// The status of a request whose client has gone before the response, as nginx has it.
const CLIENT_GONE: u16 = 499;

/// Counts requests.
pub(in crate::http) struct RequestCounter {
    routes: matchit::Router<Arc<str>>,
    unmatched: Arc<str>,
    stats: Arc<HttpStats>,
}

impl RequestCounter {
    /// Creates the counter. `bases` are those of `server.base_path`, and `prefixes` are
    /// `server.agent_prefixes`.
    pub(in crate::http) fn new(
        bases: &[String],
        prefixes: &[String],
        stats: Arc<HttpStats>,
    ) -> Self {
        let mut routes = matchit::Router::new();
        for (_, path) in served_paths(bases, prefixes) {
            // It fails for a path that is in the table already, with another method.
            let _ = routes.insert(path.clone(), Arc::from(path));
        }
        Self { routes, unmatched: Arc::from(UNMATCHED_ROUTE), stats }
    }

    /// Begins the count of a request, which ends when the result is dropped.
    pub(super) fn begin<'a>(&'a self, method: &'a Method, path: &'a str) -> CountedRequest<'a> {
        CountedRequest { counter: self, method, path, began: Instant::now(), status: None }
    }

    /// Counts a request or a connection that was refused because of its caller. `rule` is a word of
    /// the audit log, or of the reason why a connection was closed, and never a text of the caller.
    pub(in crate::http) fn count_refusal(&self, rule: &'static str) {
        self.stats.refused.increment(rule);
    }
}

/// A request that is counted once, with the time until the head of its response, or until its
/// client has gone.
pub(super) struct CountedRequest<'a> {
    counter: &'a RequestCounter,
    method: &'a Method,
    path: &'a str,
    began: Instant,
    status: Option<StatusCode>,
}

impl CountedRequest<'_> {
    /// Records the status of the response.
    pub(super) fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        let RequestCounter { routes, unmatched, stats } = self.counter;
        let route = routes.at(self.path).map_or(unmatched, |found| found.value);
        let labels = RequestLabels {
            route: Arc::clone(route),
            method: method_label(self.method),
            status: self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
        };
        stats.count_request(labels, self.began.elapsed());
    }
}

/// Returns the label of a method. A client may send any word as a method, so that the others share
/// one label.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
