//! The counts of attempts, transitions and checks since the start of the daemon, for metrics.
//!
//! # Guarantees
//! - A transition or the end of an attempt is counted after the commit that has it, and once.
//! - The labels are words of enums.

use std::sync::Arc;

use super::AgentContext;
use crate::common::{
    Clock, Counter, CounterFamily, Histogram, PhaseEnd, PhaseObserver, string_enum,
};
use crate::lifecycle::{Cause, StepEffect};
use crate::model::{AttemptFailure, AttemptId, Reason, Status, StoreUuid};
use crate::probe::{EXAMINE_PHASE, WRITE_PHASE};

/// Upper bounds of the durations of checks and of the phases of a login, in seconds. A phase on a
/// good network takes milliseconds, and its default limit is 5 s to 10 s. The default of
/// `monitor.attempt_deadline` is 30 s.
const BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

string_enum! {
    /// The end of an attempt.
    pub AttemptEnd {
        /// All checks succeeded, and the store is Connected.
        Connected = "connected",
        /// A check failed.
        Failed = "failed",
        /// The daemon could not finish the attempt: it was stopping or busy, or the store was
        /// removed. Nothing is known about the store.
        Abandoned = "abandoned",
    }
}

impl AttemptEnd {
    /// Returns the end of an attempt with this failure, or without one.
    fn of(failure: Option<&AttemptFailure>) -> Self {
        match failure {
            None => Self::Connected,
            Some(failure) if failure.is_internal() => Self::Abandoned,
            Some(_) => Self::Failed,
        }
    }
}

/// The counts of the agent. All begin at 0 with the process.
#[derive(Debug)]
pub struct AgentStats {
    /// The attempts that ended. The first attempt of a new store counts, with its commit. One that
    /// an earlier process began, or whose preparation failed, does not.
    pub attempts: CounterFamily<(Cause, AttemptEnd)>,
    /// The reconnects that joined an attempt, or its preparation, instead of starting one.
    pub joiners: Counter,
    /// The transitions by the new status, and by the reason of the root fault if that is
    /// Disconnected.
    pub transitions: CounterFamily<(Status, Option<Reason>)>,
    /// The durations of all examinations of a directory, whether they failed or not.
    pub examine: Histogram,
    /// The durations of all writes to a directory, whether they failed or not.
    pub write: Histogram,
    /// The durations of the phases of all logins.
    pub login_phases: LoginPhaseStats,
}

/// Returns the labels of every transition.
fn all_transitions() -> impl Iterator<Item = (Status, Option<Reason>)> {
    let without_reason = [Status::Connecting, Status::Connected].map(|status| (status, None));
    let disconnected = Reason::ALL.iter().map(|&reason| (Status::Disconnected, Some(reason)));
    without_reason.into_iter().chain(disconnected)
}

impl Default for AgentStats {
    fn default() -> Self {
        Self {
            attempts: CounterFamily::starting_with(
                Cause::ALL
                    .iter()
                    .flat_map(|&cause| AttemptEnd::ALL.iter().map(move |&end| (cause, end))),
            ),
            joiners: Counter::default(),
            transitions: CounterFamily::starting_with(all_transitions()),
            examine: Histogram::new(BOUNDS),
            write: Histogram::new(BOUNDS),
            login_phases: LoginPhaseStats::default(),
        }
    }
}

/// The durations of each phase of a login.
///
/// Every login counts: of an attempt, of the monitor, of a store that is added, and of an update. A
/// phase that failed counts too, because the time until a timeout is what an operator looks for. A
/// phase that was cut off, because the daemon stopped or an attempt replaced the login, does not.
///
/// The phases are those that the progress of an attempt shows, except `key`: the opening of the
/// private key is work of the daemon, and no server delays it. The identification line of the
/// server is part of the handshake.
///
/// The exemplars are phases of attempts, with the uuid of the store and the number of the attempt.
/// A phase of a preparation has the number that the attempt gets if it starts.
#[derive(Debug)]
pub struct LoginPhaseStats {
    /// Looking up the hostname.
    pub resolve: Histogram,
    /// Making the TCP connection.
    pub connect: Histogram,
    /// From the TCP connection to the end of the key exchange.
    pub handshake: Histogram,
    /// The login, including all its methods.
    pub auth: Histogram,
    /// The check that the server is this node.
    pub proof: Histogram,
}

