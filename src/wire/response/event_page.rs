//! The events of all stores: the lines of a page or of a stream, and the page.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::HistoryLine;
use crate::lifecycle::RecordedEvent;
use crate::model::{EventCursor, EventGap, EventKind};

/// One event: the history line, its cursor and its store. Its keys are in alphabetical order.
#[derive(Clone, Debug)]
pub struct EventLine<'a> {
    event: &'a RecordedEvent,
    name: Option<String>,
}

impl<'a> EventLine<'a> {
    /// Creates the line of an event. `name` is the present name of its store, if the store is
    /// served. The events `added` and `removed` have the name of that time.
    pub fn new(event: &'a RecordedEvent, name: Option<String>) -> Self {
        Self { event, name }
    }
}

impl Serialize for EventLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = HistoryLine::from(&self.event.entry);
        let mut line = serde_json::to_value(line).map_err(S::Error::custom)?;
        if let Value::Object(fields) = &mut line {
            fields.insert("cursor".to_owned(), self.event.cursor.to_string().into());
            fields.insert("store".to_owned(), self.event.store.to_string().into());
            if let Some(name) = &self.name {
                fields.entry("name").or_insert_with(|| name.clone().into());
            }
        }
        line.serialize(serializer)
    }
}

/// The event that stands for missing ones.
#[derive(Clone, Debug, Serialize)]
pub struct GapLine {
    cause: &'static str,
    count: Option<u64>,
    cursor: String,
    event: &'static str,
    until: Option<String>,
}

impl GapLine {
    /// Creates the line of a gap. `cursor` is the position behind it.
    pub fn new(gap: &EventGap, cursor: EventCursor) -> Self {
        Self {
            cause: gap.cause.as_str(),
            count: gap.count,
            cursor: cursor.to_string(),
            event: EventKind::Gap.as_str(),
            until: gap.until.map(|until| until.to_string()),
        }
    }
}

/// An item of a page.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum PageItem<'a> {
    Gap(GapLine),
    Event(EventLine<'a>),
}

/// One page of events, oldest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventPageBody<'a> {
    events: Vec<PageItem<'a>>,
    gap: Option<GapLine>,
    more: bool,
    next: String,
}

impl<'a> EventPageBody<'a> {
    /// Creates a page. The first gap is also in a field of its own. `more` is true if there are
    /// later events now, and `next` is the position behind the page.
    pub fn new(more: bool, next: EventCursor) -> Self {
        Self { more, next: next.to_string(), ..Self::default() }
    }

    /// Appends a gap.
    pub fn push_gap(&mut self, gap: GapLine) {
        self.gap.get_or_insert_with(|| gap.clone());
        self.events.push(PageItem::Gap(gap));
    }

    /// Appends an event.
    pub fn push_event(&mut self, event: EventLine<'a>) {
        self.events.push(PageItem::Event(event));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::common::Timestamp;
    use crate::lifecycle::{HistoryEntry, HistoryEvent};
    use crate::model::{AttemptId, GapCause, LedgerGeneration, StoreUuid};

    fn recorded(event: HistoryEvent) -> RecordedEvent {
        RecordedEvent {
            cursor: EventCursor { generation: LedgerGeneration::from_u128(1), id: 9 },
            store: StoreUuid::from_u128(2),
            entry: HistoryEntry { at: Timestamp(0), attempt: AttemptId(7), event },
        }
    }

    #[test]
    fn a_line_has_the_fields_of_the_history_its_cursor_and_its_store() {
        let restart = recorded(HistoryEvent::InterruptedByRestart);
        let line = EventLine::new(&restart, Some("images".to_owned()));
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"attempt":7,"cursor":"00000000000000000000000000000001-9","event":"interrupted_by_restart","name":"images","store":"00000000000000000000000000000002","time":"1970-01-01T00:00:00.000Z"}"#
        );
        let nameless = serde_json::to_value(EventLine::new(&restart, None)).unwrap();
        assert!(nameless.get("name").is_none());
        let removed = recorded(HistoryEvent::StoreRemoved { name: "old".to_owned() });
        let line = serde_json::to_value(EventLine::new(&removed, Some("new".to_owned()))).unwrap();
        assert_eq!(line["name"], "old");
    }

    #[test]
    fn a_gap_is_an_event_and_a_field_of_the_page() {
        let cursor = EventCursor { generation: LedgerGeneration::from_u128(1), id: 4 };
        let gap = EventGap { cause: GapCause::Pruned, count: None, until: Some(Timestamp(0)) };
        let line = json!({"cause": "pruned", "count": null, "cursor": cursor.to_string(),
                          "event": "gap", "until": "1970-01-01T00:00:00.000Z"});
        let mut page = EventPageBody::new(true, cursor);
        let page_json = |page: &EventPageBody<'_>| serde_json::to_value(page).unwrap();
        assert_eq!(
            page_json(&page),
            json!({"events": [], "gap": null, "more": true,
                                            "next": cursor.to_string()})
        );
        page.push_gap(GapLine::new(&gap, cursor));
        let event = recorded(HistoryEvent::InterruptedByRestart);
        page.push_event(EventLine::new(&event, None));
        let page = page_json(&page);
        assert_eq!((&page["gap"], &page["events"][0]), (&line, &line));
        assert_eq!(page["events"][1]["event"], "interrupted_by_restart");
    }
}
