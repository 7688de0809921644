//! The agent protocol: what ZStack's management node asks of the agents of its backup storages, as its
//! sftp agent answers it (`sftpbackupstorage.py`, `SftpBackupStorageCommands.java`).

use serde::Serialize;

use super::params::SHORT;
use super::request::{BadBody, document};
use crate::model::Capacity;

/// The header that names a call which is answered later, and its answer.
pub const TASK: &str = "taskuuid";
/// The header that says where such an answer is waited for.
pub const CALLBACK_URL: &str = "callbackurl";

/// Most characters of a path or a URL in a command.
const LONG: usize = 2048;

/// The body of `connect` and of `ping`. What else stands in it is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommand {
    /// `uuid`: of the backup storage, as it was sent.
    pub uuid: String,
    /// `storagePath`: where the management node takes the image directory to be.
    pub storage_path: Option<String>,
    /// `sendCommandUrl`: where an agent may send commands of its own.
    pub send_command_url: Option<String>,
}

impl AgentCommand {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadBody`]: answer 400.
    pub fn read(body: &[u8]) -> Result<Self, BadBody> {
        let mut fields = document(body)?;
        Ok(Self {
            uuid: fields.line("uuid", SHORT)?,
            storage_path: fields.optional_line("storagePath", LONG)?,
            send_command_url: fields.optional_line("sendCommandUrl", LONG)?,
        })
    }
}

/// An answer; what is none is left out, as ZStack's own JSON does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReply {
    /// Whether it is as it should be.
    pub success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The store, once it is known how it is. Without it the management node takes the agent for one
    /// that has just started, and connects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Bytes; both figures or none, or the management node mixes old ones with new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_capacity: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_capacity: Option<u64>,
}

impl AgentReply {
    /// It is well.
    pub fn well() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// It is not, for this reason.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { error: Some(why.into()), ..Self::default() }
    }

    /// With these figures.
    #[must_use]
    pub fn measured(self, capacity: Option<Capacity>) -> Self {
        Self {
            total_capacity: capacity.map(Capacity::total),
            available_capacity: capacity.map(Capacity::available),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_read_as_the_management_node_sends_it() {
        let sent = json!({
            "storagePath": "/images", "sendCommandUrl": "http://192.0.2.1:8080/zstack/asyncrest/sendcommand",
            "uuid": "6a4d9f0c1b2e4c7f8d3e5a6b7c8d9e0f", "hypervisorType": "KVM",
        });
        let command = AgentCommand::read(sent.to_string().as_bytes()).unwrap();
        assert_eq!(command.uuid, "6a4d9f0c1b2e4c7f8d3e5a6b7c8d9e0f");
        assert_eq!(command.storage_path.as_deref(), Some("/images"));
        let bare = AgentCommand::read(br#"{"uuid": "x", "storagePath": null}"#).unwrap();
        assert_eq!((bare.storage_path, bare.send_command_url), (None, None));
        for bad in [&b""[..], b"{}", b"[]", b"{\"uuid\": 7}", b"{\"uuid\": \"\"}", b"no"] {
            assert!(AgentCommand::read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn an_answer_has_no_nulls() {
        let told = |reply: AgentReply| serde_json::to_value(reply).unwrap();
        assert_eq!(told(AgentReply::well()), json!({"success": true}));
        assert_eq!(told(AgentReply::failed("no")), json!({"success": false, "error": "no"}));
        let measured = AgentReply::well().measured(Some(Capacity::new(9, 4).unwrap()));
        let expected = json!({"success": true, "totalCapacity": 9, "availableCapacity": 4});
        assert_eq!(told(measured), expected);
    }
}
