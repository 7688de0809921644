//! A ledger that is damaged or newer stops the start and is left byte for byte as it was.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::ledger::open::integrity::sibling_path;
use crate::ledger::tables;
use crate::model::{LoginDigest, LoginRejections, ProcessId, TrialRejections};

/// Every file and its bytes. The lock is left out: it names the last process, and is no record.
pub(super) fn contents(place: &TestStateDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.file_name().unwrap() != "lock");
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

pub(super) async fn filled() -> TestStateDir {
    let place = TestStateDir::new();
    let opened = place.open();
    for n in 1..4 {
        let change = added(n)
            .enqueue(notice(n, 5, 1))
            .add_history(uuid(n), entry(NOW.0))
            .save_stuck_worker(uuid(n), ProcessId { pid: 4711, start_time: 99 })
            .save_rejections(uuid(n), Some(rejections(1)))
            .save_trial_rejections(TRIAL, Some(trial_rejections(1)), Timestamp(0))
            .add_job(super::jobs::job(n))
            .finish_job(super::jobs::job(n).job, super::jobs::result("{}"))
            .add_job(super::jobs::job(n + 10))
            .owe_hook(&super::jobs::job(n + 10), super::hooks::hook())
            .add_capacity(uuid(n), super::capacity::figures(19_000, 40), store(n).mount);
        opened.ledger.commit(change).await.unwrap();
    }
    opened.ledger.commit(added(9)).await.unwrap();
    let change = LedgerChange::new().remove_store(uuid(9), removed(NOW.0));
    opened.ledger.commit(change).await.unwrap();
    opened.writer.close_ledger().await;
    place
}

fn rejections(count: i64) -> LoginRejections {
    let last = Fault::new(Reason::CredentialsRefused, "root may not log in");
    LoginRejections { rejected_at: (0..count).map(|n| Timestamp(NOW.0 + n)).collect(), last }
}

const TRIAL: LoginDigest = LoginDigest([7; 32]);

fn trial_rejections(count: i64) -> TrialRejections {
    let LoginRejections { rejected_at, last } = rejections(count);
    TrialRejections { rejected_at, reason: last.reason() }
}

fn refusal(place: &TestStateDir) -> OpenError {
    let before = contents(place);
    let error = place.try_open().unwrap_err();
    assert_eq!(contents(place), before, "left as it was");
    error
}

fn sql(place: &TestStateDir, statement: &str) {
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch(statement).unwrap();
}

/// Counts the rows anew, as if the program had written what a test has changed.
fn recount(place: &TestStateDir) {
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    tables::contents::record_contents(&sqlite).unwrap();
}

#[tokio::test]
async fn a_changed_row_is_found_by_its_checksum() {
    for statement in [
        "UPDATE stores SET definition = replace(definition, 'root', 'rood')",
        "UPDATE standings SET standing = replace(standing, 'Connected', 'Connecting')",
        "DELETE FROM standings",
        "UPDATE outbox SET seq = seq + 1",
        "UPDATE outbox SET notice = replace(notice, 'Connecting', 'Connected')",
        "UPDATE rejections SET entry = replace(entry, 'root', 'rood')",
        "UPDATE trial_rejections SET at = at + 1",
        "UPDATE trial_rejections SET digest = replace(digest, '7', '8')",
        "UPDATE workers SET pid = pid + 1",
        "UPDATE workers SET start_time = start_time + 1",
        "UPDATE workers SET sum = x''",
        "UPDATE meta SET value = value - 1 WHERE key = 'epoch'",
        "UPDATE meta SET value = '9' WHERE key = 'written_by'",
        "UPDATE meta SET key = 'apoch' WHERE key = 'epoch'",
        "DELETE FROM meta",
        "UPDATE jobs SET request = caller",
        "UPDATE jobs SET succeeded = 0",
        "UPDATE jobs SET result = x'7b'",
        "UPDATE jobs SET result = NULL",
        "UPDATE jobs SET changed = 1",
        "UPDATE hooks SET turn = turn + 1",
        "UPDATE hooks SET destination = '192.0.2.8'",
        "UPDATE hooks SET sealed = x'00'",
    ] {
        let place = filled().await;
        sql(&place, statement);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{statement}: {error}");
    }
}

