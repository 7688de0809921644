//! The evidence over SFTP from servers that lie, stall or disconnect. Their answers never count as
//! those of another host, fail no login, and take a bounded time and memory.

use std::fs::read_to_string;
use std::time::Duration;

use imagestore_agent::common::MAX_QUOTED;
use imagestore_agent::model::{
    HostEvidence, HostIdentity, MarkerId, Obstacle, Reason, RemoteMarker, SshCredentials,
};
use imagestore_agent::ssh::{EvidenceScope, LoginRequest, MarkerLocation};
use russh_sftp::protocol::{Data, Handle, Packet, Version};
use tokio::time::Instant;

use crate::ssh::{expect, login, secret, text, verify};
use crate::support::scripted_sftp_server::{
    Action, PacketScript, ScriptedSftpServer, ServerQuirks, end, one_file,
};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

async fn proven(role: PacketScript, quirks: ServerQuirks) -> HostIdentity {
    let server = ScriptedSftpServer::start(role, quirks).await;
    let by_password = SshCredentials::password(secret("hunter2"));
    verify(&login(server.address, "anyone", by_password)).await.unwrap().host_identity
}

/// Returns the obstacle and its details.
async fn hindrance(role: PacketScript) -> (Obstacle, String) {
    match proven(role, ServerQuirks::default()).await {
        HostIdentity::Unverified(unproven) => (unproven.obstacle, unproven.details),
        other => panic!("{other:?}"),
    }
}

fn honest(packet: &Packet) -> Vec<Action> {
    one_file(packet, read_to_string(BOOT_ID).unwrap().as_bytes())
}

#[tokio::test]
async fn channels_that_a_server_opens_change_nothing() {
    let flood = ServerQuirks { opens: 10_000, ..ServerQuirks::default() };
    assert_eq!(proven(honest, flood).await, HostIdentity::verified_by(HostEvidence::BootId));
}

