//! The answer of ZStack's older protocol, which `zstack-cli` speaks: `POST /zstack/api/`.

use serde::Serialize;

use super::ErrorCode;

/// The answer to a message that failed. It is final, so that the client does not poll.
#[derive(Clone, Debug, Serialize)]
pub struct LegacyResponse {
    state: &'static str,
    /// A JSON document as text.
    result: String,
}

#[derive(Serialize)]
struct LegacyResult<'a> {
    /// The client takes the first field, whatever its name is.
    #[serde(rename = "org.zstack.header.message.APIEvent")]
    event: LegacyEvent<'a>,
}

#[derive(Serialize)]
struct LegacyEvent<'a> {
    success: bool,
    error: &'a ErrorCode,
}

impl LegacyResponse {
    /// Creates the answer with an error.
    ///
    /// # Errors
    /// Never in practice: an error object has no map whose keys are not strings.
    pub fn failed(error: &ErrorCode) -> Result<Self, serde_json::Error> {
        let event = LegacyEvent { success: false, error };
        Ok(Self { state: "Done", result: serde_json::to_string(&LegacyResult { event })? })
    }
}
