//! The command `doctor` beside a daemon that is stopped, gone, or cannot start: it ends, says
//! which, and leaves the files as they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::agent::{Agent, PROGRAM};
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::requirements::needs_root;
use crate::support::sshd::{Builder, Sshd, User};

/// Three times the sum of the deadlines of all parts of `doctor`.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs `doctor --json`. Returns its exit status and the document.
pub(super) fn findings(agent: &Agent, options: &[&str]) -> (i32, Value) {
    let started = Instant::now();
    let output = agent.cli(&[&["doctor", "--json"], options].concat(), "");
    assert!(started.elapsed() < LONGEST);
    let body = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), body)
}

/// Returns the verdict and the summary of a check.
pub(super) fn found<'a>(body: &'a Value, id: &str) -> (&'a str, &'a str) {
    let checks = body["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == id);
    let check = check.unwrap_or_else(|| panic!("no {id} in {body:#}"));
    (check["verdict"].as_str().unwrap(), check["summary"].as_str().unwrap())
}

/// A file: its inode, owner, mode, times without that of the last read, and contents.
type FileState = (u64, u32, u32, u32, (i64, i64), (i64, i64), Vec<u8>);

/// Returns the directory and every file in it, with all that `doctor` must not change.
fn snapshot(state: &Path) -> BTreeMap<PathBuf, FileState> {
    let entries = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let look = |path: PathBuf| {
        let is = fs::symlink_metadata(&path).unwrap();
        let bytes = if is.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let (changed, modified) = ((is.ctime(), is.ctime_nsec()), (is.mtime(), is.mtime_nsec()));
        (path, (is.ino(), is.uid(), is.gid(), is.mode(), changed, modified, bytes))
    };
    entries.chain([state.to_owned()]).map(look).collect()
}

/// Runs `doctor --json`, and checks that it has changed no file of the state directory.
pub(super) fn unchanged_findings(agent: &Agent, options: &[&str]) -> (i32, Value) {
    let state = agent.path("state");
    let before = snapshot(&state);
    let result = findings(agent, options);
    assert_eq!(snapshot(&state), before);
    result
}

pub(super) struct Scene {
    pub(super) agent: Agent,
    pub(super) uuid: String,
    disk: MountedFs,
    _sshd: Sshd,
    _user: User,
}

impl Scene {
    /// Starts a daemon with a Connected store.
    pub(super) async fn set() -> Self {
        let (disk, sshd, user) = (MountedFs::of("ext4"), Builder::new().start(), User::create());
        // The disk is smaller than the default reserve.
        let settings = "reserved = \"0B\"\n[monitor]\ninterval = \"1h\"\n";
        let mut agent = Agent::installed(&disk.path(), settings);
        agent.start();
        let uuid = agent.add(&disk.path(), &sshd, &user).await;
        Self { agent, uuid, disk, _sshd: sshd, _user: user }
    }
}

#[tokio::test]
async fn a_stopped_daemon_runs_and_does_not_answer_and_a_killed_one_does_not_run() {
    needs_root!();
    let mut scene = Scene::set().await;
    let pid = scene.agent.pid();
    scene.agent.signal(Signal::SIGSTOP);
    let (code, body) = unchanged_findings(&scene.agent, &[]);
    assert_eq!(code, 1);
    let (verdict, summary) = found(&body, "service.answers");
    assert_eq!(verdict, "error");
    let expected = format!("the daemon runs, and does not answer (process {pid})");
    assert!(summary.starts_with(&expected), "{summary}");
    let (verdict, summary) = found(&body, "state.ledger");
    assert_eq!((verdict, summary.contains("the daemon")), ("skipped", true), "{summary}");
    assert_eq!(found(&body, "state.writable").0, "ok");
    // What is not known is not counted.
    let text = |agent: &Agent| {
        let output = agent.cli(&["doctor", "--check", "state.writable"], "");
        String::from_utf8(output.stdout).unwrap()
    };
    let stopped = text(&scene.agent);
    assert!(stopped.ends_with("\nstores not known, the rest is well\n"), "{stopped}");

    scene.agent.kill();
    let killed = text(&scene.agent);
    assert!(killed.ends_with("\n1 store, all well\n"), "{killed}");
    let (code, body) = unchanged_findings(&scene.agent, &[]);
    assert_eq!((code, &body["worst"]), (1, &"error".into()));
    let (verdict, summary) = found(&body, "service.answers");
    assert!(verdict == "error" && summary.starts_with("the daemon does not run"), "{summary}");
    for id in ["state.ledger", "state.writable", "state.key", "directory", "mount", "identity"] {
        assert_eq!(found(&body, id).0, "ok", "{id}: {body:#}");
    }
    for id in ["permission", "space", "inodes"] {
        assert_eq!(found(&body, id).0, "ok", "{id}: {body:#}");
    }
    for id in ["write", "quota", "ssh.resolve", "ssh.connect", "ssh.login", "ssh.proof"] {
        assert_eq!(found(&body, id), ("skipped", "needs the daemon"), "{id}");
    }
    assert_eq!(found(&body, "reported"), ("skipped", "needs callback.urls"));

    // A store that is well gives exit status 0 for its own checks.
    let (code, body) = unchanged_findings(&scene.agent, &["--check", "mount", &scene.uuid[..8]]);
    assert_eq!((code, body["checks"].as_array().unwrap().len()), (0, 1), "{body:#}");
    let output = scene.agent.cli(&["doctor", "no such store"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no store has the name"));

    // The next start finds its files, and the store is Connected again.
    scene.agent.start();
    let (code, body) = findings(&scene.agent, &[&scene.uuid]);
    assert!(code == 0 || body["worst"] != "error", "{body:#}");
    assert!(scene.agent.terminate().0.success());
}

#[tokio::test]
async fn a_disk_that_is_gone_is_found_without_the_daemon() {
    needs_root!();
    let mut scene = Scene::set().await;
    assert!(scene.agent.terminate().0.success());
    assert!(scene.disk.try_unmount());
    let (code, body) = unchanged_findings(&scene.agent, &["--check", "mount"]);
    let check = &body["checks"][0];
    assert_eq!((code, &check["verdict"]), (1, &"error".into()), "{body:#}");
    assert_eq!(check["reason"], "not_mounted");
    let output = scene.agent.cli(&["doctor"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(&scene.uuid[..8])).unwrap();
    assert!(line.starts_with('×') && line.contains("last known: Connected"), "{text}");
    let output = scene.agent.cli(&["doctor", "--lang", "zh"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("最后已知：已连接 (Connected)"), "{text}");
    scene.disk.mount();
    assert_eq!(findings(&scene.agent, &["--check", "mount"]).0, 0);
}

#[tokio::test]
async fn a_damaged_or_missing_node_id_is_named_and_no_store_counts_as_taken_over() {
    needs_root!();
    let mut scene = Scene::set().await;
    assert!(scene.agent.terminate().0.success());
    let file = scene.agent.path("state/node-id");
    let id = fs::read(&file).unwrap();
    let damages: [(Option<&[u8]>, &str); 2] =
        [(Some(b"not an id\n"), "does not contain 32"), (None, "does not exist")];
    for (contents, words) in damages {
        match contents {
            Some(contents) => fs::write(&file, contents).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let (code, body) = unchanged_findings(&scene.agent, &[]);
        let (verdict, summary) = found(&body, "state.ledger");
        assert_eq!((code, verdict), (1, "error"), "{body:#}");
        assert!(summary.contains(words) && summary.contains("node-id"), "{summary}");
        // Without its id, the next start would take each store for that of another installation.
        let all = body.to_string();
        assert!(!all.contains("remove it") && all.contains("nodeId"), "{body:#}");
        for id in ["directory", "mount", "identity", "permission"] {
            assert_eq!(found(&body, id), ("skipped", "needs the node id"), "{id}: {body:#}");
        }
    }
    fs::write(&file, id).unwrap();
    assert_eq!(findings(&scene.agent, &["--check", "identity"]).0, 0);
}

#[test]
fn a_newer_or_damaged_ledger_is_named_and_stays_as_it_was() {
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 2] = [
        (
            |ledger| {
                let sqlite = Connection::open(ledger).unwrap();
                sqlite.execute_batch("PRAGMA user_version = 99").unwrap();
            },
            "has format 99",
        ),
        (|ledger| fs::write(ledger, b"not a ledger at all").unwrap(), "is damaged"),
    ];
    for (damage, words) in damages {
        let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
        let ledger = agent.path("state/ledger.sqlite");
        agent.start();
        assert!(agent.terminate().0.success());
        assert_eq!(findings(&agent, &["--check", "state.ledger"]).0, 0);
        damage(&ledger);
        let (code, body) = unchanged_findings(&agent, &["--check", "state.ledger"]);
        let (verdict, summary) = found(&body, "state.ledger");
        assert_eq!((code, verdict), (1, "error"), "{body:#}");
        let path = ledger.to_str().unwrap();
        assert!(summary.contains(words) && summary.contains(path), "{summary}");
        assert!(!summary.contains("imagestore-agent-doctor"), "{summary}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(words == "is damaged" || summary.contains(version), "{summary}");
    }
}

#[test]
fn a_state_disk_that_hangs_does_not_hold_doctor() {
    needs_root!();
    let fuse = Fuse::mounted();
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let old = format!("dir = {:?}", agent.path("state"));
    agent.configure(&agent.settings().replace(&old, &format!("dir = {:?}", fuse.path())));
    let (_, body) = findings(&agent, &["--check", "state.space"]);
    assert_ne!(found(&body, "state.space").0, "skipped", "{body:#}");
    for op in [Op::Statfs, Op::Lookup] {
        fuse.set(op, Behaviour::Hang);
        let (code, body) = findings(&agent, &[]);
        let (verdict, summary) = found(&body, "state.writable");
        assert_eq!((code, verdict), (1, "error"), "{body:#}");
        assert!(summary.contains("does not respond"), "{summary}");
        assert_eq!(found(&body, "state.key").0, "skipped");
        assert_eq!(found(&body, "state.space").0, "skipped");
        assert_eq!(found(&body, "service.answers").0, "error");
        // The check of the settings looks at the directory by its name.
        let (verdict, summary) = found(&body, "settings.valid");
        let hangs = summary.starts_with("a file or folder that the settings name cannot be read");
        assert_eq!((verdict == "error", hangs), (op == Op::Lookup, op == Op::Lookup), "{summary}");
        let output = agent.cli(&["doctor", "--report", "-"], "");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let missing = report["missing"]["history"].as_str().unwrap();
        assert!(missing.contains("does not respond"), "{missing}");
        assert!(!missing.starts_with("needs"), "{missing}");
        fuse.release();
    }
}

#[test]
fn a_disk_of_the_settings_that_hangs_does_not_hold_doctor() {
    needs_root!();
    let fuse = Fuse::mounted();
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let file = fuse.path().join("agent.toml");
    fs::copy(agent.path("agent.toml"), &file).unwrap();
    fs::remove_file(agent.path("agent.toml")).unwrap();
    std::os::unix::fs::symlink(&file, agent.path("agent.toml")).unwrap();
    fuse.set(Op::Read, Behaviour::Hang);
    for options in [&[][..], &["--check", "settings.valid"]] {
        let (code, body) = findings(&agent, options);
        let (verdict, summary) = found(&body, "settings.valid");
        assert_eq!((code, verdict), (1, "error"), "{body:#}");
        assert!(summary.starts_with("the settings file cannot be read"), "{summary}");
    }
    fuse.release();
}

#[test]
fn a_signal_ends_doctor_and_leaves_no_copy_behind() {
    needs_root!();
    let fuse = Fuse::mounted();
    let agent = Agent::installed(Path::new("/var/lib/imagestore"), "");
    let old = format!("dir = {:?}", agent.path("state"));
    agent.configure(&agent.settings().replace(&old, &format!("dir = {:?}", fuse.path())));
    let temporary = tempfile::tempdir().unwrap();
    let entries = || fs::read_dir(temporary.path()).unwrap().count();
    for (signal, status) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGQUIT, 131),
    ] {
        fuse.set(Op::Statfs, Behaviour::Hang);
        let mut doctor = std::process::Command::new(PROGRAM)
            .args(["doctor", "--check", "state.ledger", "--config"])
            .arg(agent.path("agent.toml"))
            .env("TMPDIR", temporary.path())
            .spawn()
            .unwrap();
        fuse.until_hanging(1);
        assert_eq!(entries(), 1, "the folder of the copy");
        kill(Pid::from_raw(doctor.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(doctor.wait().unwrap().code(), Some(status), "{signal}");
        assert_eq!(entries(), 0, "{signal}");
        fuse.release();
    }
}

#[test]
fn the_space_and_the_key_of_the_state_directory_decide_the_exit_status() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=16m");
    let mut agent = Agent::installed(Path::new("/var/lib/imagestore"), "").running_as_nobody();
    let old = format!("dir = {:?}", agent.path("state"));
    let state = disk.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
    agent.configure(&agent.settings().replace(&old, &format!("dir = {state:?}")));
    agent.start();
    // 16 MiB are few, and the daemon answers.
    let space = ["--check", "state.space"];
    let (code, body) = findings(&agent, &space);
    assert_eq!((code, found(&body, "state.space").0), (0, "warning"), "{body:#}");
    assert_eq!(findings(&agent, &["--check", "state.space", "--strict"]).0, 1);
    assert!(agent.terminate().0.success());

    let key = ["--check", "state.key", "--strict"];
    assert_eq!(findings(&agent, &key).0, 0);
    let file = state.join("master-key");
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let (code, body) = findings(&agent, &key);
    let (verdict, summary) = found(&body, "state.key");
    assert_eq!((code, verdict), (1, "error"), "{body:#}");
    assert!(summary.contains("cannot read") && summary.contains("master-key"), "{summary}");
    mode(0o600);

    let writable = ["--check", "state.writable"];
    assert_eq!(findings(&agent, &writable).0, 0);
    disk.remount("ro");
    let (code, body) = findings(&agent, &writable);
    let (verdict, summary) = found(&body, "state.writable");
    assert!((code, verdict) == (1, "error") && summary.contains("read-only"), "{body:#}");
    disk.remount("rw");

    let ballast = File::create(disk.path().join("ballast")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut &ballast).unwrap_err();
    let (code, body) = findings(&agent, &space);
    assert_eq!((code, found(&body, "state.space").0), (1, "error"), "{body:#}");
    fs::remove_file(disk.path().join("ballast")).unwrap();
}
