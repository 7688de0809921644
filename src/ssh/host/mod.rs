//! The check that the server behind a login is this node. The first matching evidence proves it.
//! `different_host` is returned only if evidence of another host was read there.
//!
//! For a proven node, the file at the path of the store's marker shows if both see the same disk.
//!
//! The check opens at most one channel, and none for a server whose key is one of this node's own.
//! It never writes there and runs no command. A program that an account starts instead of SFTP is
//! outside its control.

pub(super) mod local_keys;
pub(super) mod sftp;

use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use crate::common::skip_byte_order_mark;
use crate::model::{
    Fault, HostEvidence, HostIdentity, HostKey, MarkerId, Obstacle, Reason, RemoteMarker,
    UnverifiedHost,
};

use super::session::SshSession;
use local_keys::LocalHostKeys;
use sftp::{SftpClient, SftpReadError, SftpUnavailable};

/// The random id that the kernel creates at each boot of each host (random(4)). Docker and podman
/// show the id of the host to their containers. LXC and systemd-nspawn give each container its own
/// id.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// Maximum duration of a proof. A login is valid without one, so a slow server must not delay it.
pub(super) const PROOF_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum duration of the marker's read after the proof. It is short because no proof depends on
/// it.
const MARKER_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum time for a proof whose missing answer counts against the account. With less time left
/// before the caller's deadline, the server may only be slow.
const MIN_PROOF_TIME: Duration = Duration::from_secs(4);

/// Properties that distinguish this node from others.
#[derive(Clone, Debug)]
pub(crate) struct LocalHost {
    boot_id: Option<String>,
}

/// The location and id of the store's marker, as the server's SFTP shows it if the server is this
/// node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerLocation {
    /// Path of the marker on this node.
    pub path: String,
    /// The id that the marker must contain.
    pub id: MarkerId,
}

impl LocalHost {
    /// Reads the identity of the node that this process runs on.
    pub(crate) fn this_host() -> Self {
        let mut text = String::new();
        #[expect(clippy::disallowed_methods, reason = "procfs does not hang")]
        let read = File::open(BOOT_ID_PATH).and_then(|mut file| file.read_to_string(&mut text));
        Self { boot_id: read.is_ok().then(|| boot_id(&text)).flatten() }
    }
}

/// Collects the proof within [`PROOF_TIMEOUT`], then reads the marker within [`MARKER_TIMEOUT`].
/// Ends by `deadline`. `quote` makes a text of the server safe to display.
///
/// # Errors
/// Returns `different_host` with the facts `evidence`, `ours` and `theirs`.
pub(crate) async fn verify_same_host(
    session: &SshSession,
    key: &HostKey,
    local_keys: &LocalHostKeys,
    local_host: &LocalHost,
    marker: Option<&MarkerLocation>,
    deadline: Instant,
    quote: impl Fn(&str) -> String,
) -> Result<HostIdentity, Fault> {
    if local_keys.contains(key) {
        return Ok(HostIdentity::verified_by(HostEvidence::HostKey));
    }
    let until = deadline.min(Instant::now() + PROOF_TIMEOUT);
    let subsystem_started = AtomicBool::new(false);
    let has_full_time = until.saturating_duration_since(Instant::now()) >= MIN_PROOF_TIME;
    let (mut sftp, proof) =
        match timeout_at(until, collect_evidence(session, local_host, marker, &subsystem_started))
            .await
        {
            Ok(Ok(result)) => result,
            Ok(Err(SftpUnavailable::Lost)) => {
                let end = session.describe_end(quote).await;
                return Ok(HostIdentity::Unverified(lost_session(end.as_deref())));
            }
            Ok(Err(unavailable)) => {
                return Ok(HostIdentity::Unverified(classify_obstacle(&unavailable, quote)));
            }
            Err(_) => {
                let details =
                    "the server accepted the login but did not answer over SFTP in time".into();
                // With less time, a missing answer says nothing about the account.
                let program_started = has_full_time && subsystem_started.load(Ordering::Relaxed);
                let obstacle =
                    if program_started { Obstacle::NoAnswer } else { Obstacle::ConnectionLost };
                return Ok(HostIdentity::Unverified(UnverifiedHost { obstacle, details }));
            }
        };
    let until = deadline.min(Instant::now() + MARKER_TIMEOUT);
    let proof = match (proof, marker) {
        (Ok(HostIdentity::Verified { evidence, marker: None }), Some(marker)) => {
            let read = timeout_at(until, sftp.read_file(&marker.path)).await;
            Ok(HostIdentity::Verified { evidence, marker: remote_marker(read, marker) })
        }
        (proof, _) => proof,
    };
    // If the close is not sent in time, the end of the session closes the channel.
    let _ = timeout_at(until, sftp.close()).await;
    proof
}

