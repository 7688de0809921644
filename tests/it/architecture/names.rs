//! A type name stands for one thing in the whole crate.

use std::collections::BTreeMap;

use super::source::{first_word, sources};

/// Names that several modules may define, because the module is part of the name.
const SHARED_NAMES: [(&str, &str); 3] = [
    ("Error", "the error of its module, used as `module::Error`"),
    ("Err", "an associated type of the standard library's traits"),
    ("Command", "the arguments of the command line, and the inboxes of two tasks"),
];

#[test]
fn a_type_name_is_defined_once() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for line in source.production().lines() {
            let item = line.trim_start().trim_start_matches("pub ");
            let item = match item.strip_prefix("pub(") {
                Some(rest) => rest.split_once(") ").map_or(item, |(_, item)| item),
                None => item,
            };
            // An indented `type` belongs to an implementation of a trait.
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let kinds = kinds.iter().filter(|kind| **kind != "type " || !line.starts_with(' '));
            for rest in kinds.filter_map(|kind| item.strip_prefix(kind)) {
                let file = source.module_path().display().to_string();
                let name = first_word(rest);
                if name.is_empty() {
                    // The pattern of a macro.
                    continue;
                }
                defined.entry(name.to_owned()).or_default().push(file);
            }
        }
    }
    let shared = |name: &str| SHARED_NAMES.iter().any(|(shared, _)| *shared == name);
    let twice: Vec<_> =
        defined.iter().filter(|(name, files)| files.len() > 1 && !shared(name)).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
