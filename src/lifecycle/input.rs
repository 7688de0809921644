//! Arguments and effects of a step of the status machine: its policy, its time, and its input.

use std::time::Duration;

use super::{FillEvidence, HistoryEvent, InFlight, RequestedCheck};
use crate::common::{Timestamp, string_enum};
use crate::model::{
    AttemptFailure, AttemptId, Capacity, DayFigures, Fault, HostIdentity, InodeCounts, Position,
    Status, Tags, WriteOutcome,
};

/// Policy of the checks. See `[monitor]` and `[storage]` in `config/agent.toml`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckPolicy {
    /// Time between probes, and the first limit of the backoff between attempts.
    pub probe_interval: Duration,
    /// Time between writing probes of a healthy store, or `None` if probes must not write.
    pub write_interval: Option<Duration>,
    /// Time between the monitor's logins to a healthy store.
    pub login_interval: Duration,
    /// Time over which the first probes after a start are spread.
    pub start_spread: Duration,
    /// Consecutive soft faults of one check that disconnect a store; at least 1.
    pub fail_after: u32,
    /// Consecutive good probes after a storage fault that start an attempt; at least 1.
    pub recover_after: u32,
    /// True if attempts start automatically.
    pub auto_reconnect: bool,
    /// Thresholds for low space.
    pub space: SpaceThresholds,
    /// Duration from which a probe is slow.
    pub slow_probe_after: Duration,
}

/// Thresholds for low space. They are never subtracted from a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpaceThresholds {
    /// Available bytes below which a store is full.
    pub reserved: u64,
    /// Used share from which a store is near full; above 0, below `full`.
    pub near_full: f64,
    /// Used share from which a store is full; at most 1.
    pub full: f64,
    /// Time within which a forecast must reach `full` for the store to be filling up, or `None` if
    /// that is not reported.
    pub filling_up: Option<Duration>,
}

/// The time of a step, and a random number for it. The caller provides both, so that the step needs
/// neither a clock nor a random source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The wall-clock time, only for records and payloads.
    pub wall: Timestamp,
    /// The time since the daemon started. It never goes back, and all waits are measured with it.
    pub uptime: Duration,
    /// A random number.
    pub random: u64,
}

/// The figures that a good examination measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredSpace {
    /// The space.
    pub capacity: Capacity,
    /// The inodes, if the filesystem counts them.
    pub inodes: Option<InodeCounts>,
}

/// The outcome of a probe of the image directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// The result of the examination: the figures of the right directory, or the fault.
    pub examined: Result<MeasuredSpace, Fault>,
    /// The result of the write, or `None` if it was not requested or not reached.
    pub written: Option<Result<WriteOutcome, Fault>>,
    /// The total duration.
    pub took: Duration,
}

/// The outcome of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// The result. A good login returns the identity of the host.
    pub outcome: Result<HostIdentity, Fault>,
    /// The duration.
    pub took: Duration,
}

string_enum! {
    /// The cause of an attempt.
    pub Cause {
        /// A caller of the API or the command line, or the management node.
        User = "person",
        /// The monitor, because the fault seems repaired or the backoff expired.
        Monitor = "monitor",
        /// The start of the daemon, which found an unfinished attempt.
        Restart = "restart",
    }
}

/// The results of the checks of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The result for the image directory.
    pub probe: ProbeOutcome,
    /// The result for the SSH server.
    pub login: LoginOutcome,
}

/// A connect attempt that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAttempt {
    /// The number of the attempt.
    pub id: AttemptId,
    /// The cause of the attempt.
    pub cause: Cause,
    /// The tags of the request that started it.
    pub tags: Tags,
}

/// A requested attempt whose prerequisites are being acquired. The status has not changed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparingAttempt {
    /// The cause of the attempt.
    pub cause: Cause,
    /// The tags of the request that started it.
    pub tags: Tags,
    /// The tags of the callers that joined it, if they have any.
    pub joined: Vec<Tags>,
}

