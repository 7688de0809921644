//! Events of all stores: in order, without a repetition, and with every gap reported once.

mod property;

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::ledger::{Ledger, LedgerCopy};
use crate::lifecycle::{EventItem, EventPage, EventQuery, RecordedEvent};
use crate::model::{EventCursor, EventGap, EventKind, GapCause, LedgerGeneration};

fn after(position: EventCursor) -> EventQuery {
    EventQuery { after: Some(position), limit: 100, ..EventQuery::default() }
}

async fn page(ledger: &Ledger, query: EventQuery) -> EventPage {
    ledger.events_after(query).await.unwrap()
}

/// Splits the items of pages.
fn split(items: &[EventItem]) -> (Vec<RecordedEvent>, Vec<EventGap>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            EventItem::Event(event) => events.push(event.clone()),
            EventItem::Gap(_, gap) => gaps.push(*gap),
        }
    }
    (events, gaps)
}

fn item_cursor(item: &EventItem) -> EventCursor {
    match item {
        EventItem::Event(event) => event.cursor,
        EventItem::Gap(cursor, _) => *cursor,
    }
}

fn page_events(page: &EventPage) -> Vec<RecordedEvent> {
    split(&page.items).0
}

fn page_gap(page: &EventPage) -> Option<EventGap> {
    let gaps = split(&page.items).1;
    assert!(gaps.len() <= 1, "{gaps:?}");
    gaps.first().copied()
}

/// Reads to the end. Returns the items and the last position.
async fn follow_items(ledger: &Ledger, mut query: EventQuery) -> (Vec<EventItem>, EventCursor) {
    let mut items = Vec::new();
    loop {
        let page = page(ledger, query.clone()).await;
        items.extend(page.items);
        if page.is_last {
            return (items, page.next);
        }
        query.after = Some(page.next);
    }
}

