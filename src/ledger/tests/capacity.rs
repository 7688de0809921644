//! The use of space by day: merged, in series, bounded, and refused if it cannot be read.

use rusqlite::params;

use super::*;
use crate::ledger::tables::row_checksum;
use crate::ledger::{Ledger, ReadError};
use crate::model::{CapacityDay, DayFigures, UsedRange, UtcDay};

pub(super) fn figures(day: i64, used: u64) -> DayFigures {
    DayFigures {
        day: UtcDay(day),
        space: UsedRange::new(100, used, used, used).unwrap(),
        inodes: UsedRange::of_inodes(InodeCounts { total: 100, available: 100 - used }),
        covered_seconds: 3600,
    }
}

async fn add(ledger: &Ledger, figures: DayFigures, place: &MountLocation) {
    let change = LedgerChange::new().add_capacity(uuid(1), figures, place.clone());
    ledger.commit(change).await.unwrap();
}

async fn days(ledger: &Ledger) -> Vec<CapacityDay> {
    ledger.capacity_days(uuid(1), UtcDay(i64::MIN)).await.unwrap()
}

/// Series, day, and used: least, greatest, last.
async fn rows(ledger: &Ledger) -> Vec<(u32, i64, u64, u64, u64)> {
    let row = |CapacityDay { series, figures }: CapacityDay| {
        let (day, space) = (figures.day.0, figures.space);
        (series, day, space.min(), space.max(), space.last())
    };
    days(ledger).await.into_iter().map(row).collect()
}

