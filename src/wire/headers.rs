//! Names of the headers that no HTTP standard defines.

/// The header that identifies a request in logs and in its response. Clients may send it.
pub const REQUEST_ID: &str = "x-request-id";

/// The header with the id that a client of ZStack gives to a job.
pub const JOB_UUID: &str = "x-job-uuid";
/// The header with the URL that a client of ZStack wants the result of a job to be posted to.
pub const WEB_HOOK: &str = "x-web-hook";
/// The header that tells the receiver of a web hook if the job has succeeded: `true` or `false`.
pub const JOB_SUCCESS: &str = "x-job-success";
/// The header with the time, in seconds, for which a client of ZStack waits.
pub const API_TIMEOUT: &str = "x-api-timeout";

/// The header that identifies an asynchronous call of the agent protocol, and its result.
pub const TASK_UUID: &str = "taskuuid";
/// The header with the URL to which the result of such a call is posted.
pub const CALLBACK_URL: &str = "callbackurl";
/// The header with the command of a canonical event, in ZStack's format.
pub const COMMAND_PATH: &str = "commandpath";

/// The header with the id of a Standard Webhooks event. A retry has the same id.
pub const WEBHOOK_ID: &str = "webhook-id";
/// The header with the time of the request, in Unix seconds.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures of a request, one per secret.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// Asks for the classes of the objects in a response.
pub const JSON_SCHEMA: &str = "x-json-schema";

/// The header of a question to the management node whether a session is valid. Its value is a
/// random number of the daemon that asks.
pub const SESSION_QUESTION: &str = "x-imagestore-agent-question";
