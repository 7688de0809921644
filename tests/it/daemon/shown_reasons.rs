//! Each reason and condition that a real daemon meets is in the diagnosis and in the events too. In
//! every test, `Agent::reconnect` and the waits of `support::health` compare them. The tests here
//! provoke reasons that no other test with a daemon provokes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imagestore_agent::model::{Condition, Reason};
use nix::libc;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::health::root_of_error;
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, HostKeyFile, User};

/// Settings under which only the requests of a test make an attempt.
const IDLE: &str = "[monitor]\ninterval = \"1h\"\nauto_reconnect = false\n";

/// Sends a reconnect, which must fail with this reason.
async fn fails_with(agent: &Agent, uuid: &str, reason: &str) {
    let reply = agent.reconnect(uuid).await;
    assert_eq!(reply.status, 503, "{reason}: {}", reply.body);
    assert_eq!(root_of_error(&reply.body), reason, "{:#}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_disk_is_shown_everywhere() {
    needs_root!();
    let (fuse, sshd, user) = (Fuse::mounted(), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&fuse.path(), IDLE);
    agent.start();
    let uuid = agent.add(&fuse.path(), &sshd, &user).await;
    for (op, errno, reason) in [
        (Op::Statfs, libc::EIO, "io_error"),
        (Op::Statfs, libc::ESTALE, "stale_handle"),
        (Op::Statfs, libc::ENOTCONN, "filesystem_server_gone"),
        (Op::Statfs, libc::EHOSTDOWN, "filesystem_server_unreachable"),
        (Op::Statfs, libc::ENODEV, "disk_removed"),
        (Op::Statfs, libc::EUCLEAN, "filesystem_corrupt"),
        (Op::Statfs, libc::EOVERFLOW, "capacity_implausible"),
        (Op::Open, libc::ENAMETOOLONG, "path_unusable"),
        (Op::Create, libc::ENOKEY, "filesystem_key_missing"),
        (Op::Create, libc::EOPNOTSUPP, "operation_unsupported"),
        (Op::Unlink, libc::EBUSY, "name_in_use"),
    ] {
        fuse.set(op, Behaviour::Fail(errno));
        fails_with(&agent, &uuid, reason).await;
        fuse.release();
    }
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

#[tokio::test]
async fn a_directory_that_is_not_as_it_was_is_shown_everywhere() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
    let dir = disk.path().join("images");
    fs::create_dir(&dir).unwrap();
    let mut agent = Agent::installed(&disk.path(), IDLE);
    agent.start();
    let uuid = agent.add(&dir, &sshd, &user).await;
    let moved = disk.path().join("moved");
    fs::rename(&dir, &moved).unwrap();
    fails_with(&agent, &uuid, "directory_missing").await;
    fs::write(&dir, "").unwrap();
    fails_with(&agent, &uuid, "not_a_directory").await;
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fails_with(&agent, &uuid, "marker_missing").await;
    fs::remove_dir(&dir).unwrap();
    fs::rename(&moved, &dir).unwrap();
    let marker = dir.join(".imagestore-agent/identity.json");
    let good = fs::read(&marker).unwrap();
    fs::write(&marker, "no marker").unwrap();
    fails_with(&agent, &uuid, "marker_unreadable").await;
    fs::write(&marker, good).unwrap();
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

/// A server that writes some bytes to each client, and closes the connection or keeps it.
struct Peer(Arc<AtomicBool>, u16, Option<std::thread::JoinHandle<()>>);

impl Peer {
    fn start(port: u16, bytes: &'static [u8], keeps: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut client, _)) = listener.accept() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                // The client may have closed the connection.
                let _ = client.write_all(bytes);
                if keeps {
                    kept.push(client);
                }
            }
        });
        Self(ended, port, Some(thread))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        // The last client wakes the thread.
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.1));
        let _ = self.2.take().unwrap().join();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_login_is_shown_everywhere() {
    needs_root!();
    let (disk, user, key) =
        (MountedFs::of("ext4"), User::create(), HostKeyFile::generate("ed25519"));
    let sshd = Builder::new().host_key(&key).start();
    let timeouts = "[ssh]\nconnect_timeout = \"2s\"\nhandshake_timeout = \"2s\"\n";
    let mut agent = Agent::installed(&disk.path(), &format!("{IDLE}{timeouts}"));
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    let port = sshd.address.port();
    drop(sshd);
    fails_with(&agent, &uuid, "connection_refused").await;
    for (bytes, keeps, reason) in [
        (&b"220 ftp ready\r\n"[..], false, "not_ssh"),
        (b"Exceeded MaxStartups\r\n", false, "throttled"),
        (b"", true, "banner_timeout"),
        (b"SSH-2.0-x\r\n", true, "handshake_timeout"),
    ] {
        let peer = Peer::start(port, bytes, keeps);
        fails_with(&agent, &uuid, reason).await;
        drop(peer);
    }
    let server = || Builder::new().port(port).host_key(&key);
    for (lines, reason) in [
        (["Ciphers 3des-cbc", "UseDNS no"], "no_common_algorithm"),
        (["PasswordAuthentication no", "UseDNS no"], "method_not_offered"),
    ] {
        let sshd = lines.iter().fold(server(), |server, line| server.line(line)).start();
        fails_with(&agent, &uuid, reason).await;
        drop(sshd);
    }
    let other = Builder::new().port(port).start();
    fails_with(&agent, &uuid, "host_key_changed").await;
    drop(other);
    let sshd = server().start();
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    user.set_password("another");
    fails_with(&agent, &uuid, "credentials_refused").await;
    drop(sshd);
}

