//! The body of `{prefix}/stores`: all stores in short.

use serde::Serialize;

use crate::lifecycle::DurableRecord;
use crate::model::Store;
use crate::wire::ConditionBody;

/// All stores in short, and the daemon itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SummaryResponse<'a> {
    /// The capacity of all stores together.
    pub capacity: CapacitySummary,
    /// Processor time of the daemon since its start.
    pub cpu_milliseconds: u64,
    /// This installation.
    pub node_id: String,
    /// Resident memory of the daemon.
    pub resident_bytes: u64,
    /// When the daemon started, RFC 3339.
    pub start_time: String,
    /// Each store.
    pub stores: Vec<StoreSummary<'a>>,
    /// The version of the daemon.
    pub version: &'static str,
}

/// The capacity of several stores together, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySummary {
    /// Space available in all filesystems.
    pub available_capacity: u64,
    /// Number of filesystems, each of which counts once.
    pub filesystems: usize,
    /// Size of all filesystems.
    pub total_capacity: u64,
}

/// One store in short.
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
    /// Creates the summary of a store, which names the bad ones of its conditions.
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
