//! History is bounded, and no clock empties it at one stroke.

use std::fs;

use super::capacity::figures;
use super::*;
use crate::lifecycle::MeasuredSpace;

const DAY: i64 = 24 * 3600 * 1000;

fn lines(n: u128, from: i64, count: i64) -> LedgerChange {
    (from..from + count)
        .fold(LedgerChange::new(), |change, at| change.add_history(uuid(n), entry(at)))
}

async fn gone(opened: &OpenedLedger, n: u128) -> usize {
    opened.ledger.history(uuid(n), 0).await.unwrap().pruned.try_into().unwrap()
}

async fn kept(opened: &OpenedLedger, n: u128) -> Vec<i64> {
    let newest_first = opened.ledger.history(uuid(n), u32::MAX).await.unwrap().lines;
    newest_first.iter().map(|entry| entry.at.0).collect()
}

#[tokio::test]
async fn history_is_bounded_by_number_for_every_store() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(added(2)).await.unwrap();
    ledger.commit(lines(1, NOW.0, 100_200)).await.unwrap();
    let stays = kept(&opened, 1).await;
    // Each of two stores is pruned by every second run.
    assert!((100_000..100_128).contains(&stays.len()), "{}", stays.len());
    assert_eq!(stays[0], NOW.0 + 100_199, "the newest stays");
    assert_eq!(gone(&opened, 1).await, 100_200 - stays.len(), "what is gone is counted");
    ledger.commit(lines(2, NOW.0, 128)).await.unwrap();
    assert_eq!(kept(&opened, 1).await.len(), 100_000, "also while only another store has news");
    assert_eq!((gone(&opened, 1).await, gone(&opened, 2).await), (200, 0));
    // A store that comes back begins anew.
    ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await.unwrap();
    ledger.commit(added(1)).await.unwrap();
    assert_eq!(gone(&opened, 1).await, 0);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn history_is_bounded_by_age_but_a_clock_that_jumps_ahead_takes_little() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    for n in [1, 2] {
        ledger.commit(added(n).add_history(uuid(n), entry(NOW.0))).await.unwrap();
        ledger.commit(lines(n, NOW.0, 999)).await.unwrap();
    }
    let old = async || {
        let all = [kept(&opened, 1).await, kept(&opened, 2).await].concat();
        all.iter().filter(|at| **at < NOW.0 + DAY).count()
    };
    // A clock that is years ahead for one look.
    ledger.commit(lines(1, NOW.0 + 2000 * DAY, 64)).await.unwrap();
    assert_eq!(old().await, 2000 - 128);
    ledger.commit(lines(1, NOW.0 + 1000, 640)).await.unwrap();
    assert_eq!(old().await, 2000 - 128 + 640, "set right again, it takes no more");
    // Time that really passes, while one store alone has news.
    ledger.commit(lines(1, NOW.0 + 91 * DAY, 2000)).await.unwrap();
    assert_eq!(old().await, 0, "of both stores");
    assert_eq!(gone(&opened, 1).await + gone(&opened, 2).await, 2000 + 640);
    assert!(kept(&opened, 1).await.len() >= 2000);
    opened.writer.close_ledger().await;
}

/// The ids of all lines, oldest first.
fn line_ids(place: &TestStateDir) -> Vec<i64> {
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    let mut ids = sqlite.prepare("SELECT id FROM history ORDER BY id").unwrap();
    ids.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_id_of_a_line_is_never_reused() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1).add_history(uuid(1), entry(NOW.0))).await.unwrap();
    opened.ledger.commit(added(2)).await.unwrap();
    opened.ledger.commit(lines(2, NOW.0, 3)).await.unwrap();
    let used = line_ids(&place);
    // The removed store has the newest line, and the daemon is restarted before the next one.
    opened.ledger.commit(LedgerChange::new().remove_store(uuid(2), removed(NOW.0))).await.unwrap();
    opened.writer.close_ledger().await;
    let opened = place.open();
    opened.ledger.commit(lines(1, NOW.0, 1)).await.unwrap();
    let newest = *line_ids(&place).last().unwrap();
    assert!(newest > *used.last().unwrap(), "{newest} after {used:?}");
    // The last line of all.
    opened.ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await.unwrap();
    assert!(line_ids(&place).is_empty());
    opened.ledger.commit(added(1).add_history(uuid(1), entry(NOW.0))).await.unwrap();
    assert!(line_ids(&place)[0] > newest);
    opened.writer.close_ledger().await;
}

/// Returns the number before these words of the operations manual, in bytes.
fn stated_bytes(words: &str) -> u64 {
    let manual = include_str!("../../../docs/operations.md");
    let (before, _) = manual.split_once(&format!(" MB for a store {words}")).unwrap();
    let megabytes: u64 = before.rsplit(' ').next().unwrap().parse().unwrap();
    megabytes * 1_000_000
}

/// Returns one of the lines of a day: mostly figures of a store that stays connected, or the
/// attempts of one that fails all the time.
fn line_of_a_year(line: i64, at: i64, is_failing: bool) -> HistoryEntry {
    let event = match (is_failing, line % 8) {
        (true, 1 | 3 | 5) => HistoryEvent::StatusChanged {
            old: Status::Connecting,
            new: Status::Disconnected,
            failure: Some(failure()),
        },
        (true, 0 | 2 | 4 | 6) => {
            HistoryEvent::AttemptStarted { cause: Cause::Monitor, tags: Tags::default() }
        }
        _ => HistoryEvent::SpaceMeasured(MeasuredSpace {
            capacity: Capacity::new(40 << 40, (9 << 40) + at.unsigned_abs()).unwrap(),
            inodes: Some(InodeCounts { total: 1 << 31, available: 1 << 30 }),
        }),
    };
    HistoryEntry { event, ..entry(at) }
}

/// A year of one store: it stays connected, and its figures are recorded every 10 minutes. Then it
/// fails for so long that its history is the longest one.
#[tokio::test]
async fn a_year_of_one_store_stays_within_the_stated_sizes() {
    const CONNECTED_DAYS: i64 = 270;
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    let mut sizes = Vec::new();
    for day in 0..365 {
        let is_failing = day >= CONNECTED_DAYS;
        let lines = if is_failing { 1120 } else { 144 };
        let of_day = figures(20_000 + day, 40);
        let mut change = LedgerChange::new().add_capacity(uuid(1), of_day, store(1).mount);
        for line in 0..lines {
            let at = NOW.0 + day * DAY + line * DAY / lines;
            change = change.add_history(uuid(1), line_of_a_year(line, at, is_failing));
        }
        ledger.commit(change).await.unwrap();
        sizes.push(fs::metadata(place.ledger()).unwrap().len());
    }
    let lines = kept(&opened, 1).await.len();
    opened.writer.close_ledger().await;
    assert!((99_000..100_200).contains(&lines), "{lines}");
    // What a checkpoint has not yet written is at most the log.
    let (month_4, connected) = (sizes[120], sizes[269]);
    assert!(connected < month_4 + month_4 / 20, "{month_4}, then {connected}: it grows");
    let longest = fs::metadata(place.ledger()).unwrap().len();
    for (found, words) in
        [(connected, "that stays connected"), (longest, "with the longest history")]
    {
        let stated = stated_bytes(words);
        assert!(found <= stated, "{found} bytes {words}, {stated} stated");
        assert!(found > stated / 2, "{found} bytes {words}, {stated} stated");
    }
}
