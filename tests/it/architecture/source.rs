//! The source files of the crate, and the paths that they name.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The module directly below the folder that the file belongs to; `None` for `lib.rs`.
    pub(super) module: Option<String>,
    pub(super) text: String,
}

impl Source {
    /// Returns the text before the tests that stand at the end of the file.
    pub(super) fn production(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
    }

    /// Returns true if the whole file is a test: it lies in a folder `tests`, or a parent declares
    /// it as one under `cfg(test)`.
    pub(super) fn is_test(&self) -> bool {
        let in_tests = self.path.components().any(|part| part.as_os_str() == "tests");
        in_tests || self.path.file_stem().is_some_and(|stem| stem == "tests")
    }

    /// Returns the path below `src`, without `.rs` and `/mod`: `agent/store` for
    /// `agent/store/mod.rs`.
    pub(super) fn module_path(&self) -> PathBuf {
        let inside = self.path.strip_prefix(root()).unwrap().with_extension("");
        if inside.ends_with("mod") { inside.parent().unwrap().to_owned() } else { inside }
    }
}

/// Returns the folder `src`.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Reads every file below `src`, ordered by path.
pub(super) fn sources() -> Vec<Source> {
    sources_below(&root())
}

/// Reads every file of the tests, benches, examples and fuzz targets, ordered by path in a folder.
pub(super) fn test_sources() -> Vec<Source> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests", "benches", "examples", "fuzz/fuzz_targets"];
    folders.iter().flat_map(|folder| sources_below(&tree.join(folder))).collect()
}

fn sources_below(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(root).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path, module: (module != "lib").then_some(module), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no source below {}", root.display());
    found
}

/// Returns the text without line comments. A `//` in a literal cuts its line short, which hides no
/// path: in formatted source no path follows a literal on one line.
pub(super) fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    )
}

/// Returns true for a character of an identifier.
pub(super) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the identifier that `text` begins with, or an empty text.
pub(super) fn first_word(text: &str) -> &str {
    text.split(|c| !is_word_char(c)).next().unwrap_or_default()
}

/// Returns every path that follows `root` in `code`, alone or in braces, as its identifiers:
/// `root` `crate::` and `use crate::a::{b, c::D};` give `[a, b]` and `[a, c, D]`.
pub(super) fn paths_after(code: &str, root: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].chars().next_back().is_some_and(|c| is_word_char(c) || c == ':') {
            continue;
        }
        expand(code[at + root.len()..].trim_start(), &mut Vec::new(), &mut paths);
    }
    paths
}

/// Adds the paths of `text` below `prefix`, up to the end of the path or of its group in braces.
fn expand(text: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    if let Some(group) = text.strip_prefix('{') {
        for member in group_members(group) {
            expand(member.trim(), prefix, paths);
        }
        return;
    }
    let word = first_word(text);
    if word.is_empty() || word == "self" {
        return paths.push(prefix.clone());
    }
    prefix.push(word.to_owned());
    match text[word.len()..].strip_prefix("::") {
        Some(rest) => expand(rest.trim_start(), prefix, paths),
        None => paths.push(prefix.clone()),
    }
    prefix.pop();
}

/// Splits `a, b::c, d::{e, f}}` at the commas outside inner braces, up to the brace that closes the
/// group.
fn group_members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

#[test]
fn a_path_is_found_in_each_way_of_writing_it() {
    for (text, expected) in [
        ("use crate::model::Status;", vec!["model::Status"]),
        (
            "use crate::{model::{Status, Tags}, http, wire as w};",
            vec!["model::Status", "model::Tags", "http", "wire"],
        ),
        ("use crate::{\n    agent::Registry,\n    ssh,\n};", vec!["agent::Registry", "ssh"]),
        ("fn f() -> crate::http::Error { $crate::cli::x() }", vec!["http::Error", "cli::x"]),
        ("use crate::ledger::{self, Change};", vec!["ledger", "ledger::Change"]),
        ("mycrate::http; self::crate::cli;", vec![]),
    ] {
        let found: Vec<String> =
            paths_after(text, "crate::").iter().map(|path| path.join("::")).collect();
        assert_eq!(found, expected, "{text}");
    }
}
