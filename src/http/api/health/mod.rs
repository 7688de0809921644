//! The health of the daemon: `/healthz` and `/readyz`, the two paths that need no token, and the
//! part of the health view that belongs to no store.

pub(super) mod capacity;
pub(super) mod clock_watch;
pub(super) mod diagnosis;
pub(in crate::http) mod metrics;
pub(super) mod requested;
pub(super) mod stores;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::{AppState, response};
use crate::agent::{DaemonConditions, StoreService};
use crate::metrics::ProcessStatsFn;
use crate::model::{NodeId, StoreUuid};
use crate::notifier::NotifierHandle;
use crate::wire::{DeliveryBody, LivenessResponse, ReadinessResponse};
pub use clock_watch::ClockWatch;

/// A check of whether the daemon can serve requests. The composition root implements it.
pub trait ReadinessCheck: Send + Sync + 'static {
    /// Returns the reasons why the daemon is not ready, one clause each, such as `the state
    /// directory cannot be written`. The list is empty if the daemon is ready. The call must not
    /// block: read what a task has found, not the disk.
    fn failures(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> ReadinessCheck for F {
    fn failures(&self) -> Vec<String> {
        self()
    }
}

/// Reports that the server responds, and nothing else.
pub(super) async fn get_liveness() -> Response {
    response::json_response(StatusCode::OK, &LivenessResponse { alive: true })
}

/// Reports whether the daemon can serve requests, not whether stores are connected.
pub(super) async fn get_readiness<S: StoreService>(
    State(state): State<Arc<AppState<S>>>,
) -> Response {
    let mut reasons = state.readiness.failures();
    if state.stop.is_cancelled() {
        reasons.push("the daemon is stopping".to_owned());
    }
    let body = ReadinessResponse::new(reasons);
    let status = if body.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response::json_response(status, &body)
}

/// The daemon, as the health view shows it.
#[derive(Clone)]
pub struct DaemonInfo {
    /// This installation.
    pub node: NodeId,
    /// The conditions that come from the daemon.
    pub conditions: DaemonConditions,
    /// The delivery of notices, or `None` without a callback.
    pub notifier: Option<NotifierHandle>,
    /// The resources that the process uses.
    pub process_stats: ProcessStatsFn,
    /// The wall clock.
    pub clock: ClockWatch,
}

impl DaemonInfo {
    /// Returns the status of delivery for one store, or `None` without a callback.
    pub(super) fn delivery_status(&self, store: StoreUuid) -> Option<DeliveryBody> {
        let notifier = self.notifier.as_ref()?;
        let status = notifier.delivery_status(store).unwrap_or_default();
        Some(DeliveryBody {
            destination: notifier.active_endpoint(),
            last_reply: status.last_failure.map(|failure| failure.reply.to_string()),
            next_try: status.next_try.map(|at| at.to_string()),
            pending: status.pending,
        })
    }
}
