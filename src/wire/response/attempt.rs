//! The phases of an attempt.

use serde::Serialize;

use crate::common::PhaseEnd;

/// The end of a phase, as a line of a stream and of [`AttemptBody`].
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseLine {
    event: &'static str,
    failed: bool,
    milliseconds: u64,
    phase: &'static str,
}

impl From<PhaseEnd> for PhaseLine {
    fn from(end: PhaseEnd) -> Self {
        let milliseconds = u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX);
        Self { event: "phase", failed: end.failed, milliseconds, phase: end.phase }
    }
}

/// The end of an attempt, as a line of a stream.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AttemptOverLine {
    event: &'static str,
}

impl AttemptOverLine {
    /// The word of the event.
    pub const EVENT: &'static str = "over";
}

impl Default for AttemptOverLine {
    fn default() -> Self {
        Self { event: Self::EVENT }
    }
}

/// The running attempt of a store.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptBody {
    /// The phases that have ended, or null if no attempt is running.
    phases: Option<Vec<PhaseLine>>,
}

impl AttemptBody {
    /// Creates the body from the phases of the running attempt.
    pub fn new(phases: Option<Vec<PhaseEnd>>) -> Self {
        Self { phases: phases.map(|ended| ended.into_iter().map(PhaseLine::from).collect()) }
    }
}
