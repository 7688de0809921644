//! An older ledger is brought to this program's version, or left byte for byte as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::damage::{contents, filled};
use super::fixture;
use super::*;
use crate::ledger::open::migrations;
use crate::ledger::tables;
use crate::ledger::tables::{RowError, query_map};

/// Format that an earlier version could have used: another column name, other checksums.
const OLDER: &str = "ALTER TABLE standings RENAME COLUMN standing TO health;
                     UPDATE standings SET sum = x'00'";

fn second(connection: &rusqlite::Connection) -> Result<(), RowError> {
    connection.execute_batch("ALTER TABLE standings RENAME COLUMN health TO standing")?;
    let read = "SELECT store, standing FROM standings";
    let rows: Vec<(String, String)> =
        query_map(connection, read, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (store, durable) in rows {
        let sum = tables::row_checksum(&[store.as_bytes(), durable.as_bytes()]);
        let write = "UPDATE standings SET sum = ?1 WHERE store = ?2";
        connection.execute(write, rusqlite::params![sum, store])?;
    }
    Ok(())
}

/// The migrations of this program, and one more.
fn migration_list(next: Migration) -> Vec<Migration> {
    MIGRATIONS.iter().copied().chain([next]).collect()
}

fn newest_version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap()
}

/// An older ledger after a clean stop, and one with its log next to it.
async fn older() -> [TestStateDir; 2] {
    let place = filled().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch(OLDER).unwrap();
    tables::contents::record_contents(&sqlite).unwrap();
    let power_loss_copy = place.power_loss_copy();
    drop(sqlite);
    [place, power_loss_copy]
}

#[tokio::test]
async fn an_older_ledger_is_examined_and_brought_to_our_version() {
    for place in older().await {
        let opened = place.open_with_migrations(&migration_list(second), NOW).unwrap();
        assert_eq!(opened.stores.len(), 3);
        for loaded in &opened.stores {
            assert_eq!(loaded.durable.status, Status::Connected);
        }
        assert_eq!(opened.ledger.pending_notices(uuid(1), 9).await.unwrap(), [notice(1, 5, 1)]);
        assert_eq!(opened.ledger.history(uuid(1), 9).await.unwrap().lines, [entry(NOW.0)]);
        opened.writer.close_ledger().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        assert_eq!(migrations::schema_version(&sqlite).unwrap(), newest_version() + 1);
        drop(sqlite);
        // The migration does not run twice, and the error names the previous program.
        place
            .open_with_migrations(&migration_list(second), NOW)
            .unwrap()
            .writer
            .close_ledger()
            .await;
        let OpenError::Newer { found, .. } = place.try_open().unwrap_err() else { panic!() };
        assert_eq!(found, newest_version() + 1);
    }
}

#[tokio::test]
async fn an_older_ledger_that_cannot_be_brought_to_our_version_is_left_as_it_was() {
    let steps: [(Migration, &str); 4] = [
        (|sqlite| Ok(sqlite.execute_batch("DROP TABLE outbox; NONSENSE")?), "NONSENSE"),
        (|_| Err(RowError::Changed("history")), "history"),
        // The result is checked: the checksums are still those of the older version.
        (
            |sqlite| {
                let rename = "ALTER TABLE standings RENAME COLUMN health TO standing";
                Ok(sqlite.execute_batch(rename)?)
            },
            "standings",
        ),
        (|sqlite| second(sqlite).and(Ok(sqlite.execute_batch("DELETE FROM stores")?)), "no store"),
    ];
    for place in older().await {
        let before = contents(&place);
        for (step, word) in steps {
            let error = place.open_with_migrations(&migration_list(step), NOW).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, OpenError::Damaged { .. }), "{told}");
            assert!(told.contains(word), "{told}");
            assert_eq!(contents(&place), before, "{word}");
        }
    }
}

#[tokio::test]
async fn a_table_can_be_recreated_without_losing_rows_that_refer_to_it() {
    fn anew(connection: &rusqlite::Connection) -> Result<(), RowError> {
        Ok(connection.execute_batch(
            "CREATE TABLE fresh (uuid TEXT PRIMARY KEY, image_dir TEXT NOT NULL,
                                 definition TEXT NOT NULL, sum BLOB NOT NULL) STRICT;
             INSERT INTO fresh SELECT uuid, image_dir, definition, sum FROM stores;
             DROP TABLE stores;
             ALTER TABLE fresh RENAME TO stores",
        )?)
    }
    let place = filled().await;
    let opened = place.open_with_migrations(&migration_list(anew), NOW).unwrap();
    assert_eq!(opened.stores.len(), 3);
    assert!(opened.ledger.credentials(&store(1)).await.unwrap().password.is_some());
    let gone = opened.ledger.commit(
        LedgerChange::new().remove_store(uuid(1), removed(NOW.0)).add_history(uuid(9), entry(1)),
    );
    assert!(gone.await.is_err(), "references hold again");
    opened.writer.close_ledger().await;
}

