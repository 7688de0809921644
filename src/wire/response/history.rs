//! The body of one history line of a store.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::{CapacityBody, FilesystemBody, HostKeyBody};
use crate::lifecycle::{HistoryEntry, HistoryEvent, MeasuredSpace};
use crate::model::Tags;

/// One line of the history. Its keys are in alphabetical order.
#[derive(Clone, Debug)]
pub struct HistoryLine<'a>(LineFields<'a>);

#[derive(Clone, Debug, Serialize)]
struct LineFields<'a> {
    time: String,
    attempt: u64,
    #[serde(flatten)]
    event: EventBody<'a>,
}

impl Serialize for HistoryLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The map of a JSON value is sorted.
        serde_json::to_value(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// The event kind and its data. `LineFields` adds the keys that all lines have.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum EventBody<'a> {
    AttemptBegan {
        cause: &'static str,
        #[serde(flatten)]
        tags: TagsBody<'a>,
    },
    Joined(TagsBody<'a>),
    InterruptedByRestart,
    StatusChanged {
        old_status: &'static str,
        new_status: &'static str,
        reason: Option<&'static str>,
        message: Option<String>,
    },
    Condition {
        condition: &'static str,
        holds: bool,
    },
    Measured(CapacityBody),
    Moved(FilesystemBody<'a>),
    Updated {
        fields: &'a [String],
    },
    HostKeyAccepted(HostKeyBody<'a>),
    Added {
        name: &'a str,
    },
    Removed {
        name: &'a str,
    },
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TagsBody<'a> {
    system_tags: &'a [String],
    user_tags: &'a [String],
}

impl<'a> From<&'a Tags> for TagsBody<'a> {
    fn from(tags: &'a Tags) -> Self {
        Self { system_tags: tags.system_tags(), user_tags: tags.user_tags() }
    }
}

impl<'a> From<&'a HistoryEntry> for HistoryLine<'a> {
    fn from(entry: &'a HistoryEntry) -> Self {
        let (time, attempt) = (entry.at.to_string(), entry.attempt.0);
        Self(LineFields { time, attempt, event: EventBody::from(&entry.event) })
    }
}

impl<'a> From<&'a HistoryEvent> for EventBody<'a> {
    fn from(event: &'a HistoryEvent) -> Self {
        match event {
            HistoryEvent::AttemptStarted { cause, tags } => {
                Self::AttemptBegan { cause: cause.as_str(), tags: tags.into() }
            }
            HistoryEvent::RequestJoined { tags } => Self::Joined(tags.into()),
            HistoryEvent::InterruptedByRestart => Self::InterruptedByRestart,
            HistoryEvent::StatusChanged { old, new, failure } => Self::StatusChanged {
                old_status: old.as_str(),
                new_status: new.as_str(),
                reason: failure.as_ref().map(|failure| failure.root_fault().reason().as_str()),
                message: failure.as_ref().map(ToString::to_string),
            },
            HistoryEvent::ConditionChanged { condition, active: holds } => {
                Self::Condition { condition: condition.as_str(), holds: *holds }
            }
            HistoryEvent::SpaceMeasured(MeasuredSpace { capacity, inodes }) => {
                Self::Measured(CapacityBody::new(Some(*capacity), *inodes))
            }
            HistoryEvent::DirectoryMoved(mount) => Self::Moved(mount.into()),
            HistoryEvent::DefinitionUpdated { fields } => Self::Updated { fields },
            HistoryEvent::HostKeyAccepted { algorithm, fingerprint } => {
                Self::HostKeyAccepted(HostKeyBody { kind: algorithm, fingerprint })
            }
            HistoryEvent::StoreAdded { name } => Self::Added { name },
            HistoryEvent::StoreRemoved { name } => Self::Removed { name },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::common::Timestamp;
    use crate::lifecycle::Cause;
    use crate::model::{
        AttemptFailure, AttemptId, Capacity, Condition, Fault, InodeCounts, MountLocation, Reason,
        Status,
    };

    fn line_fields(event: HistoryEvent) -> Value {
        let entry = HistoryEntry { at: Timestamp(0), attempt: AttemptId(7), event };
        let mut line = serde_json::to_value(HistoryLine::from(&entry)).unwrap();
        let line = line.as_object_mut().unwrap();
        assert_eq!(line.remove("time"), Some(json!("1970-01-01T00:00:00.000Z")));
        assert_eq!(line.remove("attempt"), Some(json!(7)));
        Value::Object(line.clone())
    }

    #[test]
    fn the_keys_of_a_line_are_in_alphabetical_order() {
        let failure = AttemptFailure::from_fault(Fault::new(Reason::NotMounted, "not mounted"));
        let event = HistoryEvent::StatusChanged {
            old: Status::Connecting,
            new: Status::Disconnected,
            failure: Some(failure),
        };
        let entry = HistoryEntry { at: Timestamp(0), attempt: AttemptId(7), event };
        assert_eq!(
            serde_json::to_string(&HistoryLine::from(&entry)).unwrap(),
            r#"{"attempt":7,"event":"status_changed","message":"not_mounted: not mounted","newStatus":"Disconnected","oldStatus":"Connecting","reason":"not_mounted","time":"1970-01-01T00:00:00.000Z"}"#
        );
    }

    #[test]
    fn each_event_has_its_name_and_its_data() {
        let tags = Tags::new(vec!["a::b".to_owned()], vec!["c".to_owned()]).unwrap();
        let failure =
            AttemptFailure::from_fault(Fault::new(Reason::NotMounted, "/data is not mounted"));
        let mount = MountLocation {
            mount_point: "/data".to_owned(),
            fs_type: "ext4".to_owned(),
            device: "8:1".to_owned(),
            on_root_disk: false,
            part: None,
            quota_folder: None,
        };
        let changed = |failure| HistoryEvent::StatusChanged {
            old: Status::Connecting,
            new: Status::Disconnected,
            failure,
        };
        let measured = |inodes| MeasuredSpace { capacity: Capacity::new(9, 4).unwrap(), inodes };
        let text = failure.to_string();
        for (event, expected) in [
            (
                HistoryEvent::AttemptStarted { cause: Cause::User, tags: tags.clone() },
                json!({"event": "attempt_began", "cause": "person", "systemTags": ["a::b"],
                       "userTags": ["c"]}),
            ),
            (
                HistoryEvent::RequestJoined { tags },
                json!({"event": "joined", "systemTags": ["a::b"], "userTags": ["c"]}),
            ),
            (HistoryEvent::InterruptedByRestart, json!({"event": "interrupted_by_restart"})),
            (
                changed(Some(failure)),
                json!({"event": "status_changed", "oldStatus": "Connecting",
                       "newStatus": "Disconnected", "reason": "not_mounted", "message": text}),
            ),
            (
                changed(None),
                json!({"event": "status_changed", "oldStatus": "Connecting",
                       "newStatus": "Disconnected", "reason": null, "message": null}),
            ),
            (
                HistoryEvent::ConditionChanged { condition: Condition::NearFull, active: true },
                json!({"event": "condition", "condition": "near_full", "holds": true}),
            ),
            (
                HistoryEvent::SpaceMeasured(measured(None)),
                json!({"event": "measured", "totalCapacity": 9, "availableCapacity": 4}),
            ),
            (
                HistoryEvent::SpaceMeasured(measured(Some(InodeCounts { total: 3, available: 2 }))),
                json!({"event": "measured", "totalCapacity": 9, "availableCapacity": 4,
                       "totalInodes": 3, "availableInodes": 2}),
            ),
            (
                HistoryEvent::DirectoryMoved(mount),
                json!({"event": "moved", "mountPoint": "/data", "type": "ext4", "device": "8:1",
                       "onRootDisk": false}),
            ),
            (
                HistoryEvent::DefinitionUpdated { fields: vec!["name".to_owned()] },
                json!({"event": "updated", "fields": ["name"]}),
            ),
            (
                HistoryEvent::HostKeyAccepted {
                    algorithm: "ssh-ed25519".to_owned(),
                    fingerprint: "SHA256:x".to_owned(),
                },
                json!({"event": "host_key_accepted", "type": "ssh-ed25519",
                       "fingerprint": "SHA256:x"}),
            ),
            (
                HistoryEvent::StoreAdded { name: "images".to_owned() },
                json!({"event": "added", "name": "images"}),
            ),
            (
                HistoryEvent::StoreRemoved { name: "images".to_owned() },
                json!({"event": "removed", "name": "images"}),
            ),
        ] {
            assert_eq!(expected["event"], json!(event.kind().as_str()));
            assert_eq!(line_fields(event), expected);
        }
    }
}