impl Default for LoginPhaseStats {
    fn default() -> Self {
        let phase = || Histogram::new(BOUNDS);
        Self {
            resolve: phase(),
            connect: phase(),
            handshake: phase(),
            auth: phase(),
            proof: phase(),
        }
    }
}

impl LoginPhaseStats {
    /// Returns each phase with its word, in the order of a login.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        [
            ("resolve", &self.resolve),
            ("connect", &self.connect),
            ("handshake", &self.handshake),
            ("auth", &self.auth),
            ("proof", &self.proof),
        ]
        .into_iter()
    }
}

/// The number of an attempt of a store.
#[derive(Clone, Copy, Debug)]
struct AttemptRef {
    store: StoreUuid,
    attempt: AttemptId,
}

impl AgentStats {
    /// Counts the end of an attempt.
    pub(super) fn count_attempt(&self, cause: Cause, failure: Option<&AttemptFailure>) {
        self.attempts.increment((cause, AttemptEnd::of(failure)));
    }

    /// Counts the effects of a step, whose commit has succeeded. `cause` is that of the attempt
    /// that was running before it.
    pub(super) fn count_effects(&self, effects: &[StepEffect], cause: Option<Cause>) {
        for effect in effects {
            match (effect, cause) {
                (StepEffect::PublishTransition(transition), _) => {
                    let failure = transition.failure.as_ref();
                    let failure = failure.filter(|_| transition.new == Status::Disconnected);
                    let reason = failure.map(|failure| failure.root_fault().reason());
                    self.transitions.increment((transition.new, reason));
                }
                (StepEffect::CompleteAttempt(_, outcome), Some(cause)) => {
                    self.count_attempt(cause, outcome.as_ref().err());
                }
                _ => {}
            }
        }
    }

    /// Counts the end of an attempt whose store was removed.
    pub(super) fn count_removed(&self, cause: Cause) {
        self.attempts.increment((cause, AttemptEnd::Abandoned));
    }

    /// Counts a phase of a check. `attempt` is the attempt that it belongs to.
    fn count_phase(&self, end: PhaseEnd, attempt: Option<AttemptRef>, clock: &dyn Clock) {
        let PhaseEnd { phase, took, .. } = end;
        let login_phase = self.login_phases.all().find(|(word, _)| *word == phase);
        match (phase, login_phase, attempt) {
            (EXAMINE_PHASE, ..) => self.examine.observe(took),
            (WRITE_PHASE, ..) => self.write.observe(took),
            (_, Some((_, durations)), None) => durations.observe(took),
            (_, Some((_, durations)), Some(AttemptRef { store, attempt })) => {
                let labels = vec![("store", store.to_string()), ("attempt", attempt.to_string())];
                durations.observe_with(took, labels, clock.now());
            }
            (_, None, _) => {}
        }
    }
}

impl AgentContext {
    /// Returns the observer that counts the phases of checks without an attempt.
    pub(super) fn observe_checks(&self) -> PhaseObserver {
        self.phase_counter(None)
    }

    /// Returns the observer that counts the phases of an attempt, and those of its preparation.
    pub(super) fn observe_attempt(&self, store: StoreUuid, attempt: AttemptId) -> PhaseObserver {
        self.phase_counter(Some(AttemptRef { store, attempt }))
    }

    fn phase_counter(&self, attempt: Option<AttemptRef>) -> PhaseObserver {
        let (stats, clock) = (Arc::clone(&self.stats), Arc::clone(&self.daemon.clock));
        Arc::new(move |end| stats.count_phase(end, attempt, clock.as_ref()))
    }
}
