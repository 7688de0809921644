//! An upgrade that migrates the ledger, and the way back.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::strace::failing;

/// Puts a ledger of format 4, which the library's own tests read too, into a state directory.
fn put_format_4(state: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger/tests/fixtures/v4");
    for name in ["ledger.sqlite", "master-key"] {
        write_secret(state.join(name), fs::read(fixture.join(name)).unwrap());
    }
}

fn format_of(ledger: &Path) -> i32 {
    let ledger = Connection::open(ledger).unwrap();
    ledger.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn stores(agent: &Agent) -> String {
    let list = agent.cli(&["list", "-H", "--columns", "name,uuid"], "");
    assert!(list.status.success(), "{list:?}");
    String::from_utf8(list.stdout).unwrap()
}

/// The operator follows the message of the program that refuses the newer ledger.
#[test]
fn the_message_about_a_newer_ledger_names_the_copy_that_leads_back() {
    needs_root!();
    let disk = tempfile::tempdir().unwrap();
    let mut agent =
        Agent::installed(disk.path(), "[monitor]\ninterval = \"1h\"\n").running_as_nobody();
    let state = agent.path("state");
    put_format_4(&state);
    let owner = fs::metadata(&state).unwrap().uid();
    for name in ["ledger.sqlite", "master-key"] {
        std::os::unix::fs::chown(state.join(name), Some(owner), Some(owner)).unwrap();
    }
    agent.start();
    let of_format_4 = stores(&agent);
    assert!(of_format_4.contains("store 1"), "{of_format_4}");
    agent.terminate();
    let copy = state.join("ledger.sqlite.format4");
    let found = fs::metadata(&copy).unwrap();
    assert_eq!((found.uid(), found.permissions().mode() & 0o7777), (owner, 0o600));
    assert_eq!(format_of(&copy), 4);
    let log = agent.log();
    for step in [
        "a copy of the older ledger is migrated and checked first",
        "copy of the older ledger kept",
        "ledger migrated",
    ] {
        assert_eq!(log.matches(step).count(), 1, "{step}: {log}");
    }

    // For this program, which is now the earlier version.
    let ledger = state.join("ledger.sqlite");
    let newer = Connection::open(&ledger).unwrap();
    newer.execute_batch("PRAGMA user_version = 6; DELETE FROM stores").unwrap();
    drop(newer);
    let refused = agent.run_serve_to_end();
    assert_eq!(refused.status.code(), Some(65));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    let command = message.lines().find_map(|line| line.split_once("run cp -p ")).unwrap().1;
    let command = command.split('"').next().unwrap();
    let (from, to) = command.split_once(' ').unwrap();
    assert_eq!((PathBuf::from(from), PathBuf::from(to)), (copy.clone(), ledger.clone()));
    let move_away = format!(
        "cd {} && mkdir away && mv ledger.sqlite ledger.sqlite-* away/ 2>&1; ",
        state.display()
    );
    let script = format!("{move_away} cp -p {from} {to}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    agent.start();
    assert_eq!(stores(&agent), of_format_4);
    agent.terminate();
}

/// Installs a daemon whose state, a ledger of format 4, is on this disk.
fn installed_on(disk: &MountedFs, images: &Path) -> (Agent, PathBuf) {
    let agent = Agent::installed(images, "[monitor]\ninterval = \"1h\"\n");
    let state = disk.path().join("state");
    fs::create_dir(&state).unwrap();
    let own = format!("dir = {:?}", agent.path("state"));
    agent.configure(&agent.settings().replace(&own, &format!("dir = {state:?}")));
    put_format_4(&state);
    (agent, state)
}

/// Fills a disk up to this number of bytes.
fn fill(disk: &MountedFs, free: usize) {
    let space = nix::sys::statvfs::statvfs(&disk.path()).unwrap();
    let available = space.blocks_available() * space.fragment_size();
    let filled = usize::try_from(available).unwrap() - free;
    fs::write(disk.path().join("filled"), vec![1; filled]).unwrap();
}

#[test]
fn without_space_for_a_copy_the_ledger_is_migrated_with_a_warning() {
    needs_root!();
    // An earlier migration has left a copy of this size.
    for (free, earlier, is_kept) in
        [(600 << 10, 4 << 10, false), (600 << 10, 3 << 20, true), (4 << 20, 4 << 10, true)]
    {
        let (images, disk) = (tempfile::tempdir().unwrap(), MountedFs::tmpfs("size=8m"));
        let (mut agent, state) = installed_on(&disk, images.path());
        fs::write(state.join("ledger.sqlite.format3"), vec![1; earlier]).unwrap();
        fill(&disk, free);
        agent.start();
        agent.terminate();
        let ledger = state.join("ledger.sqlite");
        assert_eq!(format_of(&ledger), 5);
        let copies: Vec<String> = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("format"))
            .collect();
        let expected: &[&str] = if is_kept { &["ledger.sqlite.format4"] } else { &[] };
        assert_eq!(copies, expected, "{free} {earlier}");
        let log = agent.log();
        assert_eq!(log.contains("no space for a copy of the older ledger"), !is_kept, "{log}");
        assert_eq!(log.contains("bytes are available"), !is_kept, "{log}");

        // The copy of an earlier migration is not a way back from the last one.
        let newer = Connection::open(&ledger).unwrap();
        newer.execute_batch("PRAGMA user_version = 6").unwrap();
        drop(newer);
        let refused = agent.run_serve_to_end();
        assert_eq!(refused.status.code(), Some(65));
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(message.contains("run cp -p "), is_kept, "{message}");
    }
}

/// The start needs the size of the ledger.
#[test]
fn without_space_for_the_check_the_daemon_does_not_start_and_names_the_shortage() {
    needs_root!();
    let (images, disk) = (tempfile::tempdir().unwrap(), MountedFs::tmpfs("size=8m"));
    let (mut agent, state) = installed_on(&disk, images.path());
    fill(&disk, 16 << 10);
    let before = fs::read(state.join("ledger.sqlite")).unwrap();
    let refused = agent.run_serve_to_end();
    assert_ne!(refused.status.code(), Some(65), "the ledger is intact");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("free at least the size of the ledger"), "{message}");
    assert_eq!(fs::read(state.join("ledger.sqlite")).unwrap(), before);
    fs::remove_file(disk.path().join("filled")).unwrap();
    agent.start();
    agent.terminate();
}

