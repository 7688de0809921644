//! The bodies of responses, of the HTTP API and of commands alike.

use serde::Serialize;

mod history;
mod init;
mod probes;
mod summary;

pub use history::HistoryLine;
pub use init::InitResponse;
pub use probes::{LivenessResponse, ReadinessResponse};
pub use summary::{CapacitySummary, StoreSummary, SummaryResponse};

/// The body of a success that has nothing to report: `{}`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EmptyResponse {}
