//! A reader that pages while lines are added, removed, pruned and restored: each missing range is
//! one gap, and no item is repeated.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A step of a ledger and its reader.
#[derive(Clone, Debug)]
enum Step {
    /// Lines of a store, some days later, or earlier after the clock was set back. A removed store
    /// is added again.
    Lines {
        store: u128,
        count: i64,
        days: i64,
    },
    Remove(u128),
    /// The reader gets one page.
    Read(u32),
    /// The daemon is restarted with a copy.
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lines = (1..4_u128, 1..90_i64, prop_oneof![9 => 0..50_i64, 1 => -100..0_i64]);
    let step = prop_oneof![
        4 => lines.prop_map(|(store, count, days)| Step::Lines { store, count, days }),
        1 => (1..4_u128).prop_map(Step::Remove),
        2 => (1..60_u32).prop_map(Step::Read),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..30)
}

/// A reader that pages from the first position on.
struct PagingReader {
    position: EventCursor,
    /// The id of each event that it got.
    got: BTreeSet<u64>,
    /// The id of each gap that it got.
    gaps: BTreeSet<u64>,
    /// The id of each gap of a restore.
    restored: BTreeSet<u64>,
    last: u64,
}

impl PagingReader {
    /// Gets one page. Returns true if it is the last one.
    async fn read(&mut self, ledger: &Ledger, limit: u32) -> bool {
        let page = page(ledger, EventQuery { limit, ..after(self.position) }).await;
        for item in &page.items {
            let id = item_cursor(item).id;
            assert!(id > self.last, "{item:?} is not after {}", self.last);
            self.last = id;
            let seen = match item {
                EventItem::Event(_) => &mut self.got,
                EventItem::Gap(_, gap) => {
                    self.restored.extend((gap.cause == GapCause::Restored).then_some(id));
                    &mut self.gaps
                }
            };
            seen.insert(id);
        }
        assert!(page.next.id >= self.last);
        self.last = page.next.id;
        self.position = page.next;
        page.is_last
    }
}

/// Carries out the steps. Each missing line is behind one gap at the latest when the reader has
/// all, and no gap is at the position of an event.
async fn check_reader(steps: Vec<Step>) {
    const DAY: i64 = 24 * 3600 * 1000;
    let place = TestStateDir::new();
    let mut opened = place.open();
    let position = page(&opened.ledger, EventQuery::default()).await.next;
    let mut start = EventCursor { id: 0, ..position };
    let mut reader = PagingReader {
        position,
        got: BTreeSet::new(),
        gaps: BTreeSet::new(),
        restored: BTreeSet::new(),
        last: 0,
    };
    // The id that each restore has taken.
    let mut restores = Vec::new();
    let (mut served, mut now, mut is_set_back) = (BTreeSet::new(), 0, false);
    // The life of the store of each line. A store that is added again begins another one.
    let (mut lives, mut life_of) = (BTreeMap::<u128, u32>::new(), BTreeMap::new());
    for step in steps {
        let ledger = &opened.ledger;
        let owner = match step {
            Step::Lines { store, .. } | Step::Remove(store) => Some(store),
            Step::Read(_) | Step::Restore => None,
        };
        match step {
            Step::Lines { store, count, days } => {
                if served.insert(store) {
                    ledger.commit(added(store)).await.unwrap();
                }
                now += days * DAY;
                is_set_back |= days < 0;
                ledger.commit(lines(store, now..now + count)).await.unwrap();
                now += count;
            }
            Step::Remove(store) => {
                served.remove(&store);
                remove(ledger, store, now).await;
                now += 1;
            }
            Step::Read(limit) => drop(reader.read(ledger, limit).await),
            Step::Restore => {
                opened.writer.close_ledger().await;
                restore(&place, &fs::read(place.ledger()).unwrap());
                opened = place.open_at(Timestamp(now)).unwrap();
                let newest = page(&opened.ledger, after(start)).await.next;
                start = EventCursor { id: 0, ..newest };
                restores.push(newest_id(&opened.ledger, start).await);
            }
        }
        let Some(store) = owner else { continue };
        let newest = newest_id(&opened.ledger, start).await;
        let first = life_of.last_key_value().map_or(1, |(id, _)| id + 1);
        let life = lives.entry(store).or_default();
        life_of.extend((first..=newest).map(|id| (id, (store, *life))));
        *life += u32::from(!served.contains(&store));
    }
    let ledger = &opened.ledger;
    while !reader.read(ledger, 7).await {}
    for id in restores {
        let gap = reader.restored.range(id..).next();
        let gap = gap.unwrap_or_else(|| panic!("the restore {id} has no gap"));
        assert!(reader.got.range(id..).next().is_none_or(|next| gap < next), "{id}: {gap}");
    }
    for (id, life) in &life_of {
        if !reader.got.contains(id) {
            let is_of_life = |id: &&u64| life_of.get(id) == Some(life);
            let next_event = reader.got.range(id..).find(is_of_life);
            let gap = reader.gaps.range(id..).next();
            let gap = gap.unwrap_or_else(|| panic!("{id} is missing without a gap"));
            assert!(next_event.is_none_or(|next| gap < next), "{id}: {gap} {next_event:?}");
        }
    }
    assert!(reader.gaps.is_disjoint(&reader.got));
    for store in [None, Some(uuid(1)), Some(uuid(2))] {
        let now = (!is_set_back).then_some(now);
        check_items(ledger, EventQuery { store, ..after(start) }, now).await;
    }
    opened.writer.close_ledger().await;
}