/// Reads to the end. Returns the events, the gaps, and the last position.
async fn follow(
    ledger: &Ledger,
    query: EventQuery,
) -> (Vec<RecordedEvent>, Vec<EventGap>, EventCursor) {
    let (items, end) = follow_items(ledger, query).await;
    let (events, gaps) = split(&items);
    (events, gaps, end)
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
async fn the_newest_events_of_a_store_are_found_below_those_of_others() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(added(2)).await.unwrap();
    opened.ledger.commit(lines(1, 0..3)).await.unwrap();
    opened.ledger.commit(lines(2, 3..400)).await.unwrap();
    drop(opened);
    let newest = |store: Option<u128>, count| {
        let items = LedgerCopy::newest_events(&place.ledger(), store.map(uuid), count).unwrap();
        times(&split(&items).0)
    };
    assert_eq!(newest(Some(1), 200), [0, 1, 2]);
    assert_eq!(newest(Some(1), 2), [1, 2]);
    assert_eq!(newest(Some(2), 200), (200..400).collect::<Vec<_>>());
    assert_eq!(newest(None, 398), (2..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_all_stores_come_in_order_in_pages_and_by_store_and_kind() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let empty = page(ledger, EventQuery::default()).await;
    assert_eq!((empty.items.len(), empty.is_last), (0, true));
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
    assert_eq!(events.last().unwrap().cursor, end);
    // A reader that comes back with the cursor of any event gets the rest.
    for event in events.iter().step_by(50) {
        let (rest, gaps, _) = follow(ledger, after(event.cursor)).await;
        assert_eq!((times(&rest), gaps), ((event.entry.at.0 + 1..=300).collect(), vec![]));
    }
    // A page has no more than 256 lines, whatever the limit is.
    let query = EventQuery { limit: u32::MAX, ..after(empty.next) };
    let first = page(ledger, query).await;
    assert_eq!((first.items.len(), first.is_last), (256, false));

    let (of_two, ..) =
        follow(ledger, EventQuery { store: Some(uuid(2)), ..after(empty.next) }).await;
    let expected: Vec<_> = (0..300).filter(|at| at % 3 == 0).chain([300]).collect();
    assert_eq!(times(&of_two), expected);
    let kinds = vec![EventKind::Condition, EventKind::Removed];
    let query = EventQuery { kinds, limit: 10, ..after(empty.next) };
    // The selection reads as many lines as a page may have, and its position moves on without an
    // event.
    let nothing = page(ledger, query.clone()).await;
    assert_eq!((nothing.items.len(), nothing.next.id, nothing.is_last), (0, 256, false));
    assert_eq!(times(&follow(ledger, query).await.0), [300]);
    // The limit is one of events: it does not bound the lines that are searched for them.
    let kinds = vec![EventKind::Condition];
    let query = EventQuery { kinds, limit: 1, after: Some(nothing.next), ..EventQuery::default() };
    let found = page(ledger, query).await;
    assert_eq!((times(&page_events(&found)), found.is_last), (vec![300], true));
    let kind = events[0].entry.event.kind();
    let query = EventQuery { kinds: vec![kind], limit: 2, ..after(empty.next) };
    let two = page(ledger, query).await;
    assert_eq!((times(&page_events(&two)), two.next.id, two.is_last), (vec![0, 1], 2, false));
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_removal_outlives_its_store_and_its_lines_are_a_gap() {
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

    let (rest, gaps, _) = follow(ledger, after(read_all)).await;
    assert_eq!((times(&rest), gaps), (vec![20, 30, 31], vec![]), "nothing was missed");
    assert_eq!((rest[0].store, rest[0].entry.event.kind()), (uuid(1), EventKind::Removed));
    // A reader that had read a part of the lines.
    for (read, of_store, missing, expected) in [
        (4, None, Some(pruned(9)), [(0..10).collect::<Vec<_>>(), vec![20, 30, 31]].concat()),
        (4, Some(uuid(1)), Some(pruned(9)), vec![20]),
        (4, Some(uuid(2)), None, [(0..10).collect::<Vec<_>>(), vec![30, 31]].concat()),
        (9, None, None, [(0..10).collect::<Vec<_>>(), vec![20, 30, 31]].concat()),
    ] {
        let query = EventQuery { store: of_store, limit: 3, ..after(events[read].cursor) };
        let (rest, gaps, _) = follow(ledger, query).await;
        assert_eq!(gaps, Vec::from_iter(missing), "{read} {of_store:?}");
        assert_eq!(times(&rest), expected, "{read} {of_store:?}");
    }
    // A reader of the oldest event on is interested in the events that exist.
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
    assert_eq!(page(ledger, after(of_one[1].cursor)).await.items, []);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn pruned_lines_are_one_gap_with_the_time_of_the_newest_of_them() {
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
        let query = EventQuery { store, limit: 1, ..after(start) };
        let (events, gaps, _) = follow(ledger, query).await;
        assert_eq!(gaps, [pruned(until)], "{store:?}");
        let expected = if store == Some(uuid(1)) { vec![] } else { newest.to_vec() };
        assert_eq!(times(&events), expected, "{store:?}");
    }
    // A cursor behind the pruned lines has no gap, and one among them has.
    let at = |id| EventCursor { id, ..start };
    assert_eq!(page_gap(&page(ledger, after(at(59))).await), Some(pruned(59)));
    assert_eq!(page_gap(&page(ledger, after(at(60))).await), None);
    let query = EventQuery { store: Some(uuid(1)), ..after(at(55)) };
    assert_eq!(page_gap(&page(ledger, query).await), None);
    // From a time on, only lines that are missing since then are a gap.
    for (since, gap) in [(30, Some(pruned(59))), (70, None), (91 * DAY + 2, None)] {
        let position = ledger.position_before(Timestamp(since)).await.unwrap();
        let page = page(ledger, after(position)).await;
        let expected: Vec<_> = newest.into_iter().filter(|at| *at >= since).collect();
        assert_eq!((page_gap(&page), times(&page_events(&page))), (gap, expected), "{since}");
    }
    // The number in the health of the store counts as before.
    assert_eq!(ledger.history(uuid(1), 9).await.unwrap().pruned, 50);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_time_is_found_among_removals_too() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let since = async |time| {
        let position = ledger.position_before(Timestamp(time)).await.unwrap();
        times(&follow(ledger, after(position)).await.0)
    };
    // The history has no line.
    for (n, at) in [(1, 10), (2, 20)] {
        ledger.commit(added(n)).await.unwrap();
        remove(ledger, n, at).await;
    }
    assert_eq!((since(5).await, since(20).await), (vec![10, 20], vec![20]));
    assert!(since(21).await.is_empty());
    ledger.commit(added(3)).await.unwrap();
    ledger.commit(lines(3, 30..32)).await.unwrap();
    assert_eq!((since(15).await, since(25).await), (vec![20, 30, 31], vec![30, 31]));
    ledger.commit(added(4)).await.unwrap();
    remove(ledger, 4, 40).await;
    assert_eq!((since(31).await, since(35).await), (vec![31, 40], vec![40]));
    assert!(since(41).await.is_empty());
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn removals_are_bounded_and_pruned_ones_are_a_gap() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let start = page(ledger, EventQuery::default()).await.next;
    for at in 0..1003 {
        let change = added(1).remove_store(uuid(1), removed(at));
        ledger.commit(change).await.unwrap();
    }
    let (events, gaps, _) = follow(ledger, after(start)).await;
    assert_eq!(times(&events), (3..1003).collect::<Vec<_>>());
    assert_eq!(gaps, [pruned(2)]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_removal_that_is_pruned_after_a_later_one_hides_no_gap() {
    const DAY: i64 = 24 * 3600 * 1000;
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let start = page(ledger, EventQuery::default()).await.next;
    // The clock is ahead at the first removal. The third one prunes the second one, and the fourth
    // one the first one.
    for at in [1000 * DAY, 10, 1050 * DAY, 1091 * DAY] {
        let change = added(1).remove_store(uuid(1), removed(at));
        ledger.commit(change).await.unwrap();
    }
    let first = EventCursor { id: start.id + 1, ..start };
    let (events, gaps, _) = follow(ledger, after(first)).await;
    assert_eq!((times(&events), gaps), (vec![1050 * DAY, 1091 * DAY], vec![pruned(10)]));
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_cursor_that_is_unknown_is_a_gap_and_repeats_nothing() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(lines(1, 0..5)).await.unwrap();
    let end = follow(ledger, EventQuery::default()).await.2;
    let ahead = page(ledger, after(EventCursor { id: 99, ..end })).await;
    let gap = EventGap { cause: GapCause::Unknown, count: None, until: None };
    assert_eq!((page_gap(&ahead), ahead.items.len(), ahead.next), (Some(gap), 1, end));
    let other = LedgerGeneration::from_u128(7);
    assert_ne!(other, end.generation);
    let foreign = page(ledger, after(EventCursor { generation: other, id: 3 })).await;
    let gap = EventGap { cause: GapCause::Restored, count: None, until: None };
    assert_eq!(page_gap(&foreign), Some(gap));
    assert_eq!((times(&page_events(&foreign)), foreign.next), ((0..5).collect(), end));
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_damaged_line_is_a_gap_and_does_not_stop_its_readers() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(added(1)).await.unwrap();
    opened.ledger.commit(lines(1, 0..5)).await.unwrap();
    let start = EventCursor { id: 0, ..page(&opened.ledger, EventQuery::default()).await.next };
    opened.writer.close_ledger().await;
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("UPDATE history SET at = 9 WHERE id IN (3, 5)").unwrap();
    drop(sqlite);
    let opened = place.open();
    let (events, gaps, end) = follow(&opened.ledger, after(start)).await;
    let damaged = EventGap { cause: GapCause::Damaged, count: Some(1), until: None };
    assert_eq!((times(&events), gaps), (vec![0, 1, 3], vec![damaged; 2]));
    assert_eq!(end.id, 5);
    opened.writer.close_ledger().await;
}

/// Replaces the ledger as the documentation says. The daemon sees another file.
fn restore(place: &TestStateDir, backup: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(place.path().join(format!("ledger.sqlite{suffix}")));
    }
    let copy = place.path().join("copy");
    fs::write(&copy, backup).unwrap();
    fs::rename(copy, place.ledger()).unwrap();
}

#[tokio::test]
async fn a_restore_is_one_gap_for_each_reader_that_begins_before_it() {
    let place = TestStateDir::new();
    let opened = place.open();
    for n in [1, 2, 3] {
        opened.ledger.commit(added(n)).await.unwrap();
    }
    opened.ledger.commit(lines(1, 0..3)).await.unwrap();
    opened.ledger.commit(lines(2, 3..5)).await.unwrap();
    opened.writer.close_ledger().await;
    let backup = fs::read(place.ledger()).unwrap();
    let opened = place.open();
    let (.., old) = follow(&opened.ledger, EventQuery::default()).await;
    opened.ledger.commit(lines(1, 10..14)).await.unwrap();
    opened.writer.close_ledger().await;
    restore(&place, &backup);
    let opened = place.open_at(Timestamp(20)).unwrap();
    let ledger = &opened.ledger;
    let gap = EventGap { cause: GapCause::Restored, count: None, until: Some(Timestamp(20)) };
    // No line follows yet.
    let (_, gaps, end) = follow(ledger, EventQuery::default()).await;
    assert_eq!((gaps, end.id), (vec![gap], old.id + 1));
    ledger.commit(lines(1, 30..33)).await.unwrap();
    ledger.commit(lines(2, 33..35)).await.unwrap();

    let since = async |time| Some(ledger.position_before(Timestamp(time)).await.unwrap());
    let at = |id| Some(EventCursor { id, ..end });
    let of_old = |id| Some(EventCursor { id, ..old });
    let (before, behind) = ((0..5).collect::<Vec<i64>>(), (30..35).collect::<Vec<i64>>());
    for (position, gaps, expected) in [
        (None, 1, [&before[..], &behind].concat()),
        (since(0).await, 1, [&before[..], &behind].concat()),
        (since(4).await, 1, [&before[4..], &behind].concat()),
        (since(20).await, 1, behind.clone()),
        (since(21).await, 0, behind.clone()),
        (since(31).await, 0, behind[1..].to_vec()),
        (at(3), 1, [&before[3..], &behind].concat()),
        (at(5), 1, behind.clone()),
        (at(6), 0, behind.clone()),
        (of_old(3), 1, [&before[3..], &behind].concat()),
        (of_old(5), 1, behind.clone()),
        (of_old(9), 1, behind.clone()),
    ] {
        for limit in [1, 2, 100] {
            let query = EventQuery { after: position, limit, ..EventQuery::default() };
            let (events, found, _) = follow(ledger, query.clone()).await;
            assert_eq!(found, vec![gap; gaps], "{position:?} {limit}");
            assert_eq!(times(&events), expected, "{position:?} {limit}");
            let kinds = EventQuery { kinds: vec![EventKind::Removed], ..query.clone() };
            assert_eq!(follow(ledger, kinds).await.1, found, "{position:?} {limit}");
            for n in [1, 2] {
                let of_store = EventQuery { store: Some(uuid(n)), ..query.clone() };
                assert_eq!(follow(ledger, of_store).await.1, found, "{position:?} {limit} {n}");
            }
        }
    }
    // A gap of another cause that follows does not hide it.
    remove(ledger, 1, 40).await;
    let cursor = EventCursor { id: 0, ..end };
    let (items, _) = follow_items(ledger, EventQuery { limit: 1, ..after(cursor) }).await;
    let ids: Vec<_> = items.iter().map(|item| item_cursor(item).id).collect();
    assert_eq!(ids, [4, 5, 6, 9, 10, 11, 12]);
    assert_eq!((&split(&items).1[..], ids.len()), (&[gap, pruned(32)][..], 7));
    opened.writer.close_ledger().await;
}

/// Ten thousand events across restarts, a removed store and two restored copies: each event that a
/// reader can get is read once, and each gap is reported.
#[tokio::test]
async fn a_reader_across_restarts_and_restored_copies_repeats_nothing_and_gets_every_gap() {
    let place = TestStateDir::new();
    let mut opened = place.open();
    for n in 1..=3 {
        opened.ledger.commit(added(n)).await.unwrap();
    }
    let (mut seen, mut gaps) = (BTreeSet::new(), Vec::new());
    let mut cursor = page(&opened.ledger, EventQuery::default()).await.next;
    let (mut at, mut backup, mut lost) = (0, None, 0);
    for round in 0..10 {
        // The daemon is restarted, and the reader with it.
        opened.writer.close_ledger().await;
        match round {
            3 => backup = Some(fs::read(place.ledger()).unwrap()),
            6 | 8 => restore(&place, backup.as_ref().unwrap()),
            _ => {}
        }
        opened = place.open();
        let ledger = &opened.ledger;
        ledger.commit(lines(1 + u128::from(round % 2 == 0), at..at + 1000)).await.unwrap();
        at += 1000;
        if round == 7 {
            // No reader gets the lines of this round. The next restore loses them.
            lost += 1000;
            continue;
        }
        if round == 9 {
            remove(ledger, 3, at).await;
            at += 1;
        }
        let (events, missing, end) = follow(ledger, after(cursor)).await;
        for event in events {
            assert!(seen.insert(event.entry.at.0), "{round}: {event:?} is repeated");
        }
        gaps.extend(missing.into_iter().map(|gap| (round, gap.cause)));
        cursor = end;
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
        assert_eq!((times(&events), *newest.borrow()), (vec![at], next.id));
        end = next;
    }
    ledger.check_writable().await.unwrap();
    ledger.commit(LedgerChange::new().save_store(store(1))).await.unwrap();
    // The answer of a later request shows that the thread is done with both.
    follow(ledger, EventQuery::default()).await;
    assert!(!newest.has_changed().unwrap());
    remove(ledger, 1, 9).await;
    newest.changed().await.unwrap();
    assert_eq!(*newest.borrow(), end.id + 1);
    opened.writer.close_ledger().await;
}
