//! The handshake with a server that has several host keys. It shows one key, of the kind that is asked
//! for first, and the one that a given fingerprint belongs to may be of another kind.
//!
//! It never asks for a kind twice, nor goes on to the login before a key has been taken.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::model::{Fault, Reason};

use super::algorithms::SshAlgorithms;
use super::dial;
use super::handshake::{SshSession, perform_handshake};
use super::host_key::HostKeyCheck;

/// Shakes hands within `until`: over `tcp`, and over further connections to the same address, each
/// without the kinds of key seen before, until a key is taken or the server has no other.
///
/// # Errors
/// Those of [`perform_handshake`]. When no key was taken, the fault of the first one, with the fingerprints
/// of all in `offeredFingerprints`. When a further handshake broke, its own fault: the right key may
/// not have been seen.
pub(crate) async fn connect_with_known_key(
    tcp: TcpStream,
    peer: SocketAddr,
    algorithms: &SshAlgorithms,
    expected: &HostKeyCheck,
    connect_timeout: Duration,
    until: Instant,
) -> Result<SshSession, Fault> {
    let pinned = expected.pinned.as_ref().map(|key| key.algorithm.as_str());
    let config = algorithms.client_config(pinned);
    let greeted = perform_handshake(tcp, config, expected.clone(), until).await;
    let Err(first) = greeted else { return greeted };
    let Some(key) = expected.other_key_may_match(&first) else { return Err(first) };
    let mut kinds = vec![key.algorithm.clone()];
    let mut fingerprints = vec![key.fingerprint.clone()];
    while let Some(config) = algorithms.config_without(&kinds) {
        let (tcp, _) = dial::dial(&[peer], connect_timeout, until).await?;
        let fault = match perform_handshake(tcp, config, expected.clone(), until).await {
            Err(fault) => fault,
            greeted => return greeted,
        };
        match expected.other_key_may_match(&fault) {
            Some(key) => {
                kinds.push(key.algorithm.clone());
                fingerprints.push(key.fingerprint.clone());
            }
            // All else was common a moment ago: it has no other key.
            None if fault.reason() == Reason::NoCommonAlgorithm => break,
            None => return Err(fault),
        }
    }
    Err(first.with_detail("offeredFingerprints", fingerprints))
}
