//! The handshake with a server that has several host keys. The server shows one key, of the first
//! requested type. The key of a given fingerprint may be of another type.
//!
//! A type is never requested twice, and no login starts before a key has been accepted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::model::{Fault, Reason};

use super::algorithms::SshAlgorithms;
use super::dial;
use super::handshake::{SshSession, perform_handshake};
use super::host_key::HostKeyCheck;

/// Performs handshakes until a key is accepted or the server has no other key. Ends by `until`. The
/// first handshake uses `tcp`. Each further one uses a new connection to the same address and
/// excludes the types seen before.
///
/// # Errors
/// Returns the errors of [`perform_handshake`]. If no key was accepted, returns the fault of the
/// first one, with all fingerprints in `offeredFingerprints`. If a further connection or handshake
/// fails, returns its own fault, because the right key may not have been seen.
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
            // All other algorithms were common a moment ago, so the server has no other key.
            None if fault.reason() == Reason::NoCommonAlgorithm => break,
            None => return Err(fault),
        }
    }
    Err(first.with_detail("offeredFingerprints", fingerprints))
}
