//! A ledger that is damaged or newer stops the start and is left byte for byte as it was.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::ledger::examine::beside;

/// Every file and its bytes. The lock is left out: it names the last process, and is no record.
pub(super) fn contents(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.file_name().unwrap() != "lock");
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

pub(super) async fn filled() -> Place {
    let place = Place::new();
    let opened = place.open();
    for n in 1..4 {
        let change = added(n).enqueue(notice(n, 5, 1)).note(uuid(n), entry(NOW.0));
        opened.ledger.commit(change).await.unwrap();
    }
    opened.writer.close().await;
    place
}

fn refusal(place: &Place) -> OpenError {
    let before = contents(place);
    let error = place.try_open().unwrap_err();
    assert_eq!(contents(place), before, "left as it was");
    error
}

fn sql(place: &Place, statement: &str) {
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn a_changed_row_is_found_by_its_checksum() {
    for statement in [
        "UPDATE stores SET definition = replace(definition, 'root', 'rood')",
        "UPDATE standings SET standing = replace(standing, 'Connected', 'Connecting')",
        "DELETE FROM standings",
        "UPDATE outbox SET seq = seq + 1",
        "UPDATE outbox SET notice = replace(notice, 'Connecting', 'Connected')",
    ] {
        let place = filled().await;
        sql(&place, statement);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{statement}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused() {
    for bytes in [&b""[..], b"not a database, at some length", &[0; 8192]] {
        let place = filled().await;
        fs::write(place.ledger(), bytes).unwrap();
        assert!(matches!(refusal(&place), OpenError::Damaged { .. }));
    }
    let place = Place::new();
    sql(&place, "CREATE TABLE somebody_elses (x)");
    assert!(matches!(refusal(&place), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_log_without_its_ledger_is_a_loss_and_not_a_first_start() {
    for ending in ["-wal", "-journal"] {
        let place = filled().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        let mode = if ending == "-wal" { "WAL" } else { "PERSIST" };
        let leave_a_log = format!("PRAGMA journal_mode = {mode}; UPDATE meta SET value = '9'");
        sqlite.execute_batch(&leave_a_log).unwrap();
        let cut = place.cut();
        fs::remove_file(cut.ledger()).unwrap();
        let told = refusal(&cut).to_string();
        for file in [cut.ledger(), beside(&cut.ledger(), ending)] {
            assert!(told.contains(file.to_str().unwrap()), "{told}");
        }
        // An empty one is nothing.
        fs::write(beside(&cut.ledger(), ending), b"").unwrap();
        cut.open().writer.close().await;
    }
}

#[tokio::test]
async fn a_newer_ledger_is_refused_and_named_also_with_a_log_beside_it() {
    let place = filled().await;
    sql(&place, "PRAGMA user_version = 99; UPDATE meta SET value = '7.0' WHERE key = 'written_by'");
    let OpenError::Newer { found, written_by, .. } = refusal(&place) else { panic!() };
    assert_eq!((found, written_by.as_deref()), (99, Some("7.0")));

    let place = filled().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("PRAGMA user_version = 99").unwrap();
    let cut = place.cut();
    assert!(fs::metadata(cut.path().join("ledger.sqlite-wal")).unwrap().len() > 0);
    assert!(matches!(refusal(&cut), OpenError::Newer { found: 99, .. }));
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_refused_or_changes_nothing() {
    let place = filled().await;
    let whole = fs::read(place.ledger()).unwrap();
    let opened = place.cut().open();
    let known: Vec<_> = opened.stores.iter().map(|s| s.store.clone()).collect();
    opened.writer.close().await;
    let mut refused = 0;
    // A step that is prime to the page size, so that every offset in a page is met.
    for at in (0..whole.len()).step_by(211) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        let place = place.cut();
        fs::write(place.ledger(), &bytes).unwrap();
        let before = contents(&place);
        match place.try_open() {
            Ok(opened) => {
                let stores: Vec<_> = opened.stores.iter().map(|s| s.store.clone()).collect();
                assert_eq!(stores, known, "byte {at}");
                for n in 1..4 {
                    let pending = opened.ledger.pending(uuid(n), 9).await.unwrap();
                    assert_eq!(pending, [notice(n, 5, 1)], "byte {at}");
                }
                opened.writer.close().await;
            }
            Err(_) => {
                refused += 1;
                assert_eq!(contents(&place), before, "byte {at}");
            }
        }
    }
    assert!(refused > 5, "only {refused} of the flips were noticed");
}