/// The rows that are left are valid, so that only the count tells.
#[tokio::test]
async fn rows_that_are_missing_or_too_many_are_found_in_every_table() {
    let of_first = format!("store = '{}'", uuid(1));
    let copy_of_notice = "INSERT INTO outbox SELECT store, epoch + 1, seq, notice, sum FROM outbox";
    for (table, statement) in [
        ("workers", "DELETE FROM workers".to_owned()),
        ("workers", format!("DELETE FROM workers WHERE {of_first}")),
        ("rejections", "DELETE FROM rejections".to_owned()),
        ("trial_rejections", "DELETE FROM trial_rejections".to_owned()),
        ("secrets", "DELETE FROM secrets".to_owned()),
        ("secrets", format!("DELETE FROM secrets WHERE {of_first}")),
        ("outbox", "DELETE FROM outbox".to_owned()),
        ("outbox", format!("DELETE FROM outbox WHERE {of_first}")),
        ("outbox", copy_of_notice.to_owned()),
        ("history", "DELETE FROM history".to_owned()),
        ("history", "DELETE FROM history WHERE id = 2".to_owned()),
        (
            "history",
            "INSERT INTO history SELECT id + 9, store, at, entry, sum FROM history".to_owned(),
        ),
        (
            "stores",
            format!("PRAGMA foreign_keys = OFF; DELETE FROM stores WHERE uuid = '{}'", uuid(1)),
        ),
        ("stores", "PRAGMA foreign_keys = OFF; DELETE FROM stores".to_owned()),
        ("meta", "DELETE FROM meta WHERE key = 'written_by'".to_owned()),
        ("jobs", "DELETE FROM jobs".to_owned()),
        ("hooks", "DELETE FROM hooks".to_owned()),
        ("capacity_days", "DELETE FROM capacity_days".to_owned()),
        ("capacity_series", "DELETE FROM capacity_series".to_owned()),
        ("removed_stores", "DELETE FROM removed_stores".to_owned()),
        ("contents", "DELETE FROM contents".to_owned()),
        (
            "contents",
            "UPDATE contents SET tables = replace(tables, 'workers=3', 'workers=2')".to_owned(),
        ),
    ] {
        let place = filled().await;
        sql(&place, &statement);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{statement}: {error}");
        let told = error.to_string();
        assert!(told.contains(&format!("table {table} ")), "{statement}: {told}");
        assert!(told.contains("restore all of them from one copy"), "{told}");
    }
}

/// Each row matches its own checksum: it was written by this program, but not last.
#[tokio::test]
async fn a_row_that_is_an_earlier_version_of_itself_is_found_in_every_table() {
    let tables = [
        "stores",
        "standings",
        "secrets",
        "workers",
        "rejections",
        "trial_rejections",
        "outbox",
        "history",
        "meta",
        "jobs",
        "hooks",
        "capacity_days",
        "capacity_series",
        "contents",
    ];
    for table in tables {
        let place = filled().await;
        let earlier = place.power_loss_copy();
        let opened = place.open();
        let later = LedgerChange::new()
            .save_store(Store { name: "later".to_owned(), ..store(1) })
            .save_record(uuid(1), durable(Status::Disconnected))
            .replace_secrets(uuid(1), SshCredentials::password(Secret::new("later".to_owned())))
            .save_stuck_worker(uuid(1), ProcessId { pid: 4712, start_time: 99 })
            .save_rejections(uuid(1), Some(rejections(2)))
            .save_trial_rejections(TRIAL, Some(trial_rejections(2)), Timestamp(0))
            .coalesce(
                Position { epoch: Epoch(5), seq: Seq(1) },
                Notice { transition_count: 9, ..notice(1, 5, 1) },
            )
            .finish_job(super::jobs::job(11).job, super::jobs::result("{}"))
            .owe_hook(&super::jobs::job(11), super::hooks::hook())
            .add_capacity(
                uuid(1),
                super::capacity::figures(19_000, 50),
                MountLocation { device: "8:2".to_owned(), ..store(1).mount },
            );
        opened.ledger.commit(later).await.unwrap();
        opened.writer.close_ledger().await;
        place.open().writer.close_ledger().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        sqlite.execute("ATTACH ?1 AS earlier", [earlier.ledger().to_str().unwrap()]).unwrap();
        // History is only ever added, so that a later line takes the place of the earlier one.
        let statement = match table {
            "history" => {
                "UPDATE history SET (store, at, entry, sum) = (SELECT store, at, entry, sum \
                          FROM history AS other WHERE other.id = 2) WHERE id = 1"
                    .to_owned()
            }
            _ => format!(
                "PRAGMA foreign_keys = OFF; REPLACE INTO main.{table} SELECT * FROM earlier.{table}"
            ),
        };
        sqlite.execute_batch(&statement).unwrap();
        drop(sqlite);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{table}: {error}");
        let expected = match table {
            "contents" => "is not the one that was written last".to_owned(),
            table => format!("a row of table {table} is not the one that was written last"),
        };
        assert!(error.to_string().contains(&expected), "{table}: {error}");
    }
}

