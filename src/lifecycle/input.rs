//! What goes into the status machine and what comes out of it.

use std::time::Duration;

use super::{Cause, HistoryEvent, InFlight};
use crate::common::Timestamp;
use crate::model::{
    AttemptFailure, AttemptId, Capacity, Fault, HostIdentity, InodeCounts, Position, Status, Tags,
    WriteOutcome,
};

/// When a step happens, and a random number to spend in it: brought by the caller, so that the step
/// needs neither clock nor die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// For records and payloads only.
    pub wall: Timestamp,
    /// Time since the daemon started; never goes back. All waiting is measured on it.
    pub uptime: Duration,
    /// Random.
    pub roll: u64,
}

/// What a good examination measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredSpace {
    /// Space.
    pub capacity: Capacity,
    /// Inodes, where the filesystem counts them.
    pub inodes: Option<InodeCounts>,
}

/// A look at the image directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// Whether it is the right directory, and what it measures.
    pub examined: Result<MeasuredSpace, Fault>,
    /// Whether it can be written; none when that was not asked, or not come to.
    pub written: Option<Result<WriteOutcome, Fault>>,
    /// How long all of it took.
    pub took: Duration,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// How it went, and what a good one has shown of the host.
    pub outcome: Result<HostIdentity, Fault>,
    /// How long it took.
    pub took: Duration,
}

/// What the checks of an attempt have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The image directory.
    pub probe: ProbeOutcome,
    /// The SSH server.
    pub login: LoginOutcome,
}

/// A connect attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAttempt {
    /// Its number.
    pub id: AttemptId,
    /// Who asked for it.
    pub cause: Cause,
    /// The tags of who asked.
    pub tags: Tags,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// Its number.
    pub id: AttemptId,
    /// Who asked for it.
    pub cause: Cause,
    /// When it ended.
    pub at: Timestamp,
    /// What its checks have shown, or why they came to no end.
    pub outcome: Result<AttemptOutcome, Fault>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepInput {
    /// The daemon started and found this record.
    Started,
    /// Somebody wants the store connected.
    ReconnectAsked {
        /// Who.
        cause: Cause,
        /// With which tags.
        tags: Tags,
    },
    /// An attempt ended.
    AttemptEnded {
        /// Which.
        attempt: AttemptId,
        /// How; a fault when its checks came to no end.
        outcome: Result<AttemptOutcome, Fault>,
    },
    /// A probe between attempts ended.
    Probed(ProbeOutcome),
    /// A login between attempts ended.
    LoggedIn(LoginOutcome),
    /// The time of [`StoreRecord::due`](super::StoreRecord::due_check) has come, while these checks are under way.
    Due(InFlight),
    /// The daemon is stopping.
    Stopping,
}

/// An order of the status machine. The ledger's part of [`StepEffect::PublishTransition`],
/// [`StepEffect::RecordHistory`] and [`StepEffect::StartAttempt`] belongs to the transaction that commits the
/// record's standing. Everything else that an effect orders is done only after that commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEffect {
    /// Write the notice and the line of history of this change of status, and report it.
    PublishTransition(StatusTransition),
    /// Write a line of history.
    RecordHistory(AttemptId, HistoryEvent),
    /// Run the checks of this attempt. They replace a login that is under way and wait for a probe
    /// that is. The line of history of the attempt is part of this effect.
    StartAttempt(RunningAttempt),
    /// Examine the image directory, and write to it if requested.
    Probe {
        /// True if the probe also writes.
        write: bool,
    },
    /// Log in.
    LogIn,
    /// Stop the checks of this attempt.
    CancelAttempt(AttemptId),
    /// Answer everyone who waits for this attempt.
    CompleteAttempt(AttemptId, Result<(), AttemptFailure>),
}

/// One change of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusTransition {
    /// Its place in the store's order.
    pub position: Position,
    /// Before.
    pub old: Status,
    /// After.
    pub new: Status,
    /// When.
    pub at: Timestamp,
    /// The attempt it belongs to: the running one, or the newest before it.
    pub attempt: AttemptId,
    /// The tags of that attempt, when it is running.
    pub tags: Tags,
    /// Why, when the new status is Disconnected.
    pub failure: Option<AttemptFailure>,
}

impl AttemptOutcome {
    /// What failed.
    pub(super) fn attempt_failure(&self) -> Option<AttemptFailure> {
        let examined = self.probe.examined.as_ref().err();
        let written = self.probe.written.as_ref().and_then(|written| written.as_ref().err());
        let login = self.login.outcome.as_ref().err();
        AttemptFailure::from_faults([examined, written, login].into_iter().flatten().cloned())
    }
}
