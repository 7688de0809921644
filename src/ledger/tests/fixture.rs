//! Ledgers that earlier versions have written: this program reads every row of them exactly, and an
//! open changes nothing but the epoch.
//!
//! `fixtures/vN` holds the files of a state directory of format N: the database after a clean stop,
//! and the master key. Each key seals only the invented secrets of [`super::fixture_contents`].
//!
//! To make a fixture of a later format, run `LEDGER_FIXTURE=src/ledger/tests/fixtures/vN cargo test
//! --lib ledger::tests::fixture` with the program that introduces the format, before it is
//! released. Then make [`NEWEST`] that fixture. A fixture that has been checked in is never written
//! again: an older one must still lead to the same expected values.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::fixture_contents::*;
use super::*;
use crate::ledger::OutboxDepth;
use crate::ledger::open::migrations::schema_version;
use crate::lifecycle::{EventItem, EventQuery};
use crate::model::{CapacityDay, DayFigures, EventCursor, EventKind, GapCause, UtcDay};

/// The files of a fixture.
pub(super) struct Fixture {
    ledger: &'static [u8],
    master_key: &'static [u8],
}

const V1: Fixture = Fixture {
    ledger: include_bytes!("fixtures/v1/ledger.sqlite"),
    master_key: include_bytes!("fixtures/v1/master-key"),
};

const V2: Fixture = Fixture {
    ledger: include_bytes!("fixtures/v2/ledger.sqlite"),
    master_key: include_bytes!("fixtures/v2/master-key"),
};

const V3: Fixture = Fixture {
    ledger: include_bytes!("fixtures/v3/ledger.sqlite"),
    master_key: include_bytes!("fixtures/v3/master-key"),
};

const V4: Fixture = Fixture {
    ledger: include_bytes!("fixtures/v4/ledger.sqlite"),
    master_key: include_bytes!("fixtures/v4/master-key"),
};

const V5: Fixture = Fixture {
    ledger: include_bytes!("fixtures/v5/ledger.sqlite"),
    master_key: include_bytes!("fixtures/v5/master-key"),
};

/// The fixtures of older formats, with the number of each.
pub(super) const OLDER: [(i32, Fixture); 4] = [(1, V1), (2, V2), (3, V3), (4, V4)];

/// The fixture in the format of this program.
const NEWEST: Fixture = V5;

type Rows = BTreeMap<String, Vec<Vec<Value>>>;

/// All rows of all tables. The contents row is left out, because it changes with every other one.
fn rows(place: &TestStateDir) -> Rows {
    rows_of(&place.ledger())
}

pub(super) fn rows_of(ledger: &Path) -> Rows {
    let sqlite = Connection::open(ledger).unwrap();
    let mut tables = sqlite
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'contents'")
        .unwrap();
    let tables = tables.query_map([], |row| row.get(0)).unwrap();
    let read = |table: String| {
        let mut statement = sqlite.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = 0..statement.column_count();
        let row = |row: &rusqlite::Row<'_>| columns.clone().map(|column| row.get(column)).collect();
        let rows = statement.query_map([], row).unwrap();
        (table, rows.map(Result::unwrap).collect())
    };
    tables.map(Result::unwrap).map(read).collect()
}

/// Splits the facts about the ledger from all other rows.
fn facts_and_rows(place: &TestStateDir) -> (BTreeMap<String, Value>, Rows) {
    let mut rows = rows(place);
    let facts = rows.remove("meta").unwrap().into_iter().map(|fact| {
        let [Value::Text(key), value, Value::Blob(_)] = &fact[..] else { panic!("{fact:?}") };
        (key.clone(), value.clone())
    });
    (facts.collect(), rows)
}

fn text(text: impl ToString) -> Value {
    Value::Text(text.to_string())
}

fn versions(place: &TestStateDir) -> (i32, i32) {
    let sqlite = Connection::open(place.ledger()).unwrap();
    let id = sqlite.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
    (schema_version(&sqlite).unwrap(), id)
}

