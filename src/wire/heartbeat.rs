//! The heartbeat: how all stores are, in one event, and what the answer to it may ask for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::event::{CLOUD_EVENT_TYPE, CloudEvent, WebhookEvent, event_source, to_json};
use crate::common::Timestamp;
use crate::model::{Capacity, Condition, NodeId, Position, Status, StoreUuid};

const HEARTBEAT_TYPE: &str = "backup-storage.heartbeat";

/// How one store is.
#[derive(Clone, Debug)]
pub struct StoreHeartbeat {
    /// The store.
    pub store: StoreUuid,
    /// Its health.
    pub status: Status,
    /// The place of its newest transition.
    pub position: Position,
    /// The last good figures.
    pub capacity: Option<Capacity>,
    /// What holds.
    pub conditions: Vec<Condition>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatData {
    node_id: String,
    version: &'static str,
    stores: Vec<StoreBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreBody {
    backup_storage_uuid: String,
    status: &'static str,
    epoch: u64,
    seq: u64,
    total_capacity: Option<u64>,
    available_capacity: Option<u64>,
    conditions: Vec<&'static str>,
}

impl From<&StoreHeartbeat> for StoreBody {
    fn from(pulse: &StoreHeartbeat) -> Self {
        Self {
            backup_storage_uuid: pulse.store.to_string(),
            status: pulse.status.as_str(),
            epoch: pulse.position.epoch.0,
            seq: pulse.position.seq.0,
            total_capacity: pulse.capacity.map(Capacity::total),
            available_capacity: pulse.capacity.map(Capacity::available),
            conditions: pulse.conditions.iter().map(|condition| condition.as_str()).collect(),
        }
    }
}

impl WebhookEvent {
    /// How all stores are. `number` tells the heartbeats of one run of the daemon apart, whatever its
    /// clock does.
    pub fn new_heartbeat(
        node: NodeId,
        at: Timestamp,
        number: u64,
        stores: &[StoreHeartbeat],
    ) -> Self {
        let id = format!("{node}.{}.{number}", at.0);
        let body = to_json(&CloudEvent {
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
                stores: stores.iter().map(StoreBody::from).collect(),
            },
        });
        Self { id, content_type: CLOUD_EVENT_TYPE, command_path: None, body }
    }
}

/// The stores whose current state the answer to a heartbeat asks for: `{"resync": ["uuid", ...]}`. Any
/// other answer asks for none, and so does what is no uuid.
pub fn resync_asked(answer: &[u8]) -> BTreeSet<StoreUuid> {
    #[derive(Deserialize)]
    struct HeartbeatAnswer {
        resync: Vec<String>,
    }
    let answer: Option<HeartbeatAnswer> = serde_json::from_slice(answer).ok();
    let asked = answer.into_iter().flat_map(|answer| answer.resync);
    asked.filter_map(|uuid| uuid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{Epoch, Seq};

    #[test]
    fn a_heartbeat_is_a_cloud_event_of_all_stores() {
        let pulse = StoreHeartbeat {
            store: StoreUuid::from_u128(1),
            status: Status::Connected,
            position: Position { epoch: Epoch(5), seq: Seq(6) },
            capacity: Capacity::new(100, 40).ok(),
            conditions: vec![Condition::NearFull],
        };
        let never =
            StoreHeartbeat { store: StoreUuid::from_u128(2), capacity: None, ..pulse.clone() };
        let event =
            WebhookEvent::new_heartbeat(NodeId::from_u128(7), Timestamp(1000), 3, &[pulse, never]);
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(event.id, "00000000000000000000000000000007.1000.3");
        assert_eq!((&body["id"], &body["type"]), (&event.id.into(), &HEARTBEAT_TYPE.into()));
        assert!(body.get("subject").is_none());
        let told = serde_json::json!([
            {
                "backupStorageUuid": "00000000000000000000000000000001", "status": "Connected",
                "epoch": 5, "seq": 6, "totalCapacity": 100, "availableCapacity": 40,
                "conditions": ["near_full"],
            },
            {
                "backupStorageUuid": "00000000000000000000000000000002", "status": "Connected",
                "epoch": 5, "seq": 6, "totalCapacity": null, "availableCapacity": null,
                "conditions": ["near_full"],
            },
        ]);
        assert_eq!(body["data"]["stores"], told);
    }

    #[test]
    fn an_answer_asks_for_the_stores_it_names_and_any_other_for_none() {
        let one = "00000000000000000000000000000001";
        let asked = resync_asked(
            format!("{{\"resync\":[\"{one}\",\"x\",\"{one}\"],\"more\":1}}").as_bytes(),
        );
        assert_eq!(asked, [StoreUuid::from_u128(1)].into());
        for other in ["", "{}", "[]", "ok", "{\"resync\":\"all\"}", "{\"resync\":[1]}"] {
            assert!(resync_asked(other.as_bytes()).is_empty(), "{other}");
        }
    }
}
