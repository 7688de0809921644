//! A ledger that lost rows, and a migration that is killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::requirements::needs_root;
use crate::support::secret_files::write_secret;
use crate::support::sshd::{Builder, User};
use crate::support::strace::killing_from_the_start;

fn ledger_files(agent: &Agent) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(agent.path("state")).unwrap().map(|entry| entry.unwrap().path());
    let ledger = files.filter(|path| path.display().to_string().contains("ledger.sqlite"));
    ledger.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn a_ledger_with_a_missing_row_stops_the_start_and_stays_as_it_is() {
    needs_root!();
    let (disk, sshd, user) = (MountedFs::tmpfs("size=4m"), Builder::new().start(), User::create());
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let uuid = agent.add(&disk.path(), &sshd, &user).await;
    assert!(agent.terminate().0.success());
    let ledger = agent.path("state/ledger.sqlite");
    let whole = fs::read(&ledger).unwrap();
    for (table, statement) in [
        ("secrets", "DELETE FROM secrets"),
        ("history", "DELETE FROM history WHERE id = (SELECT max(id) FROM history)"),
        ("stores", "DELETE FROM stores"),
    ] {
        Connection::open(&ledger).unwrap().execute_batch(statement).unwrap();
        let before = ledger_files(&agent);
        let output = agent.run_serve_to_end();
        assert_eq!(output.status.code(), Some(65), "{statement}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(&format!("table {table} has ")), "{statement}: {told}");
        assert!(told.contains("restore all of them from one copy"), "{told}");
        assert_eq!(ledger_files(&agent), before, "{statement}");
        fs::write(&ledger, &whole).unwrap();
    }
    agent.start();
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
    agent.kill();
    agent.start();
    assert_eq!(agent.reconnect(&uuid).await.status, 200);
}

/// The points of a migration, the format of the ledger after a kill there, and the pass at which it
/// is killed. The copy is migrated first, then the ledger itself.
#[cfg(feature = "crash-points")]
pub(super) const MIGRATION_POINTS: [(&str, u32, i32); 4] = [
    ("migration.before", 1, 1),
    ("migration.after", 1, 1),
    ("migration.before", 2, 1),
    ("migration.after", 2, NEWEST_FORMAT),
];
const NEWEST_FORMAT: i32 = 5;

/// Makes an installation with the ledger of format 1 that the library's own tests read, too.
fn installed_with_format_1(roots: &Path) -> Agent {
    let agent = Agent::installed(roots, "[monitor]\ninterval = \"1h\"\n");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger/tests/fixtures/v1");
    fs::create_dir(agent.path("state")).unwrap();
    for name in ["ledger.sqlite", "master-key"] {
        let to = agent.path("state").join(name);
        write_secret(&to, fs::read(fixture.join(name)).unwrap());
    }
    agent
}

/// Returns the format of the ledger, and the rows of the tables that a start does not change.
fn format_and_rows(agent: &Agent) -> (i32, Vec<(u32, Option<String>)>) {
    let ledger = Connection::open(agent.path("state/ledger.sqlite")).unwrap();
    let check: String = ledger.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let rows = |table: &str| {
        let sql = format!("SELECT count(*), group_concat(hex(sum)) FROM {table}");
        ledger.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let format = ledger.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    (format, ["stores", "secrets", "outbox"].map(rows).to_vec())
}

/// Starts the daemon after a kill, and stops it.
fn assert_starts(agent: &mut Agent, expected: &[(u32, Option<String>)]) {
    agent.start();
    let list = agent.cli(&["list", "--json"], "");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("store 1"), "{list}");
    assert!(!agent.path("state/ledger.sqlite.examined").exists());
    agent.terminate();
    let (format, rows) = format_and_rows(agent);
    assert_eq!((format, &rows[..2]), (NEWEST_FORMAT, &expected[..2]));
}

#[cfg(feature = "crash-points")]
#[test]
fn a_migration_that_is_killed_at_its_commit_leaves_one_whole_ledger() {
    for (label, nth, format) in MIGRATION_POINTS {
        let disk = tempfile::tempdir().unwrap();
        let mut agent = installed_with_format_1(disk.path());
        let (before, rows) = format_and_rows(&agent);
        assert_eq!(before, 1);
        agent.arm_crash_point(label, nth);
        let killed = agent.run_serve_to_end();
        assert_eq!(killed.status.code(), None, "{label} {nth}: not killed");
        assert_eq!(format_and_rows(&agent), (format, rows.clone()), "{label} {nth}");
        agent.disarm_crash_point();
        assert_starts(&mut agent, &rows);
    }
}

#[test]
fn a_migration_that_is_killed_at_any_sync_or_write_is_made_again() {
    needs_root!();
    for (calls, least) in [("fsync,fdatasync", 4), ("pwrite64", 20)] {
        let mut nth = 1;
        loop {
            let disk = tempfile::tempdir().unwrap();
            let mut agent = installed_with_format_1(disk.path());
            let (_, rows) = format_and_rows(&agent);
            let words = killing_from_the_start(calls, nth);
            let wrapper: Vec<&str> = words.iter().map(String::as_str).collect();
            if agent.start_under(&wrapper) {
                break;
            }
            let (format, found) = format_and_rows(&agent);
            assert!([1, NEWEST_FORMAT].contains(&format), "{calls} {nth}");
            assert_eq!(found[..2], rows[..2], "{calls} {nth}");
            assert_starts(&mut agent, &rows);
            // Every sync, and a sample of the writes.
            nth += if calls == "pwrite64" { 5 } else { 1 };
        }
        assert!(nth > least, "{calls}: only {nth}");
    }
}