#[tokio::test]
async fn a_server_that_takes_not_a_byte_is_left_in_time() {
    let begun = Instant::now();
    let closed = ServerQuirks { no_window: true, ..ServerQuirks::default() };
    let HostIdentity::Unverified(unproven) = proven(honest, closed).await else { panic!("proven") };
    assert_eq!(unproven.obstacle, Obstacle::NoAnswer);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_sftp_session_that_ends_or_answers_wrongly_proves_nothing() {
    let roles: &[(&str, PacketScript)] = &[
        ("disconnects after VERSION", |packet| match packet {
            Packet::Init(_) => vec![Action::Sends(Version::new().into()), Action::Disconnects],
            _ => Vec::new(),
        }),
        ("closes the channel after VERSION", |packet| match packet {
            Packet::Init(_) => vec![Action::Sends(Version::new().into()), Action::ClosesChannel],
            _ => Vec::new(),
        }),
        ("disconnects before VERSION", |_| vec![Action::Disconnects]),
        ("disconnects within the file", |packet| match packet {
            Packet::Read(read) if read.offset > 0 => vec![Action::Disconnects],
            other => one_file(other, b"0f3c8a52-94d6"),
        }),
        ("opens a file that was not requested", |packet| match packet {
            Packet::Open(open) => {
                vec![Action::Sends(Handle { id: open.id + 1, handle: "h".into() }.into())]
            }
            other => honest(other),
        }),
        ("answers another read", |packet| match packet {
            Packet::Read(read) => {
                let data = b"0f3c8a52-94d6-4f0e-9f35-6a5d0c8f6d7e".to_vec();
                vec![Action::Sends(Data { id: read.id - 1, data }.into())]
            }
            other => honest(other),
        }),
        ("reads nothing, time and again", |packet| match packet {
            Packet::Read(read) => {
                vec![Action::Sends(Data { id: read.id, data: Vec::new() }.into())]
            }
            other => honest(other),
        }),
        ("ends another read", |packet| match packet {
            Packet::Read(read) => vec![Action::Sends(end(read.id + 7))],
            other => honest(other),
        }),
        ("announces a packet of 4 GiB", |packet| match packet {
            Packet::Open(_) => vec![Action::SendsRaw(vec![0xff; 64])],
            other => honest(other),
        }),
        ("greets again in the place of an answer", |packet| match packet {
            Packet::Open(_) => vec![Action::Sends(Version::new().into())],
            other => honest(other),
        }),
    ];
    for (what, role) in roles {
        assert_eq!(hindrance(*role).await.0, Obstacle::ConnectionLost, "{what}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_behind_the_marker_leaves_the_proof_standing() {
    let hangs: PacketScript = |packet| match packet {
        Packet::Open(open) if open.filename != BOOT_ID => Vec::new(),
        other => honest(other),
    };
    let server = ScriptedSftpServer::start(hangs, ServerQuirks::default()).await;
    let by_password = SshCredentials::password(secret("hunter2"));
    let marker = MarkerLocation { path: "/hung/marker".to_owned(), id: MarkerId::from_u128(1) };
    let login = LoginRequest {
        evidence: EvidenceScope::Full(Some(marker)),
        ..login(server.address, "anyone", by_password)
    };
    let seen = Some(RemoteMarker::TimedOut);
    let proof = verify(&login).await.unwrap().host_identity;
    assert_eq!(proof, HostIdentity::Verified { evidence: HostEvidence::BootId, marker: seen });
}

#[tokio::test]
async fn what_is_no_boot_id_is_none() {
    let roles: &[(&str, PacketScript)] = &[
        ("the file is too long", |packet| one_file(packet, &[b'0'; 100_000])),
        ("the file is not text", |packet| one_file(packet, &[0xff; 36])),
        ("the file contains no boot id", |packet| one_file(packet, b"42\n")),
        ("the file contains no boot id", |packet| one_file(packet, b"")),
    ];
    for (why, role) in roles {
        let (obstacle, details) = hindrance(*role).await;
        assert_eq!(obstacle, Obstacle::Unreadable);
        assert!(details.ends_with(&format!("{BOOT_ID}: {why}")), "{details}");
    }
}

#[tokio::test]
async fn a_program_that_prints_in_the_place_of_sftp_is_quoted_in_its_first_words() {
    let endless: PacketScript =
        |_| (0..2_000).map(|_| Action::SendsRaw(b"\x1b[2Jbuy now! ".to_vec())).collect();
    let (obstacle, details) = hindrance(endless).await;
    assert_eq!(obstacle, Obstacle::OtherProgram);
    assert!(details.contains("buy now!"), "{details}");
    assert!(details.len() < 1_000 && !details.contains('\x1b'), "{details}");
}

/// A text with a password that no quotation of [`MAX_QUOTED`] characters holds completely.
fn text_with_cut_password() -> String {
    format!("{}hunter2 and more", "x".repeat(MAX_QUOTED - 4))
}

#[tokio::test]
async fn a_password_at_the_end_of_a_quotation_is_masked() {
    let prints: PacketScript = |_| vec![Action::SendsRaw(text_with_cut_password().into_bytes())];
    let disconnects: PacketScript = |_| vec![Action::DisconnectsWith(text_with_cut_password())];
    for (role, obstacle) in
        [(prints, Obstacle::OtherProgram), (disconnects, Obstacle::ConnectionLost)]
    {
        let (found, details) = hindrance(role).await;
        assert_eq!(found, obstacle, "{details}");
        assert!(details.contains("xx***") && !details.contains("hunt"), "{details}");
    }
}

#[tokio::test]
async fn only_a_boot_id_that_differs_is_another_host() {
    let foreign_boot_id = "0f3c8a52-94d6-4f0e-9f35-6a5d0c8f6d7e";
    let server = ScriptedSftpServer::start(
        |packet| one_file(packet, b"0f3c8a52-94d6-4f0e-9f35-6a5d0c8f6d7e\n"),
        ServerQuirks::default(),
    )
    .await;
    let by_password = SshCredentials::password(secret("hunter2"));
    let outcome = verify(&login(server.address, "anyone", by_password)).await;
    let fault = expect(outcome, Reason::DifferentHost);
    assert_eq!(text(&fault, "theirs"), foreign_boot_id);
}
