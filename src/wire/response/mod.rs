//! The bodies of responses: the error object, the inventory, the health of a store and its history
//! below; here the summary of all stores, the probes and the output of `init --json`.

mod attempt;
mod capacity;
mod date;
mod diagnosis;
pub(super) mod error;
mod event_page;
mod history;
pub(super) mod inventory;
mod legacy;
mod query;
mod schema;
mod session;
mod store_health;

use serde::Serialize;

use crate::lifecycle::DurableRecord;
use crate::model::{Capacity, MarkerId, MountLocation, Store};

pub use attempt::{AttemptBody, AttemptOverLine, PhaseLine};
pub use capacity::{CapacityHistoryBody, CapacityPoint, ForecastBody};
pub use date::DateFormat;
pub use diagnosis::{DIAGNOSIS_VERSION, DiagnosisResponse, DiagnosisTotal, FindingBody};
pub use error::{ErrorCode, ErrorResponse, REMEDY_MARK, failure_text};
pub use event_page::{EventLine, EventPageBody, GapLine};
pub use history::HistoryLine;
pub use inventory::{InventoryBody, InventoryResponse};
pub use legacy::LegacyResponse;
pub use query::{
    CapacityResponse, CountResponse, PageResponse, PartialInventory, SingleStoreResponse,
    TypesResponse, ZoneBody,
};
pub use schema::{ListSchema, ServerClass};
pub use session::{SessionResponse, SessionValidityResponse, VersionResponse};
pub use store_health::{
    CapacityBody, ConditionBody, DeliveryBody, FilesystemBody, HealthBody, HostKeyBody,
    HostProofBody, LastAttemptBody, StuckWorkerBody,
};

/// The body of a successful response without content: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EmptyResponse {}

/// The response that refers the caller to a job.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobResponse {
    /// The URL of the job.
    pub location: String,
    /// The time for which the client polls, in milliseconds.
    pub api_timeout: u64,
}

/// The summary of all stores and of the daemon.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SummaryResponse {
    /// The total capacity of all stores.
    pub capacity: CapacitySummary,
    /// The processor time of the daemon since its start, in milliseconds.
    pub cpu_milliseconds: u64,
    /// The web hooks of jobs.
    pub hooks: HookSummary,
    /// The id of this installation.
    pub node_id: String,
    /// The resident memory of the daemon, in bytes.
    pub resident_bytes: u64,
    /// The start time of the daemon, in RFC 3339 format.
    pub start_time: String,
    /// The version of the daemon.
    pub version: &'static str,
    /// The summaries of all stores, each a [`StoreSummary`]. [`ListWriter`](super::ListWriter)
    /// writes them.
    pub stores: [(); 0],
}

/// The total capacity of several stores, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySummary {
    /// The available space of all filesystems.
    pub available_capacity: u64,
    /// The number of filesystems. A filesystem that several stores share counts once.
    pub filesystems: usize,
    /// The size of all filesystems.
    pub total_capacity: u64,
}

/// The web hooks of jobs, so that an operator sees results that do not arrive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookSummary {
    /// Number of web hooks since the start that were given up, or dropped with their results.
    pub given_up: u64,
    /// The time at which the job of the oldest pending web hook began, in RFC 3339 format.
    pub oldest: Option<String>,
    /// Number of web hooks whose results are not delivered yet.
    pub pending: usize,
}

/// The summary of one store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreSummary<'a> {
    conditions: Vec<&'static str>,
    name: &'a str,
    /// The reason why the store is not Connected.
    reason: Option<&'static str>,
    since: String,
    status: &'static str,
    url: &'a str,
    uuid: String,
}

impl<'a> StoreSummary<'a> {
    /// Creates the summary of a store. It lists only those conditions that report a problem.
    pub fn new(store: &'a Store, durable: &DurableRecord, conditions: &[ConditionBody]) -> Self {
        let problems = conditions.iter().filter(|condition| condition.is_problem());
        Self {
            conditions: problems.map(ConditionBody::condition_type).collect(),
            name: &store.name,
            reason: durable.failure.as_ref().map(|it| it.root_fault().reason().as_str()),
            since: durable.since.to_string(),
            status: durable.status.as_str(),
            url: store.image_dir.as_str(),
            uuid: store.uuid.to_string(),
        }
    }
}

/// The body of `/healthz`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LivenessResponse {
    /// Always true. A daemon that is not alive does not respond.
    pub alive: bool,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub struct ReadinessResponse {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl ReadinessResponse {
    /// Creates the body from the reasons why the daemon is not ready. The daemon is ready if there
    /// are none.
    pub fn new(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }

    /// Returns true if the daemon is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

/// The marked directory and its filesystem.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitResponse<'a> {
    available_capacity: u64,
    device: &'a str,
    fs_type: &'a str,
    marker: Option<String>,
    mount_point: &'a str,
    total_capacity: u64,
    url: &'a str,
}

impl<'a> InitResponse<'a> {
    /// Creates the output for the directory `url`.
    pub fn new(
        url: &'a str,
        marker: Option<MarkerId>,
        capacity: Capacity,
        mount: &'a MountLocation,
    ) -> Self {
        Self {
            available_capacity: capacity.available(),
            device: &mount.device,
            fs_type: &mount.fs_type,
            marker: marker.map(|marker| marker.to_string()),
            mount_point: &mount.mount_point,
            total_capacity: capacity.total(),
            url,
        }
    }
}
