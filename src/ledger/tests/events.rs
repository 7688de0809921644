//! Events of all stores: in order, without a repetition, and with every gap told.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::ledger::Ledger;
use crate::lifecycle::{EventPage, EventPosition, EventQuery, RecordedEvent};
use crate::model::{EventCursor, EventGap, EventKind, GapCause, LedgerGeneration};

fn after(position: impl Into<EventPosition>) -> EventQuery {
    EventQuery { after: Some(position.into()), limit: 100, ..EventQuery::default() }
}

async fn page(ledger: &Ledger, query: EventQuery) -> EventPage {
    ledger.events_after(query).await.unwrap()
}

/// Reads to the end. Returns the events, the gaps, and the last position.
async fn follow(
    ledger: &Ledger,
    mut query: EventQuery,
) -> (Vec<RecordedEvent>, Vec<EventGap>, EventPosition) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let page = page(ledger, query.clone()).await;
        gaps.extend(page.gap);
        events.extend(page.events);
        if page.is_last {
            return (events, gaps, page.next);
        }
        query.after = Some(page.next);
    }
}

fn times(events: &[RecordedEvent]) -> Vec<i64> {
    events.iter().map(|event| event.entry.at.0).collect()
}

fn lines(n: u128, times: std::ops::Range<i64>) -> LedgerChange {
    times.fold(LedgerChange::new(), |change, at| change.add_history(uuid(n), entry(at)))
}

async fn remove(ledger: &Ledger, n: u128, at: i64) {
    ledger.commit(LedgerChange::new().remove_store(uuid(n), removed(at))).await.unwrap();
}

fn pruned(until: i64) -> EventGap {
    EventGap { cause: GapCause::Pruned, count: None, until: Some(Timestamp(until)) }
}

