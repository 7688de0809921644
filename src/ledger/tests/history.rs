//! History is bounded, and no clock empties it at one stroke.

use super::*;

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