/// The kernel reports the quota of a user with an error of its own.
#[test]
fn a_quota_of_the_user_counts_as_a_shortage() {
    needs_root!();
    // While the space for the way back is reserved, and while the copy that is checked is written.
    for (calls, is_started) in [("fallocate", true), ("pwrite64", false)] {
        let images = tempfile::tempdir().unwrap();
        let mut agent = Agent::installed(images.path(), "[monitor]\ninterval = \"1h\"\n");
        let state = agent.path("state");
        fs::create_dir_all(&state).unwrap();
        put_format_4(&state);
        let ledger = state.join("ledger.sqlite");
        let copy = state.join("ledger.sqlite.format4.new");
        let examined = state.join("ledger.sqlite.examined/ledger");
        let examined_log = state.join("ledger.sqlite.examined/ledger-wal");
        let mut words = failing(calls, "EDQUOT", 1, &[&copy, &examined, &examined_log]);
        words.extend(["-f", "-D"].map(str::to_owned));
        let wrapper: Vec<&str> = words.iter().map(String::as_str).collect();
        let before = fs::read(&ledger).unwrap();
        assert_eq!(agent.start_under(&wrapper), is_started, "{}", agent.log());
        if is_started {
            agent.terminate();
            let log = agent.log();
            assert!(log.contains("no space for a copy of the older ledger"), "{log}");
            assert!(!state.join("ledger.sqlite.format4").exists());
            assert_eq!(format_of(&ledger), 5);
        } else {
            let log = agent.log();
            assert!(log.contains("cannot use the ledger") && !log.contains("damaged"), "{log}");
            assert_eq!(fs::read(&ledger).unwrap(), before);
        }
    }
}