#[tokio::test]
async fn figures_of_one_day_are_merged_also_after_a_restart_and_a_clock_that_stepped_back() {
    let place = TestStateDir::new();
    let opened = place.open();
    let mount = store(1).mount;
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(added(2)).await.unwrap();
    add(&opened.ledger, figures(9, 40), &mount).await;
    opened.writer.close_ledger().await;
    let opened = place.open();
    let ledger = &opened.ledger;
    for (day, used) in [(9, 60), (10, 50), (9, 20), (10, 55)] {
        add(ledger, figures(day, used), &mount).await;
    }
    assert_eq!(rows(ledger).await, [(1, 9, 20, 60, 20), (1, 10, 50, 55, 55)]);
    let stored = days(ledger).await;
    assert_eq!(stored[0].figures.covered_seconds, 3 * 3600);
    assert_eq!(stored[0].figures.inodes.unwrap().max(), 60);
    assert_eq!(ledger.capacity_days(uuid(1), UtcDay(10)).await.unwrap(), stored[1..]);
    assert_eq!(ledger.capacity_days(uuid(2), UtcDay(0)).await.unwrap(), []);
    // The rows go with the store, and a store that comes back begins anew.
    let change = LedgerChange::new().remove_store(uuid(1), removed(NOW.0));
    ledger.commit(change).await.unwrap();
    assert_eq!(days(ledger).await, []);
    ledger.commit(added(1)).await.unwrap();
    add(ledger, figures(10, 5), &MountLocation { device: "8:7".to_owned(), ..mount }).await;
    assert_eq!(rows(ledger).await, [(1, 10, 5, 5, 5)]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn another_place_begins_a_series_that_replaces_the_figures_of_its_first_day() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    let first = store(1).mount;
    let detailed = MountLocation { part: Some(crate::model::MountedPart::Whole), ..first.clone() };
    let moved = MountLocation { device: "8:2".to_owned(), ..detailed.clone() };
    let limited = MountLocation { quota_folder: Some("/a".to_owned()), ..moved.clone() };
    add(ledger, figures(9, 40), &first).await;
    add(ledger, figures(10, 50), &first).await;
    add(ledger, figures(10, 51), &detailed).await;
    assert_eq!(rows(ledger).await, [(1, 9, 40, 40, 40), (1, 10, 50, 51, 51)]);
    add(ledger, figures(10, 5), &moved).await;
    assert_eq!(rows(ledger).await, [(1, 9, 40, 40, 40), (2, 10, 5, 5, 5)]);
    add(ledger, figures(10, 6), &limited).await;
    add(ledger, figures(11, 60), &moved).await;
    let expected = [(1, 9, 40, 40, 40), (3, 10, 6, 6, 6), (4, 11, 60, 60, 60)];
    assert_eq!(rows(ledger).await, expected);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn days_are_kept_for_400_days_and_a_clock_that_jumps_takes_little() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let mount = store(1).mount;
    ledger.commit(added(1)).await.unwrap();
    for day in 1000..1405 {
        add(ledger, figures(day, 40), &mount).await;
    }
    let stored = days(ledger).await;
    assert_eq!((stored.len(), stored[0].figures.day), (401, UtcDay(1004)));
    // For one look the clock is years ahead, and for another one years behind.
    add(ledger, figures(9000, 1), &mount).await;
    add(ledger, figures(3, 1), &mount).await;
    assert_eq!(days(ledger).await.len(), 401);
    for day in 1405..1500 {
        add(ledger, figures(day, 40), &mount).await;
    }
    let stored: Vec<_> = days(ledger).await.iter().map(|day| day.figures.day.0).collect();
    assert_eq!(stored[0], 1099, "{stored:?}");
    assert_eq!(stored[stored.len() - 1], 9000);
    assert_eq!(stored.len(), 402);
    // A clock that never shows the same time twice does not grow the ledger.
    for day in (0..100).map(|n| 20_000 + n * 1000) {
        add(ledger, figures(day, 1), &mount).await;
    }
    assert!(days(ledger).await.len() <= 440);
    opened.writer.close_ledger().await;
}

/// The row has the checksum of its columns, so that only its content is wrong.
#[tokio::test]
async fn a_row_that_is_no_day_is_refused_and_never_replaced_by_a_default() {
    for (statement, recount) in [
        ("UPDATE capacity_days SET used_last = 41", false),
        ("UPDATE capacity_days SET used_last = 41", true),
        ("UPDATE capacity_days SET covered = 86401", true),
        ("UPDATE capacity_days SET series = 0", true),
        ("UPDATE capacity_days SET used_min = -1", true),
        ("UPDATE capacity_days SET total = 0", true),
        ("UPDATE capacity_days SET inodes_max = NULL", true),
    ] {
        let place = TestStateDir::new();
        let opened = place.open();
        let ledger = &opened.ledger;
        ledger.commit(added(1)).await.unwrap();
        add(ledger, figures(9, 40), &store(1).mount).await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        sqlite.execute_batch(statement).unwrap();
        if recount {
            seal_day(&sqlite);
        }
        // The daemon has not written this, and refuses changes. A restart finds the same.
        drop(sqlite);
        let error = ledger.capacity_days(uuid(1), UtcDay(0)).await.unwrap_err();
        assert!(matches!(error, ReadError::Unreadable(_)), "{statement}: {error}");
        assert!(error.to_string().contains("capacity_days"), "{statement}: {error}");
        opened.writer.close_ledger().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        crate::ledger::tables::contents::record_contents(&sqlite).unwrap();
        let read = |sqlite: &rusqlite::Connection| {
            let sql = "SELECT concat_ws(' ', series, total, used_last, covered, inodes_max)
                       FROM capacity_days WHERE day = 9";
            sqlite.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        let damaged = read(&sqlite);
        drop(sqlite);
        // The damaged row prevents no record of a status, and stays as evidence.
        let opened = place.open();
        let change = LedgerChange::new()
            .save_record(uuid(1), durable(Status::Disconnected))
            .add_capacity(uuid(1), figures(9, 50), store(1).mount);
        opened.ledger.commit(change).await.unwrap();
        opened.writer.close_ledger().await;
        let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
        assert_eq!(read(&sqlite), damaged, "{statement}");
        drop(sqlite);
        let again = place.open();
        assert_eq!(again.stores[0].durable.status, Status::Disconnected);
        again.writer.close_ledger().await;
    }
}

/// Gives the only row the checksum of its columns.
fn seal_day(sqlite: &rusqlite::Connection) {
    let sql = "SELECT day, series, total, used_min, used_max, used_last, covered, inodes_total,
                   inodes_min, inodes_max, inodes_last FROM capacity_days";
    let columns: Vec<Vec<u8>> = sqlite
        .query_row(sql, [], |row| {
            let bytes = |column: Option<i64>| {
                column.map_or_else(Vec::new, |number| number.to_be_bytes().to_vec())
            };
            (0..11).map(|index| Ok(bytes(row.get(index)?))).collect()
        })
        .unwrap();
    let uuid = uuid(1).to_string();
    let all: Vec<&[u8]> =
        std::iter::once(uuid.as_bytes()).chain(columns.iter().map(Vec::as_slice)).collect();
    sqlite.execute("UPDATE capacity_days SET sum = ?1", params![row_checksum(&all)]).unwrap();
}
