//! A list of stores that is watched: its form, and the stores of it that have changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::brief_list::{brief_cells, format_brief_list};
use super::store_table::{ListColumn, exact_cells, format_table, header, readable_cells};
use super::{pad_to_width, raw_str_field};
use crate::common::Timestamp;
use unicode_width::UnicodeWidthStr as _;

/// The status of a store that was removed while its list was watched.
const REMOVED: &str = "Removed";
/// The fields of the summary that a brief line shows.
const BRIEF_FIELDS: [&str; 6] = ["name", "status", "since", "lastKnown", "reason", "conditions"];

/// The form of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListForm {
    /// A table with a header.
    Table(Vec<ListColumn>),
    /// Rows for a script.
    Rows(Vec<ListColumn>),
    /// A brief line for each store.
    Brief,
    /// Each store as a whole.
    Json,
}

impl ListForm {
    /// Formats the whole list for a terminal.
    pub(crate) fn format_all(&self, stores: &[Value], now: Timestamp) -> String {
        match self {
            Self::Table(columns) | Self::Rows(columns) => format_table(stores, columns),
            Self::Brief => format_brief_list(stores, now),
            Self::Json => stores.iter().map(|store| format!("{store}\n")).collect(),
        }
    }

    /// Returns the cells of a store in one of several lines.
    pub(crate) fn cells(&self, store: &Value, now: Timestamp) -> Vec<String> {
        match self {
            Self::Table(columns) => readable_cells(store, columns),
            Self::Rows(columns) => exact_cells(store, columns),
            Self::Brief => brief_cells(store, now).to_vec(),
            Self::Json => vec![store.to_string()],
        }
    }

    fn header(&self) -> Option<Vec<String>> {
        match self {
            Self::Table(columns) => Some(header(columns)),
            Self::Rows(_) | Self::Brief | Self::Json => None,
        }
    }

    /// Returns the value whose change is shown. The time that has passed is no change.
    fn shown_state(&self, store: &Value) -> Value {
        match self {
            Self::Table(columns) => json!(readable_cells(store, columns)),
            Self::Rows(columns) => json!(exact_cells(store, columns)),
            Self::Json => store.clone(),
            Self::Brief => BRIEF_FIELDS.iter().map(|field| store.get(field).cloned()).collect(),
        }
    }
}

/// The stores of a watched list as they were shown.
#[derive(Debug)]
pub(crate) struct ShownList {
    form: ListForm,
    /// The shown state of each store, and the store.
    shown: BTreeMap<String, (Value, Value)>,
}

impl ShownList {
    pub(crate) fn new(form: ListForm) -> Self {
        Self { form, shown: BTreeMap::new() }
    }

    /// Takes over the present list. Returns the stores that are new or have changed in the order of
    /// the list, and then those that are removed, whose status says so.
    pub(crate) fn replace(&mut self, stores: &[Value]) -> Vec<Value> {
        let mut changed = Vec::new();
        let mut before = std::mem::take(&mut self.shown);
        for store in stores {
            let uuid = raw_str_field(store, "uuid").to_owned();
            let state = self.form.shown_state(store);
            if before.remove(&uuid).is_none_or(|(shown, _)| shown != state) {
                changed.push(store.clone());
            }
            self.shown.insert(uuid, (state, store.clone()));
        }
        changed.extend(before.into_values().map(|(_, mut store)| {
            if let Some(fields) = store.as_object_mut() {
                fields.insert("status".to_owned(), REMOVED.into());
            }
            store
        }));
        changed
    }
}

/// Formats the lines of a watched list. A column grows with its cells, so that later lines line up.
#[derive(Debug, Default)]
pub(crate) struct ChangeLines {
    widths: Vec<usize>,
}

impl ChangeLines {
    /// Formats lines of these stores. The first call returns the header as well.
    pub(crate) fn format(&mut self, form: &ListForm, stores: &[Value], now: Timestamp) -> String {
        let first = self.widths.is_empty().then(|| form.header()).flatten();
        let rows = first.into_iter().chain(stores.iter().map(|store| form.cells(store, now)));
        let rows: Vec<Vec<String>> = rows.collect();
        for row in &rows {
            self.widths.resize(row.len().max(self.widths.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let line = |row: &Vec<String>| {
            let cells =
                row.iter().zip(&self.widths).map(|(cell, width)| pad_to_width(cell, *width));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(uuid: &str, name: &str, status: &str) -> Value {
        json!({"uuid": uuid, "name": name, "status": status, "since": "2016-12-22T17:00:00Z"})
    }

    #[test]
    fn what_is_new_changed_or_removed_is_shown_once() {
        let columns = vec![ListColumn::Name, ListColumn::Status];
        for form in [ListForm::Table(columns.clone()), ListForm::Rows(columns), ListForm::Brief] {
            let mut list = ShownList::new(form);
            let (one, two) = (store("1", "a", "Connected"), store("2", "b", "Connected"));
            assert_eq!(list.replace(&[one.clone(), two.clone()]), [one.clone(), two.clone()]);
            assert_eq!(list.replace(&[one.clone(), two.clone()]), [] as [Value; 0]);
            let down = store("2", "b", "Disconnected");
            let changed = list.replace(&[one.clone(), down.clone()]);
            assert_eq!(changed, std::slice::from_ref(&down));
            let mut hidden = down.clone();
            hidden["other"] = json!(7);
            assert_eq!(list.replace(&[one, hidden]), [] as [Value; 0], "it is not shown");
            let gone = list.replace(&[store("2", "b", "Disconnected")]);
            assert_eq!(gone, [store("1", "a", "Removed")]);
        }
    }

    #[test]
    fn a_change_is_one_of_what_the_form_shows() {
        let columns = vec![ListColumn::Status, ListColumn::Available];
        let mut before = store("1", "a", "Connected");
        before["state"] = json!("Enabled");
        before["availableCapacity"] = json!(3_u64 << 30);
        let (mut disabled, mut used) = (before.clone(), before.clone());
        disabled["state"] = json!("Disabled");
        used["availableCapacity"] = json!((3_u64 << 30) - 1);
        for (form, shows_state, shows_bytes) in [
            (ListForm::Table(columns.clone()), true, false),
            (ListForm::Rows(columns), false, true),
            (ListForm::Json, true, true),
        ] {
            let is_shown = |after: &Value| {
                let mut list = ShownList::new(form.clone());
                list.replace(std::slice::from_ref(&before));
                !list.replace(std::slice::from_ref(after)).is_empty()
            };
            assert_eq!((is_shown(&disabled), is_shown(&used)), (shows_state, shows_bytes));
        }
    }

    #[test]
    fn later_lines_line_up_with_earlier_ones() {
        let form = ListForm::Table(vec![ListColumn::Name, ListColumn::Status]);
        let (mut lines, now) = (ChangeLines::default(), Timestamp(0));
        let first = [store("1", "镜像服务器", "Connected"), store("2", "b", "Connected")];
        let expected = "NAME        STATUS\n镜像服务器  Connected\nb           Connected\n";
        assert_eq!(lines.format(&form, &first, now), expected);
        let later = lines.format(&form, &[store("2", "b", "Disconnected")], now);
        assert_eq!(later, "b           Disconnected\n");
    }
}
