//! Formats a list of stores with chosen columns, for a person or for a script.

use serde_json::Value;

use super::{align_columns, format_size, format_status, format_zones, raw_str_field, str_field};
use crate::common::string_enum;

string_enum! {
    /// A column of the list of stores.
    pub ListColumn {
        /// The uuid.
        Uuid = "uuid",
        /// The status.
        Status = "status",
        /// Enabled or Disabled.
        State = "state",
        /// The available capacity.
        Available = "available",
        /// The total capacity.
        Total = "total",
        /// The name.
        Name = "name",
        /// The image directory.
        Path = "path",
        /// The host of the SSH login.
        Hostname = "hostname",
        /// The port of the SSH server.
        Port = "port",
        /// The user of the SSH login.
        Username = "username",
        /// The uuids of the zones.
        Zones = "zones",
        /// The description.
        Description = "description",
        /// The time of the add.
        Created = "created",
        /// The time of the last change.
        Changed = "changed",
    }
}

impl ListColumn {
    /// The columns without a choice.
    pub(crate) const DEFAULT: [Self; 6] =
        [Self::Uuid, Self::Status, Self::Available, Self::Total, Self::Name, Self::Path];

    /// Returns the key of the inventory.
    fn key(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Status => "status",
            Self::State => "state",
            Self::Available => "availableCapacity",
            Self::Total => "totalCapacity",
            Self::Name => "name",
            Self::Path => "url",
            Self::Hostname => "hostname",
            Self::Port => "sshPort",
            Self::Username => "username",
            Self::Zones => "attachedZoneUuids",
            Self::Description => "description",
            Self::Created => "createDate",
            Self::Changed => "lastOpDate",
        }
    }

    /// Returns the cell for a reader.
    fn readable_cell(self, store: &Value) -> String {
        match self {
            Self::Status => format_status(store),
            Self::Available | Self::Total => format_size(store, self.key()),
            Self::Zones => format_zones(store),
            Self::Port => self.exact_cell(store),
            _ => str_field(store, self.key()),
        }
    }

    /// Returns the cell for a script: numbers are exact, and a text is as the daemon has it. A
    /// value that is not known is empty.
    fn exact_cell(self, store: &Value) -> String {
        match self {
            Self::Available | Self::Total | Self::Port => {
                let number = store.get(self.key()).and_then(Value::as_u64);
                number.map(|number| number.to_string()).unwrap_or_default()
            }
            Self::Zones => format_zones(store),
            _ => raw_str_field(store, self.key()).to_owned(),
        }
    }
}

/// Returns the cells of a store for a script.
pub(crate) fn exact_cells(store: &Value, columns: &[ListColumn]) -> Vec<String> {
    columns.iter().map(|column| column.exact_cell(store)).collect()
}

/// Formats stores as a table with a header, whose columns are as wide as their widest cells.
pub(crate) fn format_table(stores: &[Value], columns: &[ListColumn]) -> String {
    let rows = stores.iter().map(|store| readable_cells(store, columns));
    align_columns(&std::iter::once(header(columns)).chain(rows).collect::<Vec<_>>())
}

/// Returns the names of the columns.
pub(crate) fn header(columns: &[ListColumn]) -> Vec<String> {
    columns.iter().map(|column| column.as_str().to_uppercase()).collect()
}

/// Returns the cells of a store for a reader.
pub(crate) fn readable_cells(store: &Value, columns: &[ListColumn]) -> Vec<String> {
    columns.iter().map(|column| column.readable_cell(store)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(name: &str) -> Value {
        json!({"uuid": "0123", "status": "Connected", "name": name, "url": "/srv/images",
               "availableCapacity": 1_u64 << 30, "totalCapacity": 1_u64 << 40, "sshPort": 22,
               "state": "Disabled", "attachedZoneUuids": ["a", "b"], "username": "root"})
    }

    #[test]
    fn columns_line_up_and_names_cannot_contain_escapes() {
        let stores = [store("a"), store("long \u{1b}[31mname"), store("镜像")];
        let text = format_table(&stores, &ListColumn::DEFAULT);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let at = lines[0].find("PATH").unwrap();
        assert_eq!(lines[1].find("/srv/images"), Some(at));
        // The two ideographs have six bytes, and take up four columns.
        assert_eq!(lines[3].find("/srv/images"), Some(at + 2));
        assert!(text.contains("1.0 GiB    1.0 TiB"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_script_gets_exact_values_in_the_order_of_the_columns() {
        let columns = [ListColumn::Total, ListColumn::Name, ListColumn::Port, ListColumn::Status];
        assert_eq!(
            exact_cells(&store("a\tb"), &columns),
            ["1099511627776", "a\tb", "22", "Connected"]
        );
        assert_eq!(exact_cells(&json!({}), ListColumn::ALL), vec![""; ListColumn::ALL.len()]);
        assert_eq!(readable_cells(&store("a"), &columns)[3], "Connected, disabled");
        let zones = readable_cells(&store("a"), &[ListColumn::Zones, ListColumn::Username]);
        assert_eq!(zones, ["a b", "root"]);
        assert_eq!(header(&columns), ["TOTAL", "NAME", "PORT", "STATUS"]);
    }
}