/// A migration counts the rows of its result. It must not count a loss as the new state.
#[tokio::test]
async fn an_older_ledger_with_a_missing_row_is_not_migrated() {
    for (table, statement) in [
        ("workers", "DELETE FROM workers"),
        ("history", "DELETE FROM history WHERE id = 1"),
        ("secrets", "UPDATE secrets SET sum = x'0000000000000000'"),
    ] {
        for place in older().await {
            let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
            sqlite.execute_batch(statement).unwrap();
            let place = place.power_loss_copy();
            let before = contents(&place);
            let error = place.open_with_migrations(&migration_list(second), NOW).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(&format!("table {table} ")), "{error}");
            assert_eq!(contents(&place), before);
        }
    }
}

/// The names of the kept copies.
fn copies(place: &TestStateDir) -> Vec<String> {
    let entries = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    names.filter(|name| name.contains("format")).collect()
}

#[tokio::test]
async fn the_ledger_of_before_a_migration_is_kept_and_can_be_put_back() {
    for (format, fixture) in fixture::OLDER {
        let place = fixture.place();
        let before = fixture::rows_of(&place.ledger());
        let opened = place.open();
        // This change is what a way back loses.
        opened.ledger.commit(added(9)).await.unwrap();
        opened.writer.close_ledger().await;
        assert_eq!(copies(&place), [format!("ledger.sqlite.format{format}")]);
        let copy = place.path().join(format!("ledger.sqlite.format{format}"));
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o600);

        // The version that knows this format, and not the next one.
        let known = &MIGRATIONS[..usize::try_from(format).unwrap()];
        let unchanged = contents(&place);
        let refused = place.open_with_migrations(known, NOW).unwrap_err();
        let sentence = refused.to_string();
        let OpenError::Newer { copy: Some(named), .. } = refused else { panic!("{sentence}") };
        assert_eq!(named, copy);
        let ledger = place.ledger().display().to_string();
        let command = format!("run cp -p {} {ledger}", copy.display());
        assert!(sentence.ends_with(&command), "{sentence}");
        assert_eq!(contents(&place), unchanged);

        fs::remove_file(place.ledger()).unwrap();
        fs::copy(&copy, place.ledger()).unwrap();
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        assert_eq!(migrations::schema_version(&sqlite).unwrap(), format);
        drop(sqlite);
        assert_eq!(fixture::rows_of(&place.ledger()), before, "format {format}");
        let again = place.open();
        assert_eq!(again.stores.len(), 2);
        again.writer.close_ledger().await;
    }
}

#[tokio::test]
async fn the_newest_copy_replaces_the_others() {
    let [.., (4, fixture)] = fixture::OLDER else { panic!() };
    let place = fixture.place();
    for left in ["ledger.sqlite.format2", "ledger.sqlite.format3.new", "ledger.sqlite.format4.new"]
    {
        fs::write(place.path().join(left), "left").unwrap();
    }
    // A file of the operator has another name.
    fs::write(place.path().join("ledger.sqlite.format4.mine"), "mine").unwrap();
    place.open().writer.close_ledger().await;
    let mut kept = copies(&place);
    kept.sort();
    assert_eq!(kept, ["ledger.sqlite.format4", "ledger.sqlite.format4.mine"]);
    let next = migration_list(|_| Ok(()));
    place.open_with_migrations(&next, NOW).unwrap().writer.close_ledger().await;
    let mut kept = copies(&place);
    kept.sort();
    let newest = format!("ledger.sqlite.format{}", newest_version());
    assert_eq!(kept, ["ledger.sqlite.format4.mine".to_owned(), newest]);
    // Without a migration, there is no new copy.
    fs::remove_file(place.path().join(&kept[1])).unwrap();
    place.open_with_migrations(&next, NOW).unwrap().writer.close_ledger().await;
    assert_eq!(copies(&place), ["ledger.sqlite.format4.mine"]);
}

#[tokio::test]
async fn a_ledger_whose_copy_cannot_be_made_is_not_migrated() {
    let [(1, fixture), ..] = fixture::OLDER else { panic!() };
    let place = fixture.place();
    let before = fixture::rows_of(&place.ledger());
    // A folder has the name of the copy.
    fs::create_dir(place.path().join("ledger.sqlite.format1")).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("ledger.sqlite.format1"), "{error}");
    assert_eq!(copies(&place), ["ledger.sqlite.format1"]);
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    assert_eq!(migrations::schema_version(&sqlite).unwrap(), 1);
    drop(sqlite);
    assert_eq!(fixture::rows_of(&place.ledger()), before);
}
