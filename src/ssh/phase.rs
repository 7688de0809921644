//! The phases of a login check: what each is called in a fault and how long it took. It never decides
//! how long one may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::common::string_enum;
use crate::model::Fault;

string_enum! {
    /// Where a check was when it failed: the fact `phase`.
    pub(super) LoginPhase {
        /// The store's private key is read.
        Key = "key",
        /// The hostname is looked up.
        Resolve = "resolve",
        /// The TCP connection is made.
        Connect = "connect",
        /// The server has not said who it is yet.
        Banner = "banner",
        /// The key exchange, and the judgement of the host key.
        Handshake = "handshake",
        /// The login.
        Authentication = "authentication",
        /// Whether the server is this node.
        Proof = "proof",
    }
}

/// How long the phases of a successful check took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseDurations {
    /// Looking up the hostname.
    pub resolve: Duration,
    /// The TCP connection, failed tries at other addresses included.
    pub connect: Duration,
    /// From the TCP connection to the end of the key exchange.
    pub handshake: Duration,
    /// The login, all methods of it.
    pub authentication: Duration,
    /// Whether the server is this node.
    pub proof: Duration,
}

/// Runs one phase and says how long it took, as the fact `milliseconds` of a fault too. A fault that
/// knows its phase better than the caller keeps it.
pub(super) async fn time_phase<T>(
    phase: LoginPhase,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<(T, Duration), Fault> {
    let began = Instant::now();
    let outcome = work.await;
    let took = began.elapsed();
    match outcome {
        Ok(done) => Ok((done, took)),
        Err(fault) => Err(fault
            .with_detail("milliseconds", took.as_millis())
            .default_fact("phase", phase.as_str())),
    }
}