#[tokio::test]
async fn events_of_all_stores_come_in_order_in_pages_and_by_store_and_kind() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let empty = page(ledger, EventQuery::default()).await;
    assert_eq!((empty.events.len(), empty.gap, empty.is_last), (0, None, true));
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(added(2)).await.unwrap();
    for at in 0..300 {
        ledger.commit(lines(1 + u128::from(at % 3 == 0), at..at + 1)).await.unwrap();
    }
    let condition = HistoryEvent::ConditionChanged { condition: Condition::Full, active: true };
    let special = HistoryEntry { event: condition, ..entry(300) };
    ledger.commit(LedgerChange::new().add_history(uuid(2), special)).await.unwrap();

    let (events, gaps, end) = follow(ledger, after(empty.next)).await;
    assert_eq!((times(&events), gaps), ((0..=300).collect(), vec![]));
    assert_eq!(events.last().unwrap().cursor, end.cursor);
    // A reader that comes back with the cursor of any event gets the rest.
    for event in events.iter().step_by(50) {
        let (rest, gaps, _) = follow(ledger, after(event.cursor)).await;
        assert_eq!((times(&rest), gaps), ((event.entry.at.0 + 1..=300).collect(), vec![]));
    }
    // A page has no more than 256 lines, whatever the limit is.
    let query = EventQuery { limit: u32::MAX, ..after(empty.next) };
    let first = page(ledger, query).await;
    assert_eq!((first.events.len(), first.is_last), (256, false));

    let (of_two, ..) =
        follow(ledger, EventQuery { store: Some(uuid(2)), ..after(empty.next) }).await;
    let expected: Vec<_> = (0..300).filter(|at| at % 3 == 0).chain([300]).collect();
    assert_eq!(times(&of_two), expected);
    let kinds = vec![EventKind::Condition, EventKind::Removed];
    let query = EventQuery { kinds, limit: 10, ..after(empty.next) };
    // The selection reads page by page, and its position moves on without an event.
    let nothing = page(ledger, query.clone()).await;
    assert_eq!((nothing.events.len(), nothing.is_last), (0, false));
    assert_eq!(times(&follow(ledger, query).await.0), [300]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_removal_outlives_its_store_and_tells_who_missed_its_lines() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let start = page(ledger, EventQuery::default()).await.next;
    for n in [1, 2] {
        ledger.commit(added(n)).await.unwrap();
        ledger.commit(lines(n, 0..10)).await.unwrap();
    }
    let (events, _, read_all) = follow(ledger, after(start)).await;
    remove(ledger, 1, 20).await;
    ledger.commit(lines(2, 30..32)).await.unwrap();

    let (rest, gaps, _) = follow(ledger, after(read_all.cursor)).await;
    assert_eq!((times(&rest), gaps), (vec![20, 30, 31], vec![]), "nothing was missed");
    assert_eq!((rest[0].store, rest[0].entry.event.kind()), (uuid(1), EventKind::Removed));
    // A reader that had read a part of the lines.
    for (read, of_store, told, expected) in [
        (4, None, Some(pruned(9)), [(0..10).collect::<Vec<_>>(), vec![20, 30, 31]].concat()),
        (4, Some(uuid(1)), Some(pruned(9)), vec![20]),
        (4, Some(uuid(2)), None, [(0..10).collect::<Vec<_>>(), vec![30, 31]].concat()),
        (9, None, None, [(0..10).collect::<Vec<_>>(), vec![20, 30, 31]].concat()),
    ] {
        let query = EventQuery { store: of_store, limit: 3, ..after(events[read].cursor) };
        let (rest, gaps, _) = follow(ledger, query).await;
        assert_eq!(gaps, Vec::from_iter(told), "{read} {of_store:?}");
        assert_eq!(times(&rest), expected, "{read} {of_store:?}");
    }
    // Who begins with the oldest event asks for what there is.
    let (all, gaps, _) = follow(ledger, EventQuery { limit: 3, ..EventQuery::default() }).await;
    assert_eq!((all.len(), gaps), (13, vec![]));
    // The store comes back, and the ids go on.
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(lines(1, 40..41)).await.unwrap();
    let (of_one, ..) =
        follow(ledger, EventQuery { store: Some(uuid(1)), limit: 9, ..EventQuery::default() })
            .await;
    assert_eq!(times(&of_one), [20, 40]);
    assert!(of_one[1].cursor.id > rest[2].cursor.id);
    // The removal of a store that is absent is no event.
    remove(ledger, 7, 50).await;
    assert_eq!(page(ledger, after(of_one[1].cursor)).await.events, []);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn pruned_lines_are_told_once_with_the_time_of_the_newest_of_them() {
    const DAY: i64 = 24 * 3600 * 1000;
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(added(2)).await.unwrap();
    let start = page(ledger, EventQuery::default()).await.next;
    ledger.commit(lines(1, 0..50)).await.unwrap();
    ledger.commit(lines(2, 50..60)).await.unwrap();
    // With the 64th line, what is older than 90 days goes.
    ledger.commit(lines(2, 91 * DAY..91 * DAY + 4)).await.unwrap();
    let newest = [91 * DAY, 91 * DAY + 1, 91 * DAY + 2, 91 * DAY + 3];
    for (store, until) in [(None, 59), (Some(uuid(1)), 49), (Some(uuid(2)), 59)] {
        let query = EventQuery { store, limit: 1, ..after(start.cursor) };
        let (events, gaps, _) = follow(ledger, query).await;
        assert_eq!(gaps, [pruned(until)], "{store:?}");
        let expected = if store == Some(uuid(1)) { vec![] } else { newest.to_vec() };
        assert_eq!(times(&events), expected, "{store:?}");
    }
    // A cursor behind the pruned lines has no gap, and one among them has.
    let at = |id| EventCursor { id, ..start.cursor };
    assert_eq!(page(ledger, after(at(59))).await.gap, Some(pruned(59)));
    assert_eq!(page(ledger, after(at(60))).await.gap, None);
    assert_eq!(page(ledger, EventQuery { store: Some(uuid(1)), ..after(at(55)) }).await.gap, None);
    // From a time on, only lines that are missing since then are a gap.
    for (since, gap) in [(30, Some(pruned(59))), (70, None), (91 * DAY + 2, None)] {
        let position = ledger.position_before(Timestamp(since)).await.unwrap();
        let page = page(ledger, after(position)).await;
        let expected: Vec<_> = newest.into_iter().filter(|at| *at >= since).collect();
        assert_eq!((page.gap, times(&page.events)), (gap, expected), "{since}");
    }
    // The number in the health of the store counts as before.
    assert_eq!(ledger.history(uuid(1), 9).await.unwrap().pruned, 50);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn removals_are_bounded_and_pruned_ones_are_told() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let start = page(ledger, EventQuery::default()).await.next;
    for at in 0..1003 {
        let change = added(1).remove_store(uuid(1), removed(at));
        ledger.commit(change).await.unwrap();
    }
    let (events, gaps, _) = follow(ledger, after(start.cursor)).await;
    assert_eq!(times(&events), (3..1003).collect::<Vec<_>>());
    assert_eq!(gaps, [pruned(2)]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_cursor_that_is_unknown_is_a_gap_and_repeats_nothing() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(lines(1, 0..5)).await.unwrap();
    let end = follow(ledger, EventQuery::default()).await.2.cursor;
    let ahead = page(ledger, after(EventCursor { id: 99, ..end })).await;
    let gap = EventGap { cause: GapCause::Unknown, count: None, until: None };
    assert_eq!((ahead.gap, ahead.events.len(), ahead.next.cursor), (Some(gap), 0, end));
    let other = LedgerGeneration::from_u128(7);
    assert_ne!(other, end.generation);
    let foreign = page(ledger, after(EventCursor { generation: other, id: 3 })).await;
    let gap = EventGap { cause: GapCause::Restored, count: None, until: None };
    assert_eq!((foreign.gap, times(&foreign.events)), (Some(gap), (0..5).collect()));
    assert_eq!(foreign.next.cursor, end);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_damaged_line_is_a_gap_and_does_not_stop_its_readers() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(lines(1, 0..5)).await.unwrap();
    let start =
        EventCursor { id: 0, ..page(&opened.ledger, EventQuery::default()).await.next.cursor };
    opened.writer.close_ledger().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("UPDATE history SET at = 9 WHERE id IN (3, 5)").unwrap();
    drop(sqlite);
    let opened = place.open();
    let (events, gaps, end) = follow(&opened.ledger, after(start)).await;
    let damaged = EventGap { cause: GapCause::Damaged, count: Some(1), until: None };
    assert_eq!((times(&events), gaps), (vec![0, 1, 3], vec![damaged; 2]));
    assert_eq!(end.cursor.id, 5);
    opened.writer.close_ledger().await;
}

/// Ten thousand events across restarts, a removed store and two restored copies: each event that a
/// reader can get is read once, and each gap is told.
#[tokio::test]
async fn a_reader_across_restarts_and_restored_copies_repeats_nothing_and_hears_of_every_gap() {
    let place = TestStateDir::new();
    let mut opened = place.open();
    for n in 1..=3 {
        opened.ledger.commit(added(n)).await.unwrap();
    }
    let (mut seen, mut gaps) = (BTreeSet::new(), Vec::new());
    let mut cursor = page(&opened.ledger, EventQuery::default()).await.next.cursor;
    let (mut at, mut backup, mut lost) = (0, None, 0);
    for round in 0..10 {
        // The daemon is restarted, and the reader with it.
        opened.writer.close_ledger().await;
        match round {
            3 => backup = Some(fs::read(place.ledger()).unwrap()),
            6 | 8 => {
                // The procedure of the documentation: the files are moved away.
                let away = place.path().join(format!("away-{round}"));
                fs::rename(place.ledger(), away).unwrap();
                for suffix in ["-wal", "-shm"] {
                    let _ = fs::remove_file(place.path().join(format!("ledger.sqlite{suffix}")));
                }
                fs::write(place.ledger(), backup.as_ref().unwrap()).unwrap();
            }
            _ => {}
        }
        opened = place.open();
        let ledger = &opened.ledger;
        ledger.commit(lines(1 + u128::from(round % 2 == 0), at..at + 1000)).await.unwrap();
        at += 1000;
        if round == 7 {
            // Nobody reads the lines of this round. The next restore loses them.
            lost += 1000;
            continue;
        }
        if round == 9 {
            remove(ledger, 3, at).await;
            at += 1;
        }
        let (events, told, end) = follow(ledger, after(cursor)).await;
        for event in events {
            assert!(seen.insert(event.entry.at.0), "{round}: {event:?} is repeated");
        }
        gaps.extend(told.into_iter().map(|gap| (round, gap.cause)));
        cursor = end.cursor;
    }
    assert_eq!(seen.len(), usize::try_from(at - lost).unwrap());
    assert_eq!(gaps, [(6, GapCause::Restored), (8, GapCause::Restored)]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_each_commit_with_events_and_by_no_other() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1).add_history(uuid(1), entry(0))).await.unwrap();
    let mut newest = ledger.subscribe_events();
    let (.., mut end) = follow(ledger, EventQuery::default()).await;
    // Without a reader the id was not followed.
    newest.changed().await.unwrap();
    for at in 1..4 {
        ledger.commit(lines(1, at..at + 1)).await.unwrap();
        newest.changed().await.unwrap();
        let (events, _, next) = follow(ledger, after(end)).await;
        assert_eq!((times(&events), *newest.borrow()), (vec![at], next.cursor.id));
        end = next;
    }
    ledger.check_writable().await.unwrap();
    ledger.commit(LedgerChange::new().save_store(store(1))).await.unwrap();
    // The answer of a later request shows that the thread is done with both.
    follow(ledger, EventQuery::default()).await;
    assert!(!newest.has_changed().unwrap());
    remove(ledger, 1, 9).await;
    newest.changed().await.unwrap();
    assert_eq!(*newest.borrow(), end.cursor.id + 1);
    opened.writer.close_ledger().await;
}
