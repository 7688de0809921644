//! The size of the largest valid body. It follows from the limits of the fields, so that no valid
//! request is too large.

use super::params::{
    MAX_DESCRIPTION_CHARS, MAX_FINGERPRINTS, MAX_HOSTNAME_CHARS, MAX_PASSPHRASE_CHARS,
    MAX_PRIVATE_KEY_CHARS, MAX_SHORT_TEXT_CHARS,
};
use crate::model::{ImageDir, Tags};

/// Maximum number of bytes of a character in JSON: both halves of a surrogate pair as `\uXXXX`.
/// Clients such as Python's `json` write all characters outside ASCII in this form.
const MAX_CHAR_BYTES: usize = 12;
/// Number of lists of tags: system and user tags, inside the action and next to it, and `tagUuids`.
const TAG_LISTS: usize = 5;
/// Number of fields with at most [`MAX_SHORT_TEXT_CHARS`]: name, user name, password and uuid.
const SHORT_TEXTS: usize = 4;
/// Number of characters in all texts of an add, which has all fields of the other requests.
const MAX_CHARS: usize = TAG_LISTS * Tags::MAX_COUNT * Tags::MAX_CHARS
    + (SHORT_TEXTS + MAX_FINGERPRINTS) * MAX_SHORT_TEXT_CHARS
    + MAX_HOSTNAME_CHARS
    + MAX_DESCRIPTION_CHARS
    + ImageDir::MAX_CHARS
    + MAX_PRIVATE_KEY_CHARS
    + MAX_PASSPHRASE_CHARS;
/// Bytes for the quotation marks, the comma and the indentation of an item in a list.
const ITEM_BYTES: usize = 16;
/// Bytes for the keys, the numbers, the flags, the type and the brackets.
const FRAME_BYTES: usize = 2048;

/// Maximum size of a valid body, in bytes. Unknown fields and further white space do not count.
pub const MAX_BODY_BYTES: usize = MAX_CHARS * MAX_CHAR_BYTES
    + (TAG_LISTS * Tags::MAX_COUNT + MAX_FINGERPRINTS) * ITEM_BYTES
    + FRAME_BYTES;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Inventory;
    use crate::wire::{ActionPath, StoreAction, parse_add_store};

    /// Returns the longest form of a document that a client may write: each character is escaped,
    /// and each item is on a line of its own.
    fn longest_form(document: &Value) -> String {
        let pretty = serde_json::to_string_pretty(document).unwrap();
        let escape =
            |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
        let escaped = |c: char| if c.is_ascii() { c.to_string() } else { escape(c) };
        pretty.chars().map(escaped).collect()
    }

    #[test]
    fn the_largest_body_of_each_request_fits() {
        let text = |chars: usize| "\u{1f600}".repeat(chars);
        let tags = || vec![text(Tags::MAX_CHARS); Tags::MAX_COUNT];
        let fingerprint = format!("SHA256:{}{}", "A".repeat(43), "=".repeat(255 - 50));
        let hostname = vec!["a".repeat(63); 4].join(".");
        let fields = json!({
            "name": text(255), "username": text(255), "password": text(255),
            "description": text(2048), "url": format!("/{}", text(2047)),
            "hostname": hostname,
            "privateKey": text(32 * 1024), "privateKeyPassphrase": text(1024), "sshPort": 65535,
            "hostKeyFingerprint": vec![fingerprint; 16], "takeOver": false, "force": false,
            "resourceUuid": "8a2fe4b5c9d34e6fa1b2c3d4e5f60718", "type": Inventory::TYPE,
            "importImages": false, "tagUuids": tags(),
            "systemTags": tags(), "userTags": tags(),
        });
        let with_tags = |key: &str, fields: &Value| {
            longest_form(&json!({ key: fields, "systemTags": tags(), "userTags": tags() }))
        };
        let add = with_tags("params", &fields);
        let parsed = parse_add_store(add.as_bytes(), &["/".to_owned()]).unwrap().request;
        assert_eq!(parsed.tags.user_tags(), tags());
        assert_eq!(parsed.without_effect, ["tagUuids"]);
        // The fields with another alphabet are the room that is left.
        assert!(
            (MAX_BODY_BYTES - 64 * 1024..=MAX_BODY_BYTES).contains(&add.len()),
            "{}",
            add.len()
        );
        let tagged = json!({ "uuid": text(255), "systemTags": tags(), "userTags": tags() });
        for (key, fields) in [("updateImageStoreBackupStorage", &fields), ("params", &tagged)] {
            let body = with_tags(key, fields);
            StoreAction::parse_action(ActionPath::ImageStore, body.as_bytes()).unwrap();
            assert!(body.len() <= MAX_BODY_BYTES, "{key}: {}", body.len());
        }
    }
}