/// A ledger cannot tell that all of it is old. Only the positions of its notices stay new.
#[tokio::test]
async fn an_earlier_copy_of_the_whole_ledger_is_accepted_with_new_positions() {
    let place = filled().await;
    let earlier = place.power_loss_copy();
    let opened = place.open_at(Timestamp(NOW.0 + 1)).unwrap();
    let last = opened.epoch;
    opened.ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await.unwrap();
    opened.writer.close_ledger().await;
    let restored = earlier.open_at(Timestamp(NOW.0 + 2)).unwrap();
    assert_eq!(restored.stores.len(), 3);
    assert!(restored.epoch > last);
    restored.writer.close_ledger().await;
}

#[tokio::test]
async fn changes_that_were_rolled_back_or_cascaded_are_counted_as_they_ended() {
    let place = filled().await;
    let opened = place.open();
    let ledger = &opened.ledger;
    let twice = added(4).enqueue(notice(4, 5, 1)).enqueue(notice(4, 5, 1));
    let (kept, bad) = tokio::join!(ledger.commit(added(5)), ledger.commit(twice));
    kept.unwrap();
    bad.unwrap_err();
    ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await.unwrap();
    ledger.commit(LedgerChange::new().clear_stuck_worker(uuid(2))).await.unwrap();
    ledger.check_writable().await.unwrap();
    let cut = place.power_loss_copy();
    opened.writer.close_ledger().await;
    for place in [cut, place] {
        let opened = place.open();
        let uuids: Vec<_> = opened.stores.iter().map(|loaded| loaded.store.uuid).collect();
        assert_eq!(uuids, [uuid(2), uuid(3), uuid(5)]);
        opened.writer.close_ledger().await;
    }
}

/// A later format must not add a table that is not counted. SQLite keeps the
/// last id of a table in a table of its own, and takes the newest row into account if it is lost.
#[tokio::test]
async fn every_table_is_counted() {
    let place = filled().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    let text: String =
        sqlite.query_row("SELECT tables FROM contents", [], |row| row.get(0)).unwrap();
    let counted = text.split(' ').map(|entry| entry.split_once('=').unwrap().0.to_owned());
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'contents'
                  AND name <> 'sqlite_sequence' ORDER BY name";
    let tables =
        tables::query_map(&sqlite, tables, [], |row| Ok(row.get::<_, String>(0)?)).unwrap();
    assert_eq!(counted.collect::<Vec<_>>(), tables);
}

/// Beyond 64 MiB a start does not read the whole outbox, but no notice is sent unchecked.
#[tokio::test]
async fn the_outbox_of_a_large_ledger_is_verified_when_it_is_read() {
    let place = filled().await;
    let long = "INSERT INTO history (store, at, entry, sum)
                SELECT uuid, 1, hex(zeroblob(33 << 20)), x'' FROM stores LIMIT 1";
    sql(&place, long);
    recount(&place);
    sql(&place, "UPDATE outbox SET notice = replace(notice, 'Connecting', 'Connected')");
    let opened = place.open();
    let told = opened.ledger.pending_notices(uuid(1), 9).await.unwrap_err().to_string();
    assert!(told.contains("a row of table outbox does not match its checksum"), "{told}");
    opened.writer.close_ledger().await;
    // It is counted all the same.
    let deleted = place.power_loss_copy();
    sql(&deleted, "DELETE FROM outbox WHERE epoch = 5");
    let error = refusal(&deleted).to_string();
    assert!(error.contains("table outbox has 0 rows, but 3 were written"), "{error}");
    sql(&place, "UPDATE standings SET standing = replace(standing, 'Connected', 'Connecting')");
    assert!(matches!(place.try_open().unwrap_err(), OpenError::Damaged { .. }));
}

