//! The events that are posted to the management node: CloudEvents 1.0 in JSON, or ZStack's
//! canonical events.

mod heartbeat;

use serde::Serialize;

use super::json::to_json;
use super::response::{DateFormat, ErrorCode, InventoryBody};
use crate::catalog::Language;
use crate::model::{NodeId, Notice, NoticeKind, Status};

pub use heartbeat::{HeartbeatWriter, StoreHeartbeat, parse_resync_request};

/// The event format of a receiver (`callback.format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// CloudEvents 1.0.
    CloudEvents,
    /// ZStack's `/backup-storage/status/change`.
    ZStack,
}

/// The body of one request and its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// `webhook-id`: the id of the event. A retry has the same id.
    pub id: String,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The value of `commandpath`. Only events in ZStack's format have one.
    pub command_path: Option<&'static str>,
    /// The JSON document.
    pub body: Vec<u8>,
    /// Maximum size of the body of a response that is used, in bytes, or 0 if no body is used. The
    /// response to a heartbeat may contain requests.
    pub max_reply_bytes: usize,
}

const STATUS_CHANGED_TYPE: &str = "backup-storage.status.changed";
const STATUS_RESYNC_TYPE: &str = "backup-storage.status.resync";

/// The media type of a CloudEvent in JSON.
const CLOUD_EVENT_MEDIA_TYPE: &str = "application/cloudevents+json";

/// The envelope of a CloudEvent.
#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The uuid of the store, if the event is about one store.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    datacontenttype: &'static str,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransitionData<'a> {
    backup_storage_uuid: String,
    old_status: &'static str,
    new_status: &'static str,
    inventory: InventoryBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ErrorCode>,
    attempt: u64,
    epoch: u64,
    seq: u64,
    system_tags: &'a [String],
    user_tags: &'a [String],
    /// The number of transitions that this event stands for, if it is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusChange<'a> {
    backup_storage_uuid: String,
    old_status: &'static str,
    new_status: &'static str,
    inventory: InventoryBody<'a>,
    epoch: u64,
    seq: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DisconnectedBody {
    backup_storage_uuid: String,
    reason: ErrorCode,
}

impl WebhookEvent {
    /// Returns the events of one notice, in the order of delivery. Only ZStack's format can need
    /// two: a failure that disconnects the store has a path of its own.
    pub fn from_notice(
        notice: &Notice,
        node: NodeId,
        format: EventFormat,
        language: Language,
    ) -> Vec<Self> {
        match format {
            EventFormat::CloudEvents => vec![cloud_event(notice, node, language)],
            EventFormat::ZStack => zstack_events(notice, language),
        }
    }
}

/// Returns the event id `<uuid>.<epoch>.<seq>`. It is unique because positions are never reused. A
/// resync reuses the position of the transition, so its id also contains the time. Otherwise a
/// receiver that knows the transition would drop the resync as a duplicate.
fn event_id(notice: &Notice) -> String {
    match notice.kind {
        NoticeKind::Changed => format!("{}.{}", notice.store, notice.position),
        NoticeKind::Resync => {
            format!("{}.{}.resync.{}", notice.store, notice.position, notice.at.0)
        }
    }
}

fn event_source(node: NodeId) -> String {
    format!("/imagestore-agent/{node}")
}

fn disconnect_reason(notice: &Notice, language: Language) -> Option<ErrorCode> {
    notice.failure.as_ref().map(|failure| ErrorCode::connect_failed(failure, language))
}

fn cloud_event(notice: &Notice, node: NodeId, language: Language) -> WebhookEvent {
    let id = event_id(notice);
    let body = to_json(&CloudEvent {
        specversion: "1.0",
        id: &id,
        source: event_source(node),
        kind: match notice.kind {
            NoticeKind::Changed => STATUS_CHANGED_TYPE,
            NoticeKind::Resync => STATUS_RESYNC_TYPE,
        },
        subject: Some(notice.store.to_string()),
        time: notice.at.to_string(),
        datacontenttype: "application/json",
        data: TransitionData {
            backup_storage_uuid: notice.store.to_string(),
            old_status: notice.old_status.as_str(),
            new_status: notice.new_status.as_str(),
            inventory: InventoryBody::from_inventory(&notice.inventory, &DateFormat::ZSTACK_UTC),
            reason: disconnect_reason(notice, language),
            attempt: notice.attempt.0,
            epoch: notice.position.epoch.0,
            seq: notice.position.seq.0,
            system_tags: notice.tags.system_tags(),
            user_tags: notice.tags.user_tags(),
            folded: (notice.transition_count > 1).then_some(notice.transition_count),
        },
    });
    WebhookEvent {
        id,
        content_type: CLOUD_EVENT_MEDIA_TYPE,
        command_path: None,
        body,
        max_reply_bytes: 0,
    }
}

