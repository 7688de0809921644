//! The floors of `docs/architecture.md`, read off the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms and their floors. An arrow may only go to a lower number.
const FLOORS: [(&str, u8); 20] = [
    ("common", 0),
    ("model", 1),
    ("lifecycle", 2),
    ("delivery", 2),
    ("settings", 2),
    ("wire", 3),
    ("ledger", 3),
    ("probe", 3),
    ("ssh", 3),
    ("tls", 3),
    ("management", 4),
    ("agent", 4),
    ("notifier", 5),
    ("http", 6),
    ("cli", 6),
    ("telemetry", 6),
    ("systemd", 6),
    ("app", 7),
    ("demo", 8),
    ("main", 9),
];

/// Rooms that decide and never wait.
const PURE: [&str; 3] = ["model", "lifecycle", "delivery"];

/// One idea a file.
const MOST_LINES: usize = 350;

struct Source {
    path: PathBuf,
    /// The room: the module under `src` that the file belongs to; none for `lib.rs`.
    room: Option<String>,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let room = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path, room: (room != "lib").then_some(room), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the source is not where it is looked for");
    found
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The text without line comments. A `//` in a literal cuts its line short, which hides no path: none
/// follows a literal on one line in formatted source.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).fold(
        String::new(),
        |mut code, line| {
            code.push_str(line);
            code.push('\n');
            code
        },
    )
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// The rooms that a source names: after `crate::` or the crate's own name, alone or in braces, and
/// where `super::super::` climbs to a room.
fn rooms_named(text: &str) -> Vec<String> {
    let code = code(text);
    let roots = ["crate::", "imagestore_agent::"];
    let mut rooms: Vec<String> = roots.iter().flat_map(|root| named_after(&code, root)).collect();
    let climbs =
        code.match_indices("super::super::").map(|(at, up)| first_word(&code[at + up.len()..]));
    rooms.extend(climbs.filter(|word| floor(word).is_some()).map(str::to_owned));
    rooms
}

/// What stands behind each `root`, alone or in braces.
fn named_after(code: &str, root: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = code[at + root.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => named.extend(group_members(group)),
            None => named.push(first_word(rest).to_owned()),
        }
    }
    named
}

/// The first words of `a, b::c, d::{e, f}}`, up to the brace that closes the group.
fn group_members(group: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut depth = 0_usize;
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(std::mem::take(&mut member)),
            c => member.push(c),
        }
    }
    members.push(member);
    members
        .iter()
        .map(|member| first_word(member.trim()).to_owned())
        .filter(|m| !m.is_empty())
        .collect()
}

#[test]
fn an_arrow_only_goes_down() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(room) = &source.room else { continue };
        let Some(here) = floor(room) else {
            wrong.push(format!("{}: {room} stands on no floor", source.path.display()));
            continue;
        };
        for named in rooms_named(&source.text) {
            // A word that is no room is an item of the crate's root, of which there is none.
            let down = floor(&named).is_some_and(|there| there < here);
            if !down && named != *room {
                wrong.push(format!("{}: {room} -> {named}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_arrow_is_seen_in_each_way_of_writing_it() {
    for (text, expected) in [
        ("use crate::model::Status;", vec!["model"]),
        ("use crate::{model::{Status, Tags}, http, wire as w};", vec!["model", "http", "wire"]),
        ("use crate::{\n    agent::Registry,\n    ssh,\n};", vec!["agent", "ssh"]),
        ("fn f() -> crate::http::Error { $crate::cli::x() }", vec!["http", "cli"]),
        ("imagestore_agent::app::run()", vec!["app"]),
        ("use super::super::notifier::Handle;", vec!["notifier"]),
        ("// crate::http\n//! [`crate::app`]\nmycrate::http; use super::super::x;", vec![]),
    ] {
        assert_eq!(rooms_named(text), expected, "{text}");
    }
}

/// What each file takes from the files beside it, but for its tests.
fn beside(sources: &[Source]) -> BTreeMap<&Path, Vec<PathBuf>> {
    let paths: BTreeSet<&Path> = sources.iter().map(|source| source.path.as_path()).collect();
    let taken = |source: &Source| {
        let code = code(source.text.split("#[cfg(test)]").next().unwrap());
        let named = named_after(&code, "super::").into_iter();
        let files = named.map(|name| source.path.with_file_name(format!("{name}.rs")));
        files.filter(|path| paths.contains(path.as_path())).collect()
    };
    // `super` of a room's head is another room.
    let files = sources.iter().filter(|source| !source.path.ends_with("mod.rs"));
    files.map(|source| (source.path.as_path(), taken(source))).collect()
}

#[test]
fn no_file_leads_back_to_itself() {
    let sources = sources();
    let taken = beside(&sources);
    for &start in taken.keys() {
        let (mut reached, mut next) = (BTreeSet::new(), taken[start].clone());
        while let Some(path) = next.pop() {
            assert_ne!(path, start, "a circle, by way of {reached:#?}");
            if reached.insert(path.clone()) {
                next.extend(taken.get(path.as_path()).into_iter().flatten().cloned());
            }
        }
    }
}

#[test]
fn what_decides_never_waits() {
    let runtime = ["tokio", "hyper", "axum", "futures", "async", "await"];
    for source in sources() {
        if !source.room.as_deref().is_some_and(|room| PURE.contains(&room)) {
            continue;
        }
        let code = code(&source.text);
        let word = code.split(|c| !is_word(c)).find(|word| runtime.contains(word));
        assert_eq!(word, None, "{}", source.path.display());
    }
}

#[test]
fn every_file_says_what_it_promises_and_holds_one_idea() {
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{path}: does not open with what it promises"));
        }
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{path}: {lines} lines, more than {MOST_LINES}"));
        }
        let name = source.path.file_name().and_then(|name| name.to_str());
        let heads_room = source.room.is_some() && name == Some("mod.rs");
        let of_room = source.path.ancestors().nth(2).is_some_and(|dir| dir.ends_with("src"));
        if heads_room && of_room {
            let floor = source.room.as_deref().and_then(floor);
            let told = floor.map(|floor| format!("//! Floor {floor}."));
            if !told.is_some_and(|told| source.text.starts_with(&told)) {
                wrong.push(format!("{path}: does not open with its floor"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