/// With another generation, readers of events would repeat or miss some.
#[tokio::test]
async fn a_generation_that_is_none_is_damage_and_is_not_replaced() {
    let generation = "0123456789abcdef0123456789abcdef";
    for (key, value) in [
        ("generation", String::new()),
        ("generation", "soon".to_owned()),
        ("generation", generation.to_uppercase()),
        ("former_generations", generation.to_owned()),
        ("former_generations", format!("{generation}:1:-5 {generation}:x:1")),
    ] {
        let place = filled().await;
        let sum = tables::row_checksum(&[key.as_bytes(), value.as_bytes()]);
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        let sql = "REPLACE INTO meta (key, value, sum) VALUES (?1, ?2, ?3)";
        sqlite.execute(sql, rusqlite::params![key, value, sum]).unwrap();
        drop(sqlite);
        recount(&place);
        let told = refusal(&place).to_string();
        assert!(told.contains("generation"), "{value}: {told}");
    }
}

/// Treating such an epoch as 0 would reuse positions that were already delivered.
#[tokio::test]
async fn an_epoch_that_is_none_is_damage_and_is_not_guessed() {
    for value in ["", "soon", "-1", "1.5", "0x10", "9223372036854775807", "9223372036854775808"] {
        let place = filled().await;
        let sum = tables::row_checksum(&[b"epoch", value.as_bytes()]);
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        let statement = "UPDATE meta SET value = ?1, sum = ?2 WHERE key = 'epoch'";
        assert_eq!(sqlite.execute(statement, rusqlite::params![value, sum]).unwrap(), 1);
        drop(sqlite);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{value:?}: {error}");
        assert!(error.to_string().contains("epoch"), "{error}");
    }
}

/// The store is served, so that its other faults are reported, but no login is made.
#[tokio::test]
async fn a_changed_secret_is_found_by_its_checksum_and_concerns_its_own_store_alone() {
    for change in
        ["sealed = x'00'", "sealed = CAST(sealed || 'x' AS BLOB)", "field = 'private_key'"]
    {
        let place = filled().await;
        sql(&place, &format!("UPDATE secrets SET {change} WHERE store = '{}'", uuid(1)));
        let opened = place.open();
        let fault = opened.ledger.credentials(&store(1)).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::SecretUnreadable, "{change}");
        assert!(fault.details().contains("checksum"), "{fault:?}");
        opened.ledger.credentials(&store(2)).await.unwrap();
        opened.writer.close_ledger().await;
    }
}