/// The tests with a daemon that provoke each reason and condition.
const PROVOKED: &[(&str, &str)] = &[
    ("connection_refused", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("banner_timeout", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("handshake_timeout", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    (
        "auth_timeout",
        "login_lockout::a_refusal_in_another_language_counts_as_one_and_so_does_an_undecided_password",
    ),
    (
        "connection_lost",
        "login_lockout::a_refusal_in_another_language_counts_as_one_and_so_does_an_undecided_password",
    ),
    ("not_ssh", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("no_common_algorithm", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("host_key_changed", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("credentials_refused", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("method_not_offered", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    (
        "secret_unreadable",
        "master_key::a_lost_or_wrong_master_key_stops_nothing_but_the_login_and_comes_back",
    ),
    (
        "credentials_out_of_scope",
        "stored_secrets::the_scope_of_a_secret_outlives_restarts_and_policies",
    ),
    ("throttled", "shown_reasons::a_server_that_refuses_the_login_is_shown_everywhere"),
    ("different_host", "proofs::another_host_disconnects_at_once_and_the_right_one_connects_again"),
    ("directory_missing", "shown_reasons::a_directory_that_is_not_as_it_was_is_shown_everywhere"),
    ("not_a_directory", "shown_reasons::a_directory_that_is_not_as_it_was_is_shown_everywhere"),
    ("path_unusable", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    (
        "permission_denied",
        "permissions::a_store_whose_folder_or_marker_is_taken_from_the_daemon_is_mended_by_init",
    ),
    (
        "not_mounted",
        "own_limits::a_daemon_that_gets_no_process_changes_nothing_and_says_that_it_knows_nothing",
    ),
    ("marker_missing", "shown_reasons::a_directory_that_is_not_as_it_was_is_shown_everywhere"),
    ("marker_unreadable", "shown_reasons::a_directory_that_is_not_as_it_was_is_shown_everywhere"),
    ("wrong_store", "ownership::a_directory_with_the_marker_of_another_store_is_not_served"),
    (
        "taken_over",
        "ownership::a_directory_of_another_node_is_taken_over_only_on_demand_and_its_node_reports_it",
    ),
    (
        "read_only",
        "monitor::a_disk_that_goes_read_only_is_found_in_a_period_and_comes_back_by_itself",
    ),
    ("namespace_read_only", "monitor::a_view_that_turns_read_only_is_distinguished_from_the_disk"),
    ("io_error", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("stale_handle", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("filesystem_server_gone", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("filesystem_server_unreachable", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("disk_removed", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("filesystem_corrupt", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("filesystem_key_missing", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("name_in_use", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("operation_unsupported", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    ("probe_stuck", "hangs::a_disk_that_hangs_is_given_up_and_taken_back_when_it_answers"),
    ("capacity_implausible", "shown_reasons::an_error_of_the_disk_is_shown_everywhere"),
    (
        "not_probed",
        "own_limits::a_daemon_that_gets_no_process_changes_nothing_and_says_that_it_knows_nothing",
    ),
    ("near_full", "conditions::a_store_that_fills_up_says_so_and_stays_connected"),
    ("full", "conditions::a_store_that_fills_up_says_so_and_stays_connected"),
    ("inodes_full", "conditions::a_store_without_inodes_says_so_although_there_is_room"),
    (
        "sync_unsupported",
        "conditions::a_filesystem_that_cannot_sync_is_a_condition_and_takes_stores",
    ),
    ("slow_probe", "hangs::a_disk_that_is_slow_says_so_and_stays_connected"),
    (
        "proof_unavailable",
        "proofs::an_account_with_a_forced_command_connects_and_its_command_is_not_run_again_and_again",
    ),
    ("stale_namespace", "namespaces::a_disk_that_the_host_has_unmounted_is_reported_by_the_login"),
    (
        "delivery_refused",
        "callback_faults::a_receiver_whose_clock_is_an_hour_off_gets_the_state_once_the_clocks_agree",
    ),
    (
        "delivery_behind",
        "callback_faults::a_receiver_whose_name_resolves_later_then_gets_every_notice",
    ),
    ("state_disk_trouble", "state_disk::a_full_state_disk_is_reported_and_loses_nothing"),
    ("unverified", "monitor::a_password_that_was_changed_is_found_at_once"),
];

/// The reasons and conditions that no test with a daemon provokes in a store, each with the cause.
const NOT_PROVOKED: &[(&str, &str)] = &[
    (
        "name_not_found",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    (
        "target_not_allowed",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    (
        "unreachable",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    (
        "connect_timeout",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    (
        "second_factor_missing",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    (
        "key_unusable",
        "it needs a peer or a network that only the tests of the login check have (tests/it/ssh)",
    ),
    ("host_key_unknown", "an add or an update is refused with it, and no store keeps it"),
    (
        "outside_allowed_roots",
        "an add is refused with it; the settings of a served store change only with a restart",
    ),
    (
        "on_root_disk",
        "it needs a mount or a timing that only the tests of the probe have (tests/it/probe)",
    ),
    (
        "registry_missing",
        "it needs a mount or a timing that only the tests of the probe have (tests/it/probe)",
    ),
    (
        "probe_timeout",
        "it needs a mount or a timing that only the tests of the probe have (tests/it/probe)",
    ),
    ("interrupted_by_restart", "the next attempt replaces it"),
    ("agent_stopping", "it answers a request, and is no state of a store"),
    ("store_removed", "it answers a request, and is no state of a store"),
    ("agent_busy", "it answers a request, and is no state of a store"),
    ("management_unreachable", "it answers a request, and is no state of a store"),
    ("duplicate_uuid", "it answers a request, and is no state of a store"),
    ("duplicate_directory", "it answers a request, and is no state of a store"),
    ("zone_attached", "it answers a request, and is no state of a store"),
    ("zone_not_attached", "it answers a request, and is no state of a store"),
    ("too_many_zones", "it answers a request, and is no state of a store"),
    ("filling_up", "it needs days of history (src/forecast)"),
    (
        "quota_exceeded",
        "it needs a mount or a timing that only the tests of the probe have (tests/it/probe)",
    ),
    ("shared_filesystem", "another store decides it, and the tests of the health view show it"),
    ("legacy_algorithms", "the settings decide it, and the tests of the health view show it"),
    ("accepts_any_host_key", "the settings decide it, and the tests of the health view show it"),
];

#[test]
fn each_reason_and_condition_is_provoked_or_says_why_it_is_not() {
    let mut sources = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/daemon");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        sources.insert(name, fs::read_to_string(path).unwrap());
    }
    for (word, test) in PROVOKED {
        let (file, function) = test.split_once("::").unwrap();
        let source = sources.get(file).unwrap_or_else(|| panic!("{test} does not exist"));
        let start = source.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("no {test}"));
        let end = source[start..].find("\n}\n").unwrap();
        let body = &source[start..start + end];
        assert!(body.contains(&format!("\"{word}\"")), "{test} does not name {word}");
    }
    let listed: Vec<&str> = PROVOKED.iter().chain(NOT_PROVOKED).map(|(word, _)| *word).collect();
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let conditions = Condition::ALL.iter().map(|condition| condition.as_str());
    for word in reasons.chain(conditions) {
        let found = listed.iter().filter(|listed| **listed == word).count();
        assert_eq!(found, 1, "{word} is listed {found} times");
    }
}
