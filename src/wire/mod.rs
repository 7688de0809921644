//! Layer 4. Every JSON shape and header name of the outside.
//!
//! Promises: names on the wire are ZStack's; what is read is valid or named as a fault with its JSON
//! path.
//! Never: decides anything, does I/O, shows a secret.

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
