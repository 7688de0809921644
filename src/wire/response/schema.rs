//! The schema of a response: the classes of its objects on the management node. ZStack's SDK for
//! Java creates its objects by it.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::common::string_enum;

string_enum! {
    /// The class of an object in a response. The text is its name on the management node.
    pub ServerClass {
        /// A store.
        Store = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory",
        /// A zone.
        Zone = "org.zstack.header.zone.ZoneInventory",
    }
}

/// The schema of a response with a list of objects of one class in `inventories`.
#[derive(Clone, Copy, Debug)]
pub struct ListSchema {
    class: ServerClass,
    count: usize,
}

impl ListSchema {
    /// Creates the schema of a list with this number of objects.
    pub fn new(class: ServerClass, count: usize) -> Self {
        Self { class, count }
    }
}

impl Serialize for ListSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.count))?;
        for index in 0..self.count {
            let class = self.class.as_str();
            match index {
                // Most lists have one object, and formatting the key costs more than the rest.
                0 => map.serialize_entry("inventories[0]", class)?,
                _ => map.serialize_entry(&format_args!("inventories[{index}]"), class)?,
            }
        }
        map.end()
    }
}

/// The schema of a response with one object in `inventory`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ItemSchema {
    inventory: &'static str,
}

impl ItemSchema {
    /// Creates the schema of a response with an object of this class.
    pub(super) fn new(class: ServerClass) -> Self {
        Self { inventory: class.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_object_of_a_response_has_its_class() {
        let store = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory";
        for (count, expected) in [
            (0, json!({})),
            (1, json!({"inventories[0]": store})),
            (2, json!({"inventories[0]": store, "inventories[1]": store})),
        ] {
            let schema = serde_json::to_value(ListSchema::new(ServerClass::Store, count)).unwrap();
            assert_eq!(schema, expected);
        }
        let item = serde_json::to_value(ItemSchema::new(ServerClass::Store)).unwrap();
        assert_eq!(item, json!({ "inventory": store }));
    }
}