/// The loss happens while the ledger is open, or a ledger of format 1 already had it.
#[tokio::test]
async fn a_lost_secret_is_reported_and_not_taken_for_none() {
    let place = filled().await;
    sql(&place, &format!("DELETE FROM secrets WHERE store = '{}'", uuid(1)));
    recount(&place);
    let opened = place.open();
    let fault = opened.ledger.credentials(&store(1)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::SecretUnreadable);
    assert!(fault.details().contains("no longer contains a secret"), "{fault:?}");
    opened.ledger.credentials(&store(2)).await.unwrap();
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_line_of_history_that_was_changed_is_not_shown() {
    let place = filled().await;
    sql(&place, "UPDATE history SET at = at + 1");
    let opened = place.open();
    let shown = opened.ledger.history(uuid(1), 9).await;
    assert!(matches!(shown, Err(crate::ledger::ReadError::Unreadable(_))), "{shown:?}");
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_file_that_is_not_a_ledger_is_rejected() {
    for bytes in [&b""[..], b"not a database, at some length", &[0; 8192]] {
        let place = filled().await;
        fs::write(place.ledger(), bytes).unwrap();
        assert!(matches!(refusal(&place), OpenError::Damaged { .. }));
    }
    let place = TestStateDir::new();
    sql(&place, "CREATE TABLE foreign_table (x)");
    assert!(matches!(refusal(&place), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn an_empty_ledger_is_a_loss_with_its_log_and_without_one() {
    for with_log in [true, false] {
        let place = TestStateDir::new();
        let opened = place.open();
        opened.ledger.commit(added(1)).await.unwrap();
        let power_loss_copy = place.power_loss_copy();
        opened.writer.close_ledger().await;
        if !with_log {
            fs::remove_file(sibling_path(&power_loss_copy.ledger(), "-wal")).unwrap();
        }
        fs::write(power_loss_copy.ledger(), "").unwrap();
        let error = refusal(&power_loss_copy);
        assert!(error.to_string().contains("the database file is empty"), "{error}");
    }
}

#[tokio::test]
async fn a_log_without_its_ledger_is_a_loss_and_not_a_first_start() {
    for ending in ["-wal", "-journal"] {
        let place = filled().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        let mode = if ending == "-wal" { "WAL" } else { "PERSIST" };
        let leave_a_log = format!("PRAGMA journal_mode = {mode}; UPDATE meta SET value = '9'");
        sqlite.execute_batch(&leave_a_log).unwrap();
        let power_loss_copy = place.power_loss_copy();
        fs::remove_file(power_loss_copy.ledger()).unwrap();
        let told = refusal(&power_loss_copy).to_string();
        for file in [power_loss_copy.ledger(), sibling_path(&power_loss_copy.ledger(), ending)] {
            assert!(told.contains(file.to_str().unwrap()), "{told}");
        }
        // An empty one is nothing.
        fs::write(sibling_path(&power_loss_copy.ledger(), ending), b"").unwrap();
        power_loss_copy.open().writer.close_ledger().await;
    }
}

#[tokio::test]
async fn a_newer_ledger_is_rejected_with_its_version_even_with_a_log() {
    let place = filled().await;
    sql(&place, "PRAGMA user_version = 99; UPDATE meta SET value = '7.0' WHERE key = 'written_by'");
    let OpenError::Newer { found, written_by, .. } = refusal(&place) else { panic!() };
    assert_eq!((found, written_by.as_deref()), (99, Some("7.0")));

    let place = filled().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("PRAGMA user_version = 99").unwrap();
    let power_loss_copy = place.power_loss_copy();
    assert!(fs::metadata(power_loss_copy.path().join("ledger.sqlite-wal")).unwrap().len() > 0);
    assert!(matches!(refusal(&power_loss_copy), OpenError::Newer { found: 99, .. }));
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_rejected_or_changes_nothing() {
    let place = filled().await;
    let whole = fs::read(place.ledger()).unwrap();
    let opened = place.power_loss_copy().open();
    let epoch = opened.epoch;
    let known: Vec<_> = opened.stores.iter().map(|s| (s.store.clone(), s.stuck_worker)).collect();
    opened.writer.close_ledger().await;
    let mut refused = 0;
    // A step that is prime to the page size, so that every offset in a page is met.
    for at in (0..whole.len()).step_by(211) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        let place = place.power_loss_copy();
        fs::write(place.ledger(), &bytes).unwrap();
        let before = contents(&place);
        match place.try_open() {
            Ok(opened) => {
                let stores = opened.stores.iter().map(|s| (s.store.clone(), s.stuck_worker));
                assert_eq!(stores.collect::<Vec<_>>(), known, "byte {at}");
                assert_eq!(opened.epoch, epoch, "byte {at}");
                for n in 1..4 {
                    let pending = opened.ledger.pending_notices(uuid(n), 9).await.unwrap();
                    assert_eq!(pending, [notice(n, 5, 1)], "byte {at}");
                }
                opened.writer.close_ledger().await;
            }
            Err(_) => {
                refused += 1;
                assert_eq!(contents(&place), before, "byte {at}");
            }
        }
    }
    assert!(refused > 5, "only {refused} of the flips were noticed");
}