/// Returns the newest id that a line ever had.
async fn newest_id(ledger: &Ledger, start: EventCursor) -> u64 {
    page(ledger, after(EventCursor { id: u64::MAX, ..start })).await.next.id
}

/// A reader gets the same items however the pages are cut, from any item on, for a kind, and, if
/// the clock was never set back, from any time until `now` on.
async fn check_items(ledger: &Ledger, query: EventQuery, now: Option<i64>) {
    let (all, _) = follow_items(ledger, query.clone()).await;
    for limit in [1, 3, 50] {
        let cut = EventQuery { limit, ..query.clone() };
        assert_eq!(follow_items(ledger, cut).await.0, all, "{limit}");
    }
    for (index, item) in all.iter().enumerate().step_by(5) {
        let rest = EventQuery { after: Some(item_cursor(item)), limit: 4, ..query.clone() };
        assert_eq!(follow_items(ledger, rest).await.0, all[index + 1..]);
    }
    let (events, all_gaps) = split(&all);
    let kinds = vec![EventKind::Removed];
    let removals = EventQuery { kinds, limit: 1, ..query.clone() };
    let (removals, same_gaps, _) = follow(ledger, removals).await;
    assert_eq!(same_gaps, all_gaps);
    let is_removal = |event: &&RecordedEvent| event.entry.event.kind() == EventKind::Removed;
    assert!(removals.iter().eq(events.iter().filter(is_removal)));
    for since in now.into_iter().flat_map(|now| [0, now / 3, now / 2, now]) {
        let position = ledger.position_before(Timestamp(since)).await.unwrap();
        let query = EventQuery { after: Some(position), ..query.clone() };
        let (found, gaps, _) = follow(ledger, query).await;
        assert!(found.iter().eq(events.iter().filter(|event| event.entry.at.0 >= since)));
        assert!(gaps.iter().all(|gap| gap.until >= Some(Timestamp(since))), "{since}: {gaps:?}");
        let is_since = |gap: &&EventGap| {
            gap.cause == GapCause::Restored && gap.until >= Some(Timestamp(since))
        };
        assert!(gaps.iter().filter(is_since).eq(all_gaps.iter().filter(is_since)), "{since}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_missing_range_is_one_gap_and_no_item_is_repeated(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_reader(steps));
    }
}