/// Opens SFTP and reads the evidence, one item after the other.
async fn collect_evidence(
    session: &SshSession,
    local_host: &LocalHost,
    marker: Option<&MarkerLocation>,
    subsystem_started: &AtomicBool,
) -> Result<(SftpClient, Result<HostIdentity, Fault>), SftpUnavailable> {
    let mut sftp = SftpClient::open(session, subsystem_started).await?;
    let mut unread_items = Vec::new();
    let mut proof = None;
    if let Some(ours) = &local_host.boot_id {
        let read = sftp.read_file(BOOT_ID_PATH).await?;
        let read = read.and_then(|text| {
            boot_id(&text).ok_or(SftpReadError::Invalid("the file contains no boot id"))
        });
        proof =
            classify_evidence(HostEvidence::BootId, BOOT_ID_PATH, ours, read, &mut unread_items);
    } else {
        unread_items.push(format!("{BOOT_ID_PATH}: the daemon cannot read the file on this node"));
    }
    if let (None, Some(marker)) = (&proof, marker) {
        let read = sftp.read_file(&marker.path).await?;
        let read = read.and_then(|text| {
            marker_id(&text).ok_or(SftpReadError::Invalid("the file contains no marker"))
        });
        let ours = marker.id.to_string();
        proof =
            classify_evidence(HostEvidence::Marker, &marker.path, &ours, read, &mut unread_items);
    }
    let proof = proof.unwrap_or_else(|| {
        let details = format!(
            "the user cannot read anything on the server that distinguishes hosts: {}",
            unread_items.join(", ")
        );
        Ok(HostIdentity::Unverified(UnverifiedHost { obstacle: Obstacle::Unreadable, details }))
    });
    Ok((sftp, proof))
}

/// Returns the state of the marker on a server that is this node. Returns `None` if the read gives
/// no information about it.
fn remote_marker(
    read: Result<Result<Result<String, SftpReadError>, SftpUnavailable>, Elapsed>,
    marker: &MarkerLocation,
) -> Option<RemoteMarker> {
    match read {
        Ok(Ok(Ok(text))) => match marker_id(&text) {
            Some(id) if id == marker.id.to_string() => Some(RemoteMarker::Same),
            Some(_) => Some(RemoteMarker::Different),
            // The marker may be incomplete because it is being written.
            None => None,
        },
        Ok(Ok(Err(SftpReadError::Missing))) => Some(RemoteMarker::Missing),
        Ok(Ok(Err(SftpReadError::Denied))) => Some(RemoteMarker::Unreadable),
        // The server's disk failed, or the SFTP session was lost.
        Ok(Ok(Err(SftpReadError::Failed(_) | SftpReadError::Invalid(_))) | Err(_)) => None,
        // A retry could leave another hanging process on the server, even if the time was short.
        Err(_) => Some(RemoteMarker::TimedOut),
    }
}

/// Compares one item of evidence. Returns `None` if it could not be read, and appends the cause to
/// `unread_items`.
fn classify_evidence(
    evidence: HostEvidence,
    path: &str,
    ours: &str,
    theirs: Result<String, SftpReadError>,
    unread_items: &mut Vec<String>,
) -> Option<Result<HostIdentity, Fault>> {
    match theirs {
        Ok(theirs) if theirs == ours => {
            let marker = (evidence == HostEvidence::Marker).then_some(RemoteMarker::Same);
            Some(Ok(HostIdentity::Verified { evidence, marker }))
        }
        Ok(theirs) => Some(Err(different_host_fault(evidence, ours, &theirs))),
        Err(why) => {
            unread_items.push(format!("{path}: {why}"));
            None
        }
    }
}

