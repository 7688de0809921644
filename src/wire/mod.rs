//! Layer 4. All JSON bodies and header names of the external interfaces.
//!
//! # Guarantees
//! - Names on the wire are those of ZStack.
//! - Parsed input is valid, or it is rejected with an error that names its JSON path.
//!
//! # Never
//! - It never makes decisions.
//! - It never does I/O.
//! - It never outputs a secret.

mod agent;
mod description;
mod event;
pub mod headers;
mod json;
mod list_writer;
mod request;
mod response;
mod session_validity;

pub use agent::{AgentCommand, AgentReply};
pub use description::API_DESCRIPTION;
pub use event::{EventFormat, HeartbeatWriter, StoreHeartbeat, WebhookEvent, parse_resync_request};
pub use list_writer::ListWriter;
pub use request::{
    AccountLogin, ActionPath, InvalidBody, InvalidField, MAX_BODY_BYTES, ParsedRequest,
    StoreAction, UnsupportedCall, parse_account_login, parse_add_store, parse_attachment,
    parse_empty_body, parse_version_request,
};
pub use response::{
    AttemptBody, AttemptOverLine, CapacityBody, CapacityHistoryBody, CapacityPoint,
    CapacityResponse, CapacitySummary, ConditionBody, CountResponse, DIAGNOSIS_VERSION, DateFormat,
    DeliveryBody, DiagnosisResponse, DiagnosisTotal, EmptyResponse, ErrorCode, ErrorResponse,
    EventLine, EventPageBody, FilesystemBody, FindingBody, ForecastBody, GapLine, HealthBody,
    HistoryLine, HookSummary, HostKeyBody, HostProofBody, InitResponse, InventoryBody,
    InventoryResponse, JobResponse, LastAttemptBody, LegacyResponse, ListSchema, LivenessResponse,
    PageResponse, PartialInventory, PhaseLine, REMEDY_MARK, ReadinessResponse, ServerClass,
    SessionResponse, SessionValidityResponse, SingleStoreResponse, StoreSummary, StuckWorkerBody,
    SummaryResponse, TypesResponse, VersionResponse, ZoneBody, failure_text,
};
pub use session_validity::{MAX_VALIDITY_BYTES, parse_session_validity};
