//! Identity marker `.imagestore-agent/identity.json`: names the store and node of a directory.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::common::Timestamp;
use crate::model::{ImageDir, MarkerId, NodeId, StoreUuid};

/// Folder of the daemon's own files in an image directory.
pub(super) const MARKER_FOLDER: &str = ".imagestore-agent";
/// Name of the marker file in that folder.
pub(super) const MARKER_FILE: &str = "identity.json";
/// Maximum length of a marker, in bytes. The markers that the daemon writes have about 200.
pub(super) const MAX_MARKER_BYTES: u64 = 4096;

const MARKER_VERSION: u32 = 1;

/// Contents of a valid marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdentityMarker {
    pub(super) id: MarkerId,
    /// Store and node that serve the directory. `None` after `init`.
    pub(super) owner: Option<(StoreUuid, NodeId)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredMarker {
    version: u32,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store_uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    created: String,
}

impl IdentityMarker {
    /// Parses the text of a marker.
    ///
    /// # Errors
    /// The reason why the text is not a valid marker, as a readable message. It has no text of the
    /// marker, which any program may have written.
    pub(super) fn parse_marker(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        #[derive(Deserialize)]
        struct MarkerVersion {
            version: u32,
        }
        let invalid = |error| describe_json_error(&error, text.len());
        let versioned: MarkerVersion = serde_json::from_str(text).map_err(invalid)?;
        if versioned.version != MARKER_VERSION {
            return Err(format!(
                "version {} is not supported, only version {MARKER_VERSION}",
                versioned.version
            ));
        }
        let stored: StoredMarker = serde_json::from_str(text).map_err(invalid)?;
        let id = stored.id.parse().map_err(|error| format!("id: {error}"))?;
        let store = stored.store_uuid.map(|text| text.parse::<StoreUuid>()).transpose();
        let node = stored.node_id.map(|text| text.parse::<NodeId>()).transpose();
        let owner = match (store, node) {
            (Ok(Some(store)), Ok(Some(node))) => Some((store, node)),
            (Ok(None), Ok(None)) => None,
            (Err(error), _) => return Err(format!("storeUuid: {error}")),
            (_, Err(error)) => return Err(format!("nodeId: {error}")),
            _ => return Err("only one of storeUuid and nodeId is present".to_owned()),
        };
        Ok(Self { id, owner })
    }

    /// Returns the text of the marker file.
    pub(crate) fn to_text(&self, created: Timestamp) -> String {
        let stored = StoredMarker {
            version: MARKER_VERSION,
            id: self.id.to_string(),
            store_uuid: self.owner.map(|(store, _)| store.to_string()),
            node_id: self.owner.map(|(_, node)| node.to_string()),
            created: created.to_string(),
        };
        // A struct of strings and numbers cannot fail to serialize.
        let mut text = serde_json::to_string(&stored).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Describes an error of the parser by its place. Its own text may have a value of the marker.
fn describe_json_error(error: &serde_json::Error, bytes: usize) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => format!("it ends before the JSON object is complete, after {bytes} bytes"),
        Category::Syntax | Category::Io => {
            format!("it is not valid JSON at line {line}, column {column} of its {bytes} bytes")
        }
        Category::Data => format!(
            "at line {line}, column {column} it is not a marker: expected a JSON object with the \
             number version and the texts id, created and, for a store, storeUuid and nodeId"
        ),
    }
}

/// Returns the path of the marker of this image directory.
pub fn marker_path(dir: &ImageDir) -> String {
    format!("{}/{MARKER_FOLDER}/{MARKER_FILE}", dir.as_str())
}

/// Returns the name of the file that a probe writes. Each node has its own, because two nodes may
/// share a directory.
pub(super) fn probe_file(node: NodeId) -> String {
    format!("probe.{node}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marker(owner: bool) -> IdentityMarker {
        let owner = owner.then(|| (StoreUuid::from_u128(2), NodeId::from_u128(3)));
        IdentityMarker { id: MarkerId::from_u128(1), owner }
    }

    #[test]
    fn a_marker_is_the_documented_json() {
        let text = marker(true).to_text(Timestamp(1_482_426_606_000));
        assert_eq!(
            text,
            "{\"version\":1,\"id\":\"00000000000000000000000000000001\",\
             \"storeUuid\":\"00000000000000000000000000000002\",\
             \"nodeId\":\"00000000000000000000000000000003\",\
             \"created\":\"2016-12-22T17:10:06.000Z\"}\n"
        );
        for owned in [true, false] {
            let text = marker(owned).to_text(Timestamp(0));
            assert_eq!(IdentityMarker::parse_marker(&text), Ok(marker(owned)));
        }
    }

    #[test]
    fn an_invalid_marker_is_rejected_with_a_reason() {
        let whole = marker(true).to_text(Timestamp(0));
        for (bad, expected) in [
            (String::new(), "it ends before the JSON object is complete, after 0 bytes"),
            ("[]".to_owned(), "expected a JSON object"),
            ("{]".to_owned(), "not valid JSON at line 1, column 2 of its 2 bytes"),
            (whole.replace("\"version\":1", "\"version\":2"), "version 2"),
            (whole.replace("\"version\":1", "\"version\":1,\"more\":1"), "expected a JSON object"),
            (whole.replacen("00000000000000000000000000000001", "XYZ", 1), "id"),
            (whole.replace("\"nodeId\":\"00000000000000000000000000000003\",", ""), "only one"),
        ] {
            let why = IdentityMarker::parse_marker(&bad).unwrap_err();
            assert!(why.contains(expected), "{bad}: {why}");
        }
    }

    #[test]
    fn no_error_has_a_value_of_the_marker() {
        let whole = marker(true).to_text(Timestamp(0));
        let digits = "00000000000000000000000000000001";
        for bad in [
            "\"hunter2\"".to_owned(),
            "hunter2".to_owned(),
            "{\"version\":\"hunter2\"}".to_owned(),
            "{\"version\":1,\"hunter2\":1}".to_owned(),
            "{\"version\":1,\"id\":[\"hunter2\"]}".to_owned(),
            "{\"version\":1,\"id\":\"hunter2".to_owned(),
            whole.replacen(digits, "hunter2", 1),
            whole.replacen("00000000000000000000000000000003", "hunter2", 1),
        ] {
            let why = IdentityMarker::parse_marker(&bad).unwrap_err();
            assert!(!why.contains("hunter2"), "{bad}: {why}");
            assert!(!why.contains("MarkerVersion") && why.len() < 200, "{bad}: {why}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_never_makes_another_valid_marker_of_another_shape(
            at in 0_usize..200, byte in any::<u8>(),
        ) {
            let mut bytes = marker(true).to_text(Timestamp(0)).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = std::str::from_utf8(&bytes) && let Ok(read) = IdentityMarker::parse_marker(text) {
                prop_assert!(read.owner.is_some());
            }
        }
    }
}
