//! The body of `{prefix}/stores`: a summary of all stores.

use serde::Serialize;

use crate::lifecycle::DurableRecord;
use crate::model::Store;
use crate::wire::ConditionBody;

/// The summary of all stores and of the daemon.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SummaryResponse<'a> {
    /// The total capacity of all stores.
    pub capacity: CapacitySummary,
    /// The processor time of the daemon since its start, in milliseconds.
    pub cpu_milliseconds: u64,
    /// The id of this installation.
    pub node_id: String,
    /// The resident memory of the daemon, in bytes.
    pub resident_bytes: u64,
    /// The start time of the daemon, in RFC 3339 format.
    pub start_time: String,
    /// The summaries of all stores.
    pub stores: Vec<StoreSummary<'a>>,
    /// The version of the daemon.
    pub version: &'static str,
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

/// The summary of one store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreSummary<'a> {
    conditions: Vec<&'static str>,
    name: &'a str,
    since: String,
    status: &'static str,
    url: &'a str,
    uuid: String,
}

impl<'a> StoreSummary<'a> {
    /// Creates the summary of a store. It lists only those conditions that report a problem.
    pub fn new(store: &'a Store, standing: &DurableRecord, conditions: &[ConditionBody]) -> Self {
        let bad = conditions.iter().filter(|condition| condition.is_bad());
        Self {
            conditions: bad.map(ConditionBody::condition_type).collect(),
            name: &store.name,
            since: standing.since.to_string(),
            status: standing.status.as_str(),
            url: store.image_dir.as_str(),
            uuid: store.uuid.to_string(),
        }
    }
}
