//! Dependencies between modules go to a lower layer, what decides never waits, and each file says
//! what it is.

use super::source::{Source, is_word_char, paths_after, sources, without_comments};

/// Modules and their layers. A dependency may only go to a lower number.
const LAYERS: [(&str, u8); 29] = [
    ("common", 0),
    ("model", 1),
    ("catalog", 2),
    ("lifecycle", 2),
    ("delivery", 2),
    ("query", 2),
    ("forecast", 2),
    ("diagnosis", 3),
    ("settings", 3),
    ("wire", 4),
    ("redaction", 4),
    ("ledger", 5),
    ("probe", 5),
    ("ssh", 5),
    ("tls", 5),
    ("management", 6),
    ("jobs", 6),
    ("agent", 6),
    ("notifier", 7),
    ("hooks", 7),
    ("metrics", 8),
    ("http", 9),
    ("cli", 9),
    ("telemetry", 9),
    ("systemd", 9),
    ("app", 10),
    ("demo", 11),
    ("fuzzing", 11),
    ("main", 12),
];

/// Modules without a runtime and without a clock.
const PURE: [&str; 8] =
    ["model", "catalog", "lifecycle", "delivery", "query", "forecast", "diagnosis", "redaction"];

/// Most lines of one file, tests not counted: one idea a file.
const MAX_PRODUCTION_LINES: usize = 400;

/// Most files and folders of one folder, `mod.rs` and tests not counted: more are several subjects.
const MAX_FOLDER_ENTRIES: usize = 14;

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Returns the modules that a file names: after `crate::` or the crate's own name, and where a
/// chain of `super` climbs out of the file's own module.
fn modules_named(source: &Source) -> Vec<String> {
    let code = without_comments(&source.text);
    let mut paths = paths_after(&code, "crate::");
    paths.extend(paths_after(&code, "imagestore_agent::"));
    // Tests and other inline modules stand one level deeper, so that a climb of theirs ends in the
    // module.
    let production = without_comments(source.production());
    let climb = "super::".repeat(source.module_path().components().count());
    if !climb.is_empty() {
        let climbs = paths_after(&production, &climb).into_iter();
        paths.extend(climbs.filter(|path| path.first().is_some_and(|word| layer(word).is_some())));
    }
    paths.into_iter().filter_map(|path| path.into_iter().next()).collect()
}

#[test]
fn a_dependency_goes_to_a_lower_layer() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = &source.module else { continue };
        let Some(here) = layer(module) else {
            wrong.push(format!("{}: {module} has no layer", source.path.display()));
            continue;
        };
        for named in modules_named(&source) {
            // A word that is no module is an item of the crate's root, of which there is none.
            let is_lower = layer(&named).is_some_and(|there| there < here);
            if !is_lower && named != *module {
                wrong.push(format!("{}: {module} -> {named}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_decides_never_waits() {
    let runtime = ["tokio", "hyper", "axum", "futures", "async", "await"];
    for source in sources() {
        if !source.module.as_deref().is_some_and(|module| PURE.contains(&module)) {
            continue;
        }
        let code = without_comments(&source.text);
        let word = code.split(|c| !is_word_char(c)).find(|word| runtime.contains(word));
        assert_eq!(word, None, "{}", source.path.display());
    }
}

#[test]
fn every_file_says_what_it_is_and_holds_one_idea() {
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{path}: does not open with its documentation"));
        }
        let lines = source.production().lines().count();
        if lines > MAX_PRODUCTION_LINES && !source.is_test() {
            wrong.push(format!("{path}: {lines} lines, more than {MAX_PRODUCTION_LINES}"));
        }
        let is_head = source.path.ends_with("mod.rs") || source.path.ends_with("systemd.rs");
        if is_head && source.module_path().components().count() == 1 {
            let layer = source.module.as_deref().and_then(layer);
            let head = layer.map(|layer| format!("//! Layer {layer}. "));
            if !head.is_some_and(|head| source.text.starts_with(&head)) {
                wrong.push(format!("{path}: does not open with its layer"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_folder_holds_more_than_a_reader_can_overlook() {
    let mut entries = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let module = source.module_path();
        for path in module.ancestors().filter(|path| path.components().count() > 1) {
            entries.entry(path.parent().unwrap().to_owned()).or_default().insert(path.to_owned());
        }
    }
    let too_many: Vec<_> = entries
        .iter()
        .filter(|(_, entries)| entries.len() > MAX_FOLDER_ENTRIES)
        .map(|(folder, entries)| format!("{}: {}", folder.display(), entries.len()))
        .collect();
    assert!(too_many.is_empty(), "{too_many:#?}");
}
