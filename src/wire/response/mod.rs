//! The bodies of responses of the HTTP API, and of `init --json`.

use serde::Serialize;

mod history;
mod init;
mod probes;
mod summary;

pub use history::HistoryLine;
pub use init::InitResponse;
pub use probes::{LivenessResponse, ReadinessResponse};
pub use summary::{CapacitySummary, StoreSummary, SummaryResponse};

/// The body of a successful response without content: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EmptyResponse {}
