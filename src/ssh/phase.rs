//! The phases of a login check: their names in a fault, their durations, and the report of their
//! ends. This module never limits the duration of a phase.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::{report_phase, string_enum};
use crate::model::Fault;

use super::deadline::PhaseLimit;

string_enum! {
    /// Phase in which a check failed: the fact `phase`.
    pub(super) LoginPhase {
        /// Reading the store's private key.
        Key = "key",
        /// Looking up the hostname.
        Resolve = "resolve",
        /// Making the TCP connection.
        Connect = "connect",
        /// Waiting for the identification line of the server.
        Banner = "banner",
        /// The key exchange and the check of the host key.
        Handshake = "handshake",
        /// The login.
        Authentication = "authentication",
        /// The check that the server is this node.
        Proof = "proof",
    }
}

impl LoginPhase {
    /// Returns the word of the phase in the progress of an attempt.
    fn progress_word(self) -> &'static str {
        match self {
            Self::Authentication => "auth",
            other => other.as_str(),
        }
    }
}

/// Durations of the phases of a successful check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseDurations {
    /// Looking up the hostname.
    pub resolve: Duration,
    /// Making the TCP connection, including failed attempts at other addresses.
    pub connect: Duration,
    /// From the TCP connection to the end of the key exchange.
    pub handshake: Duration,
    /// The login, including all its methods.
    pub authentication: Duration,
    /// The check that the server is this node.
    pub proof: Duration,
}

/// Runs one phase as [`time_phase`] does. A fault also gets the explanation of its limit, which the
/// phase enforces by itself.
pub(super) async fn limit_phase<T>(
    phase: LoginPhase,
    limit: PhaseLimit,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<(T, Duration), Fault> {
    time_phase(phase, work).await.map_err(|fault| limit.explain(fault, Instant::now()))
}

/// Runs one phase and returns its result with its duration, and reports its end. A fault gets the
/// duration as the fact `milliseconds`. A fault that already has a `phase` keeps it, because it is
/// more specific than `phase`.
pub(super) async fn time_phase<T>(
    phase: LoginPhase,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<(T, Duration), Fault> {
    let start = Instant::now();
    let outcome = work.await;
    let duration = start.elapsed();
    report_phase(phase.progress_word(), duration, &outcome);
    match outcome {
        Ok(value) => Ok((value, duration)),
        Err(fault) => Err(fault
            .with_detail("milliseconds", duration.as_millis())
            .default_fact("phase", phase.as_str())),
    }
}