fn zstack_events(notice: &Notice, language: Language) -> Vec<WebhookEvent> {
    let id = event_id(notice);
    let change = to_json(&StatusChange {
        backup_storage_uuid: notice.store.to_string(),
        old_status: notice.old_status.as_str(),
        new_status: notice.new_status.as_str(),
        inventory: InventoryBody::from_inventory(&notice.inventory, &DateFormat::ZSTACK_UTC),
        epoch: notice.position.epoch.0,
        seq: notice.position.seq.0,
    });
    let event = |id: String, path, body| WebhookEvent {
        id,
        content_type: "application/json",
        command_path: Some(path),
        max_reply_bytes: 0,
        body,
    };
    let mut events = vec![event(id.clone(), "/backup-storage/status/change", change)];
    if notice.new_status == Status::Disconnected
        && let Some(reason) = disconnect_reason(notice, language)
    {
        let backup_storage_uuid = notice.store.to_string();
        let body = to_json(&DisconnectedBody { backup_storage_uuid, reason });
        events.push(event(format!("{id}.disconnected"), "/backup-storage/disconnected", body));
    }
    events
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::common::Timestamp;
    use crate::model::{AttemptId, Epoch, Position, Seq, Tags};
    use crate::wire::response::error::tests::example_failure;
    use crate::wire::response::inventory::tests::documented_inventory;

    const NODE: NodeId = NodeId::from_u128(7);

    fn notice() -> Notice {
        let inventory = documented_inventory();
        Notice {
            store: inventory.uuid,
            kind: NoticeKind::Changed,
            position: Position { epoch: Epoch(1_482_426_606_000), seq: Seq(3) },
            old_status: Status::Connecting,
            new_status: Status::Disconnected,
            at: Timestamp(1_482_426_606_123),
            attempt: AttemptId(2),
            failure: Some(example_failure()),
            inventory,
            tags: Tags::new(vec!["a::b".to_owned()], Vec::new()).unwrap(),
            transition_count: 1,
        }
    }

    fn only(notice: &Notice) -> (WebhookEvent, Value) {
        let [event] = &WebhookEvent::from_notice(
            notice,
            NODE,
            EventFormat::CloudEvents,
            Language::English,
        )[..] else {
            panic!()
        };
        (event.clone(), serde_json::from_slice(&event.body).unwrap())
    }

    #[test]
    fn a_transition_is_a_cloud_event() {
        let (event, body) = only(&notice());
        let id = "4cd9fb914f5f4a1d9d2f000000000001.1482426606000.3";
        assert_eq!((event.id.as_str(), event.content_type), (id, "application/cloudevents+json"));
        assert_eq!(event.command_path, None);
        let data = &body["data"];
        for (found, expected) in [
            (&body["specversion"], json!("1.0")),
            (&body["id"], json!(id)),
            (&body["source"], json!("/imagestore-agent/00000000000000000000000000000007")),
            (&body["type"], json!("backup-storage.status.changed")),
            (&body["subject"], json!("4cd9fb914f5f4a1d9d2f000000000001")),
            (&body["time"], json!("2016-12-22T17:10:06.123Z")),
            (&data["oldStatus"], json!("Connecting")),
            (&data["newStatus"], json!("Disconnected")),
            (&data["epoch"], json!(1_482_426_606_000_u64)),
            (&data["seq"], json!(3)),
            (&data["attempt"], json!(2)),
            (&data["systemTags"], json!(["a::b"])),
            (&data["userTags"], json!([])),
            (&data["inventory"]["sshPort"], json!(22)),
            (&data["reason"]["code"], json!("BS.1500")),
            (&data["reason"]["cause"]["opaque"]["reason"], json!("not_mounted")),
        ] {
            assert_eq!(*found, expected);
        }
        assert!(data.get("folded").is_none());
    }

    #[test]
    fn a_coalesced_event_has_the_number_of_its_transitions() {
        let later = Notice {
            new_status: Status::Connected,
            old_status: Status::Disconnected,
            failure: None,
            ..notice()
        };
        let (_, body) = only(&notice().coalesce(later));
        assert_eq!(body["data"]["folded"], 2);
        assert_eq!(body["data"]["oldStatus"], "Connecting");
        assert!(body["data"].get("reason").is_none());
    }

    #[test]
    fn zstacks_format_has_its_own_path_for_a_disconnect() {
        let events =
            WebhookEvent::from_notice(&notice(), NODE, EventFormat::ZStack, Language::English);
        let paths: Vec<_> = events.iter().map(|event| event.command_path.unwrap()).collect();
        assert_eq!(paths, ["/backup-storage/status/change", "/backup-storage/disconnected"]);
        assert_ne!(events[0].id, events[1].id);
        let drop: Value = serde_json::from_slice(&events[1].body).unwrap();
        assert_eq!(drop["reason"]["code"], "BS.1500");
        let connected = Notice { new_status: Status::Connected, failure: None, ..notice() };
        assert_eq!(
            WebhookEvent::from_notice(&connected, NODE, EventFormat::ZStack, Language::English)
                .len(),
            1
        );
    }
}