fn different_host_fault(evidence: HostEvidence, ours: &str, theirs: &str) -> Fault {
    let what = match evidence {
        HostEvidence::BootId => "boot id",
        HostEvidence::Marker => "marker of the image directory",
        HostEvidence::HostKey => "host key",
    };
    let details = format!("the login works, but the {what} on the server is {theirs}, not {ours}");
    Fault::new(Reason::DifferentHost, details)
        .with_detail("evidence", evidence.as_str())
        .with_detail("ours", ours)
        .with_detail("theirs", theirs)
}

/// Returns the boot id in the text of its file: a UUID with dashes (RFC 9562 section 4).
pub(crate) fn boot_id(text: &str) -> Option<String> {
    let id = text.trim_end();
    let is_uuid = id.len() == 36
        && id.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
    is_uuid.then(|| id.to_ascii_lowercase())
}

/// Returns the id in the text of a marker.
pub(crate) fn marker_id(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct RemoteMarkerFile {
        id: String,
    }
    let marker: RemoteMarkerFile =
        serde_json::from_slice(skip_byte_order_mark(text.as_bytes())).ok()?;
    marker.id.parse::<MarkerId>().ok().map(|id| id.to_string())
}

/// Classifies the obstacle to SFTP by the output of the program. `quote` makes the output safe to
/// display. nologin(8) prints a fixed sentence unless `/etc/nologin.txt` contains another. sshd
/// also has a sentence for a password that must be changed, but does not send it to the client of a
/// subsystem (`do_exec_no_pty` in OpenSSH's session.c).
fn classify_obstacle(
    unavailable: &SftpUnavailable,
    quote: impl Fn(&str) -> String,
) -> UnverifiedHost {
    let obstacle_with = |obstacle, details: &str| (obstacle, details.to_owned());
    let (obstacle, details) = match unavailable {
        SftpUnavailable::NoSession => {
            obstacle_with(Obstacle::NoSession, "the server opens no session for the user")
        }
        SftpUnavailable::Lost => return lost_session(None),
        SftpUnavailable::NoSubsystem => {
            obstacle_with(Obstacle::NoSftp, "the server offers no SFTP to the user")
        }
        SftpUnavailable::Program { output, exit_status } => {
            let exit_status =
                exit_status.map_or_else(String::new, |status| format!(" (exit status {status})"));
            let text = quote(output);
            // Output of which nothing can be shown is output all the same.
            if output.trim().is_empty() {
                let details =
                    "the program that the server started instead of SFTP ended without output";
                let why = "a forced command, or a password that must be changed first";
                (Obstacle::NoOutput, format!("{details}{exit_status}: {why}"))
            } else if output.contains("account is currently not available") {
                (
                    Obstacle::Nologin,
                    format!("the user's shell permits no login: \"{text}\"{exit_status}"),
                )
            } else {
                let details = "another program answered instead of SFTP";
                (Obstacle::OtherProgram, format!("{details}: \"{text}\"{exit_status}"))
            }
        }
    };
    UnverifiedHost { obstacle, details }
}