impl Fixture {
    pub(super) fn place(&self) -> TestStateDir {
        let place = TestStateDir::new();
        fs::write(place.ledger(), self.ledger).unwrap();
        let key = place.path().join("master-key");
        fs::write(&key, self.master_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        place
    }
}

fn exposed(credentials: &SshCredentials) -> [Option<&str>; 3] {
    let SshCredentials { password, private_key, passphrase } = credentials;
    [password, private_key, passphrase].map(|secret| secret.as_ref().map(Secret::expose_secret))
}

#[tokio::test]
async fn a_ledger_of_an_earlier_version_is_read_exactly() {
    let trials = vec![(TRIAL, trial_rejections())];
    let migrated = (vec![entry(NOW.0)], migrated_days(), 0);
    let newest = (second_history(), capacity_days(), 1);
    for (fixture, rejected, trials, jobs, hooks, of_v5) in [
        (V1, None, Vec::new(), Vec::new(), Vec::new(), migrated.clone()),
        (V2, Some(rejections()), trials.clone(), Vec::new(), Vec::new(), migrated.clone()),
        (V3, Some(rejections()), trials.clone(), stored_jobs(), Vec::new(), migrated.clone()),
        (V4, Some(rejections()), trials.clone(), stored_jobs(), stored_hooks(), migrated),
        (V5, Some(rejections()), trials, stored_jobs(), stored_hooks(), newest),
    ] {
        let (mut second_lines, days, removals) = of_v5;
        let place = fixture.place();
        let opened = place.open();
        assert_eq!((&opened.jobs, &opened.hooks), (&jobs, &hooks));
        for hook in hooks {
            let owed = opened.ledger.owed_hook(hook.job).await.unwrap().unwrap();
            assert_eq!(owed.hook.url.expose_secret(), super::hooks::URL);
        }
        assert_eq!(opened.epoch, Epoch(NOW.0.unsigned_abs() + 1));
        let position = Position::start_of(opened.epoch);
        let [one, two] = &opened.stores[..] else { panic!("{:?}", opened.stores) };
        assert_eq!((&one.store, one.stuck_worker), (&first_store(), Some(WORKER)));
        assert_eq!((&one.rejections, &two.rejections), (&rejected, &None));
        assert_eq!(one.durable, DurableRecord { position, ..first_standing() });
        assert_eq!((&two.store, two.stuck_worker), (&second_store(), None));
        assert_eq!(two.durable, DurableRecord { position, ..second_standing() });

        assert_eq!(opened.trial_rejections, trials);
        let ledger = &opened.ledger;
        let read = ledger.credentials(&first_store()).await.unwrap();
        assert_eq!(exposed(&read), [Some(PASSWORD), Some(PRIVATE_KEY), Some(PASSPHRASE)]);
        let read = ledger.credentials(&second_store()).await.unwrap();
        assert_eq!(exposed(&read), [None, Some(PRIVATE_KEY), Some(PASSPHRASE)]);

        assert_eq!(ledger.stores_with_pending().await.unwrap(), [uuid(1), uuid(2)]);
        assert_eq!(ledger.pending_notices(uuid(1), 9).await.unwrap(), first_notices());
        assert_eq!(ledger.pending_notices(uuid(2), 9).await.unwrap(), second_notices());
        for (n, (epoch, seq)) in [(1, (5, 4)), (2, (6, 1))] {
            let newest = Some(Position { epoch: Epoch(epoch), seq: Seq(seq) });
            let depth = ledger.outbox_depth(uuid(n), Position::default()).await.unwrap();
            assert_eq!(depth, OutboxDepth { count: 2, newest });
        }

        let mut lines = first_history();
        lines.reverse();
        let history = ledger.history(uuid(1), 99).await.unwrap();
        assert_eq!((history.lines, history.pruned), (lines, 1));
        let history = ledger.history(uuid(2), 99).await.unwrap();
        second_lines.reverse();
        assert_eq!((history.lines, history.pruned), (second_lines, 0));
        assert_eq!(ledger.capacity_days(uuid(1), UtcDay(0)).await.unwrap(), days);
        assert_eq!(ledger.capacity_days(uuid(2), UtcDay(0)).await.unwrap(), []);
        let query =
            EventQuery { kinds: vec![EventKind::Removed], limit: 999, ..EventQuery::default() };
        let page = ledger.events_after(query).await.unwrap();
        let removed_stores = page.items.iter().filter_map(|item| match item {
            EventItem::Event(event) => Some(event.store),
            EventItem::Gap(..) => None,
        });
        let removed_stores: Vec<_> = removed_stores.collect();
        assert_eq!(removed_stores, vec![uuid(3); removals]);
        // The cursor before the pruned line.
        let after = EventCursor { id: 0, ..page.next };
        let query = EventQuery { after: Some(after), ..EventQuery::default() };
        let page = ledger.events_after(query).await.unwrap();
        let Some(EventItem::Gap(_, gap)) = page.items.first() else { panic!("{page:?}") };
        assert_eq!(gap.cause, GapCause::Pruned);
        opened.writer.close_ledger().await;
    }
}

#[tokio::test]
async fn opening_a_ledger_of_the_same_format_changes_nothing_but_the_epoch() {
    let place = NEWEST.place();
    // The files of the fixture are a restored copy, which begins a new generation.
    place.open().writer.close_ledger().await;
    let newest = i32::try_from(MIGRATIONS.len()).unwrap();
    assert_eq!(versions(&place), (newest, i32::from_be_bytes(*b"ISAg")));
    let ((mut facts, stored), before) = (facts_and_rows(&place), versions(&place));
    place.open().writer.close_ledger().await;
    assert_eq!(versions(&place), before);
    let epoch = facts.insert("epoch".to_owned(), text(NOW.0 + 2));
    assert_eq!(epoch, Some(text(NOW.0 + 1)));
    assert_eq!(facts_and_rows(&place), (facts, stored));
    assert_eq!(fs::read(place.path().join("master-key")).unwrap(), NEWEST.master_key);
}

#[tokio::test]
async fn a_ledger_of_format_1_keeps_every_row_through_its_migration() {
    let place = V1.place();
    assert_eq!(versions(&place).0, 1);
    let (mut facts, stored) = facts_and_rows(&place);
    place.open().writer.close_ledger().await;
    assert_eq!(versions(&place).0, i32::try_from(MIGRATIONS.len()).unwrap());
    facts.insert("epoch".to_owned(), text(NOW.0 + 1));
    facts.insert("written_by".to_owned(), text(env!("CARGO_PKG_VERSION")));
    // The pruned line was the first one, and the next line has the time of the change.
    let pruned = format!("history_gone.{}", uuid(1));
    let count = facts.insert(pruned, text(format!("1 1 {}", NOW.0)));
    assert_eq!(count, Some(text(1)));
    let (mut migrated_facts, mut migrated) = facts_and_rows(&place);
    for fact in ["generation", "generation_file"] {
        assert!(migrated_facts.remove(fact).is_some());
    }
    assert_eq!(migrated.remove("capacity_days").unwrap().len(), 1);
    assert_eq!(migrated.remove("capacity_series").unwrap().len(), 2);
    assert_eq!(migrated.remove("removed_stores"), Some(Vec::new()));
    assert_eq!(migrated.remove("rejections"), Some(Vec::new()));
    assert_eq!(migrated.remove("trial_rejections"), Some(Vec::new()));
    assert_eq!(migrated.remove("jobs"), Some(Vec::new()));
    assert_eq!(migrated.remove("hooks"), Some(Vec::new()));
    // The next line gets an id that no line had.
    let newest = stored["history"].iter().map(|line| line[0].clone()).next_back().unwrap();
    assert_eq!(migrated.remove("sqlite_sequence"), Some(vec![vec![text("history"), newest]]));
    assert_eq!((migrated_facts, migrated), (facts, stored));
    // From now on a missing row is noticed.
    let sqlite = Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("DELETE FROM workers").unwrap();
    drop(sqlite);
    assert!(matches!(place.try_open(), Err(OpenError::Damaged { .. })));
}

/// Adds a line of format 4 to the history of a store.
fn add_v4_line(sqlite: &Connection, store: u128, at: i64, event: &str) {
    let (uuid, entry) =
        (uuid(store).to_string(), format!(r#"{{"at":{at},"attempt":1,"event":{event}}}"#));
    let sum = crate::ledger::tables::row_checksum(&[
        uuid.as_bytes(),
        &at.to_be_bytes(),
        entry.as_bytes(),
    ]);
    let sql = "INSERT INTO history (store, at, entry, sum) VALUES (?1, ?2, ?3, ?4)";
    sqlite.execute(sql, rusqlite::params![uuid, at, entry, sum]).unwrap();
}

#[tokio::test]
async fn the_migration_of_format_4_finds_the_figures_of_each_day_in_the_history() {
    const HOUR: i64 = 3_600_000;
    let midnight = UtcDay::of(NOW).plus(10).start().0;
    let measured = |total: u64, available: u64, inodes: &str| {
        format!(
            r#"{{"measured":{{"capacity":{{"total":{total},"available":{available}}},"inodes":{inodes}}}}}"#
        )
    };
    let some = r#"{"total":10,"available":4}"#;
    let changed =
        |new: &str| format!(r#"{{"changed":{{"old":"Connecting","new":"{new}","failure":null}}}}"#);
    let moved =
        r#"{"moved":{"mount_point":"/m","fs_type":"xfs","device":"8:2","on_root_disk":false}}"#;
    let lines = [
        // Nothing follows for two days, of which one counts.
        (0, measured(100, 80, some)),
        (48, measured(100, 70, "null")),
        (50, measured(100, 60, "null")),
        // Other kinds of events do not end a figure.
        (51, changed("Connected")),
        (51, r#"{"updated":{"fields":[]}}"#.to_owned()),
        (52, changed("Disconnected")),
        (60, measured(200, 150, some)),
        (61, r#"{"interrupted_by_restart":{}}"#.to_owned()),
        // A day with two series has the figures of the second one.
        (72, measured(200, 100, some)),
        (73, moved.to_owned()),
        (74, measured(50, 10, "null")),
        // Figures that cannot be, and an event that is none.
        (75, measured(50, 60, "null")),
        (76, measured(50, 20, "null")),
        (77, "{}".to_owned()),
        (95, measured(50, 25, "null")),
        (97, measured(50, 45, "null")),
    ];
    let place = V4.place();
    let sqlite = Connection::open(place.ledger()).unwrap();
    for (hour, event) in lines {
        add_v4_line(&sqlite, 2, midnight + hour * HOUR, &event);
    }
    crate::ledger::tables::contents::record_contents(&sqlite).unwrap();
    drop(sqlite);
    let opened = place.open();
    let days = opened.ledger.capacity_days(uuid(2), UtcDay(0)).await.unwrap();
    let row = |day: &CapacityDay| {
        let (figures, space) = (day.figures, day.figures.space);
        let used = [space.total(), space.min(), space.max(), space.last()];
        let inodes = figures.inodes.map(|inodes| inodes.last());
        let hours = figures.covered_seconds / 3600;
        (day.series, figures.day.0 - UtcDay::of(NOW).0 - 10, used, inodes, hours)
    };
    assert_eq!(
        days.iter().map(row).collect::<Vec<_>>(),
        [
            (1, 0, [100, 20, 20, 20], Some(6), 24),
            (1, 2, [200, 30, 50, 50], Some(6), 2 + 2 + 1),
            (2, 3, [50, 25, 40, 25], None, 1 + 1 + 1),
            (2, 4, [50, 5, 25, 5], None, 1),
        ]
    );
    // The figures that follow are at the place of the definition, and continue the last series.
    let later = DayFigures { day: UtcDay::of(NOW).plus(15), ..figures()[1].0 };
    let change = LedgerChange::new().add_capacity(uuid(2), later, second_store().mount);
    opened.ledger.commit(change).await.unwrap();
    let days = opened.ledger.capacity_days(uuid(2), later.day).await.unwrap();
    assert_eq!(days, [CapacityDay { series: 2, figures: later }]);
    opened.writer.close_ledger().await;
}

/// Other programs read the same rows, and a sum that differed would be damage to the version
/// before.
#[tokio::test]
async fn the_same_changes_are_written_as_the_same_rows() {
    let place = TestStateDir::new();
    fill(&place).await;
    if let Some(to) = std::env::var_os("LEDGER_FIXTURE").map(PathBuf::from) {
        fs::create_dir_all(&to).unwrap();
        for name in ["ledger.sqlite", "master-key"] {
            fs::copy(place.path().join(name), to.join(name)).unwrap();
        }
    }
    let (mut facts, mut written) = facts_and_rows(&place);
    let (mut expected_facts, mut expected) = facts_and_rows(&NEWEST.place());
    // The version changes with each release, and a seal with its random nonce.
    assert_eq!(facts.remove("written_by"), Some(text(env!("CARGO_PKG_VERSION"))));
    assert!(expected_facts.remove("written_by").is_some());
    for facts in [&mut facts, &mut expected_facts] {
        for fact in ["generation", "generation_file"] {
            assert!(facts.remove(fact).is_some());
        }
    }
    assert_eq!(facts, expected_facts);
    for rows in [&mut written, &mut expected] {
        for table in ["secrets", "hooks"] {
            for row in rows.get_mut(table).unwrap() {
                let [.., Value::Blob(sealed), Value::Blob(sum)] = &mut row[..] else { panic!() };
                sealed.fill(0);
                sum.fill(0);
            }
        }
    }
    assert_eq!(written, expected);
}
