//! JSON documents that end in a list of any length. The list is written item by item, so that the
//! caller can do other work between two items.

use serde::Serialize;

use super::json::to_json;

/// Writes a JSON document whose last value is a list.
#[derive(Debug)]
pub struct ListWriter {
    text: Vec<u8>,
    /// The end of the document, from the bracket that closes the list.
    tail: Vec<u8>,
    has_items: bool,
}

impl ListWriter {
    /// Starts a document. `frame` is the document with an empty list as its last value, which only
    /// closing braces follow.
    pub fn new(frame: &impl Serialize) -> Self {
        let mut text = to_json(frame);
        let end = text.iter().rposition(|byte| *byte == b']').unwrap_or(text.len());
        let tail = text.split_off(end);
        debug_assert!(text.ends_with(b"[") && tail.iter().skip(1).all(|byte| *byte == b'}'));
        Self { text, tail, has_items: false }
    }

    /// Appends an item to the list.
    pub fn push(&mut self, item: &impl Serialize) {
        if self.has_items {
            self.text.push(b',');
        }
        self.has_items = true;
        self.text.append(&mut to_json(item));
    }

    /// Returns the complete document with more fields behind the list. `fields` is an object that
    /// is not empty, and the list is in the outermost object of the frame.
    pub fn finish_with(mut self, fields: &impl Serialize) -> Vec<u8> {
        let mut fields = to_json(fields);
        debug_assert!(self.tail == b"]}" && fields.starts_with(b"{") && fields.len() > 2);
        if let Some(brace) = fields.first_mut() {
            *brace = b',';
        }
        self.text.push(b']');
        self.text.append(&mut fields);
        self.text
    }

    /// Returns the complete document.
    pub fn finish(mut self) -> Vec<u8> {
        self.text.append(&mut self.tail);
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn the_document_is_that_of_the_whole_list(items: Vec<(String, Option<i64>)>) {
            for (frame, path) in [
                (json!({"list": []}), "/list"),
                (json!({"a": "]}", "data": {"first": [1], "list": []}}), "/data/list"),
            ] {
                let mut writer = ListWriter::new(&frame);
                items.iter().for_each(|item| writer.push(item));
                let mut expected = frame.clone();
                *expected.pointer_mut(path).unwrap() = json!(items);
                let document: Value = serde_json::from_slice(&writer.finish()).unwrap();
                prop_assert_eq!(document, expected);
            }
            let mut writer = ListWriter::new(&json!({"a": 1, "list": []}));
            items.iter().for_each(|item| writer.push(item));
            let document = writer.finish_with(&json!({"after": "]}", "count": items.len()}));
            let document: Value = serde_json::from_slice(&document).unwrap();
            let expected = json!({"a": 1, "list": items, "after": "]}", "count": items.len()});
            prop_assert_eq!(document, expected);
        }
    }
}
