//! The agent protocol: commands that ZStack's management node sends to the agents of its backup
//! storages. The replies follow ZStack's sftp agent (`sftpbackupstorage.py`,
//! `SftpBackupStorageCommands.java`).

use serde::Serialize;

use super::request::{InvalidBody, MAX_SHORT_TEXT_CHARS, parse_document};
use crate::model::Capacity;

/// The maximum length of a path or a URL in a command, in characters.
const MAX_PATH_OR_URL_CHARS: usize = 2048;

/// The body of `connect` and of `ping`. Other fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommand {
    /// `uuid`: the uuid of the backup storage, as sent.
    pub uuid: String,
    /// `storagePath`: the image directory that the management node assumes.
    pub storage_path: Option<String>,
    /// `sendCommandUrl`: the URL for commands from an agent to the management node.
    pub send_command_url: Option<String>,
}

impl AgentCommand {
    /// Parses the body of a command.
    ///
    /// # Errors
    /// Returns [`InvalidBody`] if the body is invalid. The status of the response is 400.
    pub fn parse_command(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = parse_document(body)?;
        Ok(Self {
            uuid: fields.take_line("uuid", MAX_SHORT_TEXT_CHARS)?,
            storage_path: fields.take_optional_line("storagePath", MAX_PATH_OR_URL_CHARS)?,
            send_command_url: fields.take_optional_line("sendCommandUrl", MAX_PATH_OR_URL_CHARS)?,
        })
    }
}

/// The reply to a command. Fields without a value are omitted, as in ZStack's own JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReply {
    /// True if the command succeeded. For `ping`, true if the store is Connected.
    pub success: bool,
    /// The reason of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The uuid of the store in a reply to `ping`, once its directory has been probed since the
    /// start. Without it the management node assumes that the agent has just started, and sends
    /// `connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The total capacity in bytes. Both figures are present or absent together. Otherwise the
    /// management node mixes old figures with new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_capacity: Option<u64>,
    /// The available capacity in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_capacity: Option<u64>,
}

impl AgentReply {
    /// Creates the reply to a command that succeeded.
    pub fn success_reply() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// Creates the reply to a command that failed, with the reason.
    pub fn failure_reply(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// Returns the reply with these capacity figures.
    #[must_use]
    pub fn with_capacity(self, capacity: Option<Capacity>) -> Self {
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
    fn a_command_of_the_management_node_is_parsed() {
        let sent = json!({
            "storagePath": "/images", "sendCommandUrl": "http://192.0.2.1:8080/zstack/asyncrest/sendcommand",
            "uuid": "6a4d9f0c1b2e4c7f8d3e5a6b7c8d9e0f", "hypervisorType": "KVM",
        });
        let command = AgentCommand::parse_command(sent.to_string().as_bytes()).unwrap();
        assert_eq!(command.uuid, "6a4d9f0c1b2e4c7f8d3e5a6b7c8d9e0f");
        assert_eq!(command.storage_path.as_deref(), Some("/images"));
        let bare = AgentCommand::parse_command(br#"{"uuid": "x", "storagePath": null}"#).unwrap();
        assert_eq!((bare.storage_path, bare.send_command_url), (None, None));
        for bad in [&b""[..], b"{}", b"[]", b"{\"uuid\": 7}", b"{\"uuid\": \"\"}", b"no"] {
            assert!(AgentCommand::parse_command(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_reply_has_no_nulls() {
        let to_value = |reply: AgentReply| serde_json::to_value(reply).unwrap();
        assert_eq!(to_value(AgentReply::success_reply()), json!({"success": true}));
        assert_eq!(
            to_value(AgentReply::failure_reply("no")),
            json!({"success": false, "error": "no"})
        );
        let measured =
            AgentReply::success_reply().with_capacity(Some(Capacity::new(9, 4).unwrap()));
        let expected = json!({"success": true, "totalCapacity": 9, "availableCapacity": 4});
        assert_eq!(to_value(measured), expected);
    }
}
