//! The heartbeat: one event with the state of all stores. The response to it can request a resync.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CLOUD_EVENT_MEDIA_TYPE, CloudEvent, WebhookEvent, event_source};
use crate::common::{Timestamp, skip_byte_order_mark};
use crate::model::{Capacity, Condition, NodeId, Position, State, Status, StoreUuid};
use crate::wire::ListWriter;

/// Maximum size of the response to a heartbeat of no store, in bytes. A response may have other
/// fields.
const BASE_REPLY_BYTES: usize = 64 * 1024;
/// Size that a response may have for each store, in bytes. A uuid has 32 digits, four hyphens and
/// its quotes, and an indented list adds some spaces.
const STORE_REPLY_BYTES: usize = 64;
/// Maximum size of the response to any heartbeat, in bytes (8 MiB). The daemon holds one at a time.
const MAX_REPLY_BYTES: usize = 8 << 20;

const HEARTBEAT_TYPE: &str = "backup-storage.heartbeat";

/// The state of one store in a heartbeat.
#[derive(Clone, Debug)]
pub struct StoreHeartbeat {
    /// The uuid of the store.
    pub store: StoreUuid,
    /// The administrator's switch.
    pub state: State,
    /// The status of the store.
    pub status: Status,
    /// The position of its newest transition.
    pub position: Position,
    /// The capacity at the last successful probe.
    pub capacity: Option<Capacity>,
    /// The active conditions of the store.
    pub conditions: Vec<Condition>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatData {
    node_id: String,
    version: &'static str,
    stores: [(); 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreBody {
    backup_storage_uuid: String,
    state: &'static str,
    status: &'static str,
    epoch: u64,
    seq: u64,
    total_capacity: Option<u64>,
    available_capacity: Option<u64>,
    conditions: Vec<&'static str>,
}

impl From<&StoreHeartbeat> for StoreBody {
    fn from(heartbeat: &StoreHeartbeat) -> Self {
        Self {
            backup_storage_uuid: heartbeat.store.to_string(),
            state: heartbeat.state.as_str(),
            status: heartbeat.status.as_str(),
            epoch: heartbeat.position.epoch.0,
            seq: heartbeat.position.seq.0,
            total_capacity: heartbeat.capacity.map(Capacity::total),
            available_capacity: heartbeat.capacity.map(Capacity::available),
            conditions: heartbeat.conditions.iter().map(|condition| condition.as_str()).collect(),
        }
    }
}

/// Writes the heartbeat of all stores, one store after the other.
#[derive(Debug)]
pub struct HeartbeatWriter {
    id: String,
    list: ListWriter,
    stores: usize,
}

impl HeartbeatWriter {
    /// Starts a heartbeat. `number` distinguishes the heartbeats of one daemon run even if the
    /// clock is set back.
    pub fn new(node: NodeId, at: Timestamp, number: u64) -> Self {
        let id = format!("{node}.{}.{number}", at.0);
        let list = ListWriter::new(&CloudEvent {
            specversion: "1.0",
            id: &id,
            source: event_source(node),
            kind: HEARTBEAT_TYPE,
            subject: None,
            time: at.to_string(),
            datacontenttype: "application/json",
            data: HeartbeatData {
                node_id: node.to_string(),
                version: env!("CARGO_PKG_VERSION"),
                stores: [],
            },
        });
        Self { id, list, stores: 0 }
    }

    /// Appends the state of a store.
    pub fn push(&mut self, store: &StoreHeartbeat) {
        self.list.push(&StoreBody::from(store));
        self.stores = self.stores.saturating_add(1);
    }

    /// Returns the event.
    pub fn finish(self) -> WebhookEvent {
        WebhookEvent {
            id: self.id,
            content_type: CLOUD_EVENT_MEDIA_TYPE,
            command_path: None,
            max_reply_bytes: max_reply_bytes(self.stores),
            body: self.list.finish(),
        }
    }
}

/// Returns the maximum size of a response to a heartbeat of this number of stores. A response can
/// name all of them.
fn max_reply_bytes(stores: usize) -> usize {
    let of_stores = stores.saturating_mul(STORE_REPLY_BYTES);
    BASE_REPLY_BYTES.saturating_add(of_stores).min(MAX_REPLY_BYTES)
}

/// Returns the stores whose current state a heartbeat response requests: `{"resync": ["uuid",
/// ...]}`. Any other response requests none. Strings that are not uuids are ignored.
pub fn parse_resync_request(response: &[u8]) -> BTreeSet<StoreUuid> {
    #[derive(Deserialize)]
    struct HeartbeatResponse {
        resync: Vec<String>,
    }
    let response: Option<HeartbeatResponse> =
        serde_json::from_slice(skip_byte_order_mark(response)).ok();
    let stores = response.into_iter().flat_map(|response| response.resync);
    stores.filter_map(|uuid| uuid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{Epoch, Seq};

    #[test]
    fn a_heartbeat_is_a_cloud_event_of_all_stores() {
        let heartbeat = StoreHeartbeat {
            store: StoreUuid::from_u128(1),
            state: State::Enabled,
            status: Status::Connected,
            position: Position { epoch: Epoch(5), seq: Seq(6) },
            capacity: Capacity::new(100, 40).ok(),
            conditions: vec![Condition::NearFull],
        };
        let never = StoreHeartbeat {
            store: StoreUuid::from_u128(2),
            state: State::Disabled,
            capacity: None,
            ..heartbeat.clone()
        };
        let mut writer = HeartbeatWriter::new(NodeId::from_u128(7), Timestamp(1000), 3);
        [heartbeat, never].iter().for_each(|store| writer.push(store));
        let event = writer.finish();
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(event.id, "00000000000000000000000000000007.1000.3");
        assert_eq!((&body["id"], &body["type"]), (&event.id.into(), &HEARTBEAT_TYPE.into()));
        assert!(body.get("subject").is_none());
        let expected = serde_json::json!([
            {
                "backupStorageUuid": "00000000000000000000000000000001", "status": "Connected",
                "state": "Enabled",
                "epoch": 5, "seq": 6, "totalCapacity": 100, "availableCapacity": 40,
                "conditions": ["near_full"],
            },
            {
                "backupStorageUuid": "00000000000000000000000000000002", "status": "Connected",
                "state": "Disabled",
                "epoch": 5, "seq": 6, "totalCapacity": null, "availableCapacity": null,
                "conditions": ["near_full"],
            },
        ]);
        assert_eq!(body["data"]["stores"], expected);
    }

    #[test]
    fn a_response_can_name_every_store_of_the_heartbeat() {
        for count in [0, 1, 5_000, 20_000] {
            let uuids: BTreeSet<StoreUuid> = (0..count).map(StoreUuid::from_u128).collect();
            let mut writer = HeartbeatWriter::new(NodeId::from_u128(7), Timestamp(1000), 3);
            for &store in &uuids {
                writer.push(&StoreHeartbeat {
                    store,
                    state: State::Enabled,
                    status: Status::Connected,
                    position: Position { epoch: Epoch(5), seq: Seq(6) },
                    capacity: None,
                    conditions: Vec::new(),
                });
            }
            let texts: Vec<String> = uuids.iter().map(StoreUuid::to_string).collect();
            let response = serde_json::to_vec_pretty(&serde_json::json!({ "resync": texts }));
            let response = response.unwrap();
            let taken = response.len().min(writer.finish().max_reply_bytes);
            assert_eq!(parse_resync_request(&response[..taken]), uuids);
        }
        assert_eq!(max_reply_bytes(usize::MAX), MAX_REPLY_BYTES);
    }

    #[test]
    fn a_response_requests_the_stores_it_names_and_any_other_none() {
        let one = "00000000000000000000000000000001";
        let stores = parse_resync_request(
            format!("{{\"resync\":[\"{one}\",\"x\",\"{one}\"],\"more\":1}}").as_bytes(),
        );
        assert_eq!(stores, [StoreUuid::from_u128(1)].into());
        for other in ["", "{}", "[]", "ok", "{\"resync\":\"all\"}", "{\"resync\":[1]}"] {
            assert!(parse_resync_request(other.as_bytes()).is_empty(), "{other}");
        }
    }
}