/// The status that a Connecting store had before, with the failure of a Disconnected one. An
/// attempt that fails through a fault of the daemon returns the store to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousStatus {
    /// The status; never Connecting.
    pub status: Status,
    /// The failure, if the status is Disconnected.
    pub failure: Option<AttemptFailure>,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// The number of the attempt.
    pub id: AttemptId,
    /// The cause of the attempt.
    pub cause: Cause,
    /// The time at which it ended.
    pub at: Timestamp,
    /// The results of its checks, or the fault that prevented them from finishing.
    pub outcome: Result<AttemptOutcome, Fault>,
}

/// An input of the status machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepInput {
    /// The daemon started with this record.
    Started,
    /// A caller requests a connected store.
    ReconnectRequested {
        /// The cause of the request.
        cause: Cause,
        /// The tags of the request.
        tags: Tags,
    },
    /// Everything that the requested attempt needs of the daemon has been acquired.
    AttemptPrepared,
    /// The daemon lacks something that the requested attempt needs.
    PreparationFailed(Fault),
    /// An attempt ended.
    AttemptEnded {
        /// The number of the attempt.
        attempt: AttemptId,
        /// The results of its checks, or the fault that prevented them from finishing.
        outcome: Result<AttemptOutcome, Fault>,
    },
    /// A probe between attempts ended.
    Probed(ProbeOutcome),
    /// A login between attempts ended.
    LoggedIn(LoginOutcome),
    /// The forecast from the figures of the input before.
    Forecast(Box<FillEvidence>),
    /// The time of [`StoreRecord::due_check`](super::StoreRecord::due_check) has come, while these
    /// checks are in flight.
    Due(InFlight),
    /// A caller requests a check of the monitor, while these checks are in flight.
    CheckRequested(RequestedCheck, InFlight),
    /// The daemon is stopping.
    Stopping,
}

/// An effect that the caller of the status machine must carry out. The ledger part of
/// [`StepEffect::PublishTransition`], [`StepEffect::RecordHistory`],
/// [`StepEffect::RecordCapacity`] and [`StepEffect::StartAttempt`] is committed in one transaction
/// with the durable part of the record. All other effects follow only after that commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEffect {
    /// Write the notice and the history line of this status change, and publish it.
    PublishTransition(StatusTransition),
    /// Write a history line.
    RecordHistory(AttemptId, HistoryEvent),
    /// Add these figures to those of their day.
    RecordCapacity(DayFigures),
    /// Acquire everything that an attempt needs of the daemon: permits, a process, a thread. This
    /// replaces a login in flight. [`StepInput::AttemptPrepared`] or
    /// [`StepInput::PreparationFailed`] follows.
    PrepareAttempt,
    /// Run the checks of this attempt. They wait for a probe in flight. The history line of the
    /// attempt is part of this effect.
    StartAttempt(RunningAttempt),
    /// Answer every caller that waits for an attempt, which could not be prepared.
    RejectRequests(AttemptFailure),
    /// Examine the image directory, and write to it if requested.
    Probe {
        /// True if the probe also writes.
        write: bool,
    },
    /// Log in.
    LogIn {
        /// True if a caller requested the login. It does not use up the last login that the server
        /// may reject before logins are suspended.
        requested: bool,
    },
    /// Stop the checks of this attempt.
    CancelAttempt(AttemptId),
    /// Answer every caller that waits for this attempt.
    CompleteAttempt(AttemptId, Result<(), AttemptFailure>),
}

/// One change of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusTransition {
    /// The position in the order of the store's notices.
    pub position: Position,
    /// The status before.
    pub old: Status,
    /// The status after.
    pub new: Status,
    /// The time of the change.
    pub at: Timestamp,
    /// The attempt that it belongs to: the running one, or the newest before it.
    pub attempt: AttemptId,
    /// The tags of that attempt, if it is running.
    pub tags: Tags,
    /// The failure, if the new status is Disconnected. Also the fault of the daemon for which an
    /// attempt returned the store to the status before.
    pub failure: Option<AttemptFailure>,
}

impl AttemptOutcome {
    /// Returns the failure of the attempt, or `None` if all checks succeeded.
    pub(super) fn attempt_failure(&self) -> Option<AttemptFailure> {
        let examined = self.probe.examined.as_ref().err();
        let written = self.probe.written.as_ref().and_then(|written| written.as_ref().err());
        let login = self.login.outcome.as_ref().err();
        AttemptFailure::from_faults([examined, written, login].into_iter().flatten().cloned())
    }
}
