//! No circle leads through the folders of a module. Files of one folder belong together and may
//! name each other; folders are subjects, and one of two is below the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source::{Source, paths_after, sources, without_comments};

/// Dependencies between folders, each with a file that needs it.
type Edges = BTreeMap<PathBuf, BTreeMap<PathBuf, PathBuf>>;

/// Returns the items that a folder's `mod.rs` re-exports, with the child module each comes from.
fn re_exports(head: &Source) -> BTreeMap<String, String> {
    let code = without_comments(&head.text);
    let mut from = BTreeMap::new();
    for start in ["pub use ", "pub(crate) use ", "pub(super) use "] {
        for path in paths_after(&code, start) {
            let path: Vec<String> = path.into_iter().filter(|word| word != "self").collect();
            if let (Some(child), Some(item)) = (path.first(), path.last()) {
                from.insert(item.clone(), child.clone());
            }
        }
    }
    from
}

/// Returns the path below `src` that a named path leads to, following the re-exports of one
/// `mod.rs` at each step.
fn target(path: &[String], re_exports: &BTreeMap<PathBuf, BTreeMap<String, String>>) -> PathBuf {
    let mut at = PathBuf::new();
    for word in path {
        match re_exports.get(&at).and_then(|items| items.get(word)) {
            Some(child) if child != word => at = at.join(child).join(word),
            _ => at.push(word),
        }
    }
    at
}

/// Returns every path that a file names inside the crate, from the root.
fn named_paths(source: &Source) -> Vec<Vec<String>> {
    let code = without_comments(source.production());
    let mut paths = paths_after(&code, "crate::");
    let own: Vec<String> = source
        .module_path()
        .components()
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect();
    for climbs in 1..=own.len() {
        let climb = "super::".repeat(climbs);
        for path in paths_after(&code, &climb) {
            if path.first().is_some_and(|word| word == "super") {
                continue;
            }
            let mut full = own[..own.len() - climbs].to_vec();
            full.extend(path);
            paths.push(full);
        }
    }
    paths
}

/// Returns the folder directly below `parent` that `path` lies in, if it lies in one.
fn folder_below(path: &Path, parent: &Path, folders: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let first = path.strip_prefix(parent).ok()?.components().next()?;
    let folder = parent.join(first);
    folders.contains(&folder).then_some(folder)
}

fn edges(sources: &[Source]) -> Edges {
    let heads = sources.iter().filter(|source| source.path.ends_with("mod.rs"));
    let folders: BTreeSet<PathBuf> = heads.clone().map(Source::module_path).collect();
    let re_exports = heads.map(|head| (head.module_path(), re_exports(head))).collect();
    let mut edges = Edges::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let here = source.module_path();
        for path in named_paths(source) {
            let there = target(&path, &re_exports);
            // The first folder from the root in which the two differ; siblings of `src` are layers.
            for parent in here.ancestors().filter(|parent| !parent.as_os_str().is_empty()) {
                let from = folder_below(&here, parent, &folders);
                let to = folder_below(&there, parent, &folders);
                if let (Some(from), Some(to)) = (from, to)
                    && from != to
                {
                    edges.entry(from).or_default().insert(to, source.path.clone());
                }
            }
        }
    }
    edges
}

#[test]
fn no_folder_leads_back_to_itself() {
    let edges = edges(&sources());
    for start in edges.keys() {
        let mut next: Vec<Vec<&PathBuf>> = vec![vec![start]];
        let mut reached = BTreeSet::new();
        while let Some(way) = next.pop() {
            for (to, file) in edges.get(way[way.len() - 1]).into_iter().flatten() {
                assert_ne!(to, start, "a circle through {way:?}, closed by {}", file.display());
                if reached.insert(to) {
                    next.push([way.clone(), vec![to]].concat());
                }
            }
        }
    }
}
