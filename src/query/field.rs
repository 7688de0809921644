//! The fields of the records: their names, their types and their values.

use std::cmp::Ordering;

use super::InvalidParameter;
use super::text_order::compare_text;
use crate::common::Timestamp;
use crate::model::{Hostname, ImageDir, Inventory, StoreUuid};

/// A field of a record `R`, under its name in the JSON of the record.
#[derive(Debug)]
pub struct QueryField<R: 'static> {
    /// The name.
    pub name: &'static str,
    pub(super) reader: FieldReader<R>,
}

/// The function that reads a field. Its kind is the type of the field.
#[derive(Debug)]
pub(super) enum FieldReader<R: 'static> {
    Text(for<'r> fn(&'r R) -> &'r str),
    /// A text that an add takes in several forms.
    Normalized(for<'r> fn(&'r R) -> &'r str, Normalize),
    Uuid(fn(&R) -> StoreUuid),
    Number(fn(&R) -> u64),
    Date(fn(&R) -> Timestamp),
    /// A list of texts.
    List(for<'r> fn(&'r R) -> &'r [String]),
}

/// Returns the form of a text that a record has. Returns `None` for a text that no record has.
pub(super) type Normalize = fn(&str) -> Option<String>;

/// The value of a field, or of one element of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldValue<'r> {
    Text(&'r str),
    Uuid(StoreUuid),
    Number(u64),
    Date(Timestamp),
}

/// The fields of a store.
pub static STORE_FIELDS: [QueryField<Inventory>; 15] = [
    QueryField { name: "uuid", reader: FieldReader::Uuid(|store| store.uuid) },
    QueryField { name: "name", reader: FieldReader::Text(|store| &store.name) },
    QueryField {
        name: "url",
        reader: FieldReader::Normalized(
            |store| store.image_dir.as_str(),
            |text| ImageDir::parse(text).ok().map(|dir| dir.as_str().to_owned()),
        ),
    },
    QueryField { name: "description", reader: FieldReader::Text(|store| &store.description) },
    QueryField {
        name: "totalCapacity",
        reader: FieldReader::Number(|store| store.capacity.map_or(0, |capacity| capacity.total())),
    },
    QueryField {
        name: "availableCapacity",
        reader: FieldReader::Number(|store| {
            store.capacity.map_or(0, |capacity| capacity.available())
        }),
    },
    QueryField { name: "type", reader: FieldReader::Text(|_| Inventory::TYPE) },
    QueryField { name: "state", reader: FieldReader::Text(|store| store.state.as_str()) },
    QueryField { name: "status", reader: FieldReader::Text(|store| store.status.as_str()) },
    QueryField { name: "createDate", reader: FieldReader::Date(|store| store.created) },
    QueryField { name: "lastOpDate", reader: FieldReader::Date(|store| store.last_op) },
    QueryField { name: "attachedZoneUuids", reader: FieldReader::List(|store| &store.zone_uuids) },
    QueryField {
        name: "hostname",
        reader: FieldReader::Normalized(
            |store| store.address.hostname.as_str(),
            |text| text.parse().ok().map(|name: Hostname| name.as_str().to_owned()),
        ),
    },
    QueryField { name: "username", reader: FieldReader::Text(|store| &store.username) },
    QueryField {
        name: "sshPort",
        reader: FieldReader::Number(|store| store.address.port.get().into()),
    },
];

/// The fields of a zone. The daemon knows nothing but the uuid of a zone.
pub static ZONE_FIELDS: [QueryField<String>; 1] =
    [QueryField { name: "uuid", reader: FieldReader::Text(|zone| zone) }];

impl<R> QueryField<R> {
    /// Returns the field with the name that a parameter contains.
    ///
    /// # Errors
    /// [`InvalidParameter`] if no field has this name.
    pub(super) fn find(
        fields: &'static [Self],
        name: &str,
        parameter: &str,
    ) -> Result<&'static Self, InvalidParameter> {
        fields.iter().find(|field| field.name == name).ok_or_else(|| {
            InvalidParameter::unknown_field(parameter, name, fields.iter().map(|field| field.name))
        })
    }

    /// Compares the fields of two records.
    pub(super) fn compare(&self, one: &R, other: &R) -> Ordering {
        match &self.reader {
            FieldReader::Text(read) | FieldReader::Normalized(read, _) => {
                compare_text(read(one), read(other))
            }
            FieldReader::Uuid(read) => read(one).cmp(&read(other)),
            FieldReader::Number(read) => read(one).cmp(&read(other)),
            FieldReader::Date(read) => read(one).cmp(&read(other)),
            FieldReader::List(read) => read(one).cmp(read(other)),
        }
    }
}
