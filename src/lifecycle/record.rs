//! What goes into the status machine and what comes out of it.

use std::time::Duration;

use super::retry::Retry;
use super::watch::Watch;
use super::{Cause, HistoryEvent, Standing};
use crate::model::{
    AttemptId, Capacity, Failure, Fault, Inodes, Position, Status, Tags, Timestamp,
};

/// The rules an operator can set; see `[monitor]` in `config/agent.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Time between probes, and the first limit of the backoff between attempts.
    pub interval: Duration,
    /// Soft faults in a row that disconnect; at least 1.
    pub fail_after: u32,
    /// Good probes in a row after a storage fault that start an attempt; at least 1.
    pub recover_after: u32,
    /// Whether attempts start by themselves.
    pub auto_reconnect: bool,
}

/// When a step happens, and a random number to spend in it: brought by the caller, so that the step
/// needs neither clock nor die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For records and payloads only.
    pub wall: Timestamp,
    /// Time since the daemon started; never goes back. All waiting is measured on it.
    pub uptime: Duration,
    /// Random.
    pub roll: u64,
}

/// What a good check measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Space.
    pub capacity: Capacity,
    /// Inodes, where the filesystem counts them.
    pub inodes: Option<Inodes>,
}

/// A connect attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number.
    pub id: AttemptId,
    /// Who asked for it.
    pub cause: Cause,
    /// The tags of who asked.
    pub tags: Tags,
}

/// A store's whole health: the durable standing and what is known since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The durable part.
    pub standing: Standing,
    /// The running attempt.
    pub running: Option<Attempt>,
    /// Whether a probe or an attempt has ended since the daemon started.
    pub verified: bool,
    pub(super) watch: Watch,
    pub(super) retry: Retry,
}

impl Record {
    /// A record around what the ledger holds. Feed it [`Input::Started`] first.
    pub fn new(standing: Standing) -> Self {
        Self {
            standing,
            running: None,
            verified: false,
            watch: Watch::default(),
            retry: Retry::default(),
        }
    }

    /// When [`Input::RetryDue`] is to be fed, as uptime.
    pub fn retry_at(&self) -> Option<Duration> {
        self.retry.due()
    }

    /// Whether the next probe is to write as well: always while something is wrong, so that only
    /// probes that write count towards recovery.
    pub fn next_probe_writes(&self) -> bool {
        self.standing.status != Status::Connected || self.watch.bad() > 0
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
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
        /// How.
        outcome: Result<Measured, Failure>,
    },
    /// A probe between attempts ended.
    Probed(Result<Measured, Fault>),
    /// The time of [`Record::retry_at`] has come.
    RetryDue,
    /// The daemon is stopping.
    Stopping,
}

/// What is to be done. [`Effect::Changed`] and [`Effect::Noted`] belong into the transaction that
/// commits the record's standing; the others may leave only after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The status changed: write its notice and its line of history.
    Changed(Transition),
    /// Write a line of history.
    Noted(AttemptId, HistoryEvent),
    /// Run the checks of this attempt; its line of history is part of this.
    Begun(Attempt),
    /// Stop the checks of this attempt.
    Abandoned(AttemptId),
    /// Answer everyone who waits for this attempt.
    Settled(AttemptId, Result<(), Failure>),
}

/// One change of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
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
    pub failure: Option<Failure>,
}