/// Returns the obstacle of a session that was lost after the login. `end` describes the end of the
/// connection, if that ended.
fn lost_session(end: Option<&str>) -> UnverifiedHost {
    let details = match end {
        Some(end) => format!(
            "the login was accepted, then {end}; sshd closes the connection there if it refuses \
             the ChrootDirectory of the user"
        ),
        None => "the login was accepted, then the server ended the SFTP session".to_owned(),
    };
    UnverifiedHost { obstacle: Obstacle::ConnectionLost, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_a_uuid_and_nothing_else() {
        let id = "0f3c8a52-94d6-4f0e-9f35-6a5d0c8f6d7e";
        assert_eq!(boot_id(&format!("{id}\n")).as_deref(), Some(id));
        assert_eq!(boot_id(&id.to_uppercase()).as_deref(), Some(id));
        for other in ["", "x", &id[1..], &id.replace('-', "a"), &id.replace('0', "é")] {
            assert_eq!(boot_id(other), None, "{other}");
        }
        let this = LocalHost::this_host().boot_id;
        assert_eq!(this.as_deref().and_then(boot_id), this);
        assert!(this.is_some());
    }

    #[test]
    fn a_marker_is_known_by_its_id_alone() {
        let id = "00000000000000000000000000000001";
        let text = format!("{{\"version\":9,\"id\":\"{id}\",\"more\":[]}}");
        assert_eq!(marker_id(&text).as_deref(), Some(id));
        for other in ["", "{}", "{\"id\":1}", "{\"id\":\"x\"}", "[]"] {
            assert_eq!(marker_id(other), None, "{other}");
        }
    }

    #[test]
    fn the_content_of_the_marker_path_is_classified() {
        let marker = MarkerLocation { path: "/d/m".into(), id: MarkerId::from_u128(1) };
        let of = |id: u8| Ok(Ok(Ok(format!("{{\"id\":\"{id:032}\"}}"))));
        let refused = |why: SftpReadError| Ok(Ok(Err(why)));
        for (read, seen) in [
            (of(1), Some(RemoteMarker::Same)),
            (of(2), Some(RemoteMarker::Different)),
            (refused(SftpReadError::Missing), Some(RemoteMarker::Missing)),
            (refused(SftpReadError::Denied), Some(RemoteMarker::Unreadable)),
            (refused(SftpReadError::Failed("failure".into())), None),
            (refused(SftpReadError::Invalid("too long")), None),
            (Ok(Ok(Ok("{".into()))), None),
            (Ok(Err(SftpUnavailable::Lost)), None),
        ] {
            let description = format!("{read:?}");
            assert_eq!(remote_marker(read, &marker), seen, "{description}");
        }
    }

    #[test]
    fn only_evidence_that_was_read_and_differs_is_another_host() {
        let mut unread_items = Vec::new();
        let mut classified = |theirs: Result<&str, &str>| {
            let theirs = theirs.map(str::to_owned).map_err(|_| SftpReadError::Denied);
            classify_evidence(HostEvidence::BootId, BOOT_ID_PATH, "a", theirs, &mut unread_items)
        };
        assert_eq!(classified(Ok("a")), Some(Ok(HostIdentity::verified_by(HostEvidence::BootId))));
        assert_eq!(classified(Err("permission denied")), None);
        let fault = classified(Ok("b")).unwrap().unwrap_err();
        assert_eq!(fault.reason(), Reason::DifferentHost);
        assert_eq!((&fault.facts()["ours"], &fault.facts()["theirs"]), (&"a".into(), &"b".into()));
        assert_eq!(unread_items, [format!("{BOOT_ID_PATH}: permission denied")]);
    }

    #[test]
    fn each_obstacle_to_sftp_is_classified() {
        let program =
            |output: &str| SftpUnavailable::Program { output: output.into(), exit_status: Some(1) };
        for (unavailable, obstacle) in [
            (SftpUnavailable::NoSession, Obstacle::NoSession),
            (SftpUnavailable::Lost, Obstacle::ConnectionLost),
            (SftpUnavailable::NoSubsystem, Obstacle::NoSftp),
            (program("This account is currently not available."), Obstacle::Nologin),
            (program("Welcome"), Obstacle::OtherProgram),
            (program(""), Obstacle::NoOutput),
        ] {
            assert_eq!(
                classify_obstacle(&unavailable, str::to_owned).obstacle,
                obstacle,
                "{unavailable:?}"
            );
        }
        let details = classify_obstacle(&program("Welcome"), str::to_owned).details;
        assert!(details.ends_with(": \"Welcome\" (exit status 1)"), "{details}");
    }
}
