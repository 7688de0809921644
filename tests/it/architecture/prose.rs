//! Documentation comments are sentences with a subject: the first one says what the item is or
//! does.

use super::source::{Source, sources, test_sources};

/// Words that begin a clause without a subject.
const FORBIDDEN: [&str; 7] = ["What", "Who", "Whether", "How", "Where", "Which", "Whose"];

/// Maximum width of a comment line, in characters.
const MAX_COMMENT_WIDTH: usize = 100;

/// Reads the product and its tests, benches, examples and fuzz targets.
fn all_sources() -> Vec<Source> {
    [sources(), test_sources()].concat()
}

#[test]
fn a_doc_comment_begins_with_what_the_item_is_or_does() {
    let mut wrong = Vec::new();
    for source in all_sources() {
        let mut in_comment = false;
        for (number, line) in source.text.lines().enumerate() {
            let line = line.trim_start();
            let text = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
            let begins = text.is_some() && !in_comment;
            in_comment = line.starts_with("///") || line.starts_with("//!");
            let Some(text) = text.filter(|_| begins) else { continue };
            let text = match text.strip_prefix("Layer ") {
                Some(rest) => rest.split_once(". ").map_or(text, |(_, rest)| rest),
                None => text,
            };
            let word = text.split([' ', ',']).next().unwrap_or_default();
            if FORBIDDEN.contains(&word) {
                wrong.push(format!("{}:{}: {text}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{} comments: {wrong:#?}", wrong.len());
}

#[test]
fn a_comment_fits_the_window() {
    let mut wide = Vec::new();
    for source in all_sources() {
        for (number, line) in source.text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if is_comment && line.chars().count() > MAX_COMMENT_WIDTH {
                wide.push(format!("{}:{}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}
