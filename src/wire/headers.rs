//! The names of the headers that no standard of HTTP names.

/// Names a request in logs and in its response, both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// Names a call of the agent protocol whose result is posted later, and that result.
pub const TASK_UUID: &str = "taskuuid";
/// The URL at which the result of such a call is expected.
pub const CALLBACK_URL: &str = "callbackurl";
/// Names the command of a canonical event, in ZStack's format.
pub const COMMAND_PATH: &str = "commandpath";

/// Names an event of Standard Webhooks: the same each time that the event is sent.
pub const WEBHOOK_ID: &str = "webhook-id";
/// When the request was made, in Unix seconds.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// The signatures of a request, one for each secret.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";
