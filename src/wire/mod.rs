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
mod error;
mod event;
mod fields;
pub mod headers;
mod health;
mod heartbeat;
mod inventory;
mod params;
mod request;
mod response;
mod update;

#[cfg(test)]
mod request_tests;

pub use agent::{AgentCommand, AgentReply};
pub use error::{ErrorCode, ErrorResponse};
pub use event::{EventFormat, WebhookEvent};
pub use fields::InvalidField;
pub use health::{
    CapacityBody, ConditionBody, DeliveryBody, FilesystemBody, HealthBody, HostKeyBody,
    HostProofBody, LastAttemptBody, StuckWorkerBody,
};
pub use heartbeat::{StoreHeartbeat, resync_asked};
pub use inventory::{InventoriesResponse, InventoryBody, InventoryResponse, zstack_date};
pub use request::{BadBody, StoreAction, parse_add_store};
pub use response::{
    CapacitySummary, EmptyResponse, HistoryLine, InitResponse, LivenessResponse, ReadinessResponse,
    StoreSummary, SummaryResponse,
};
