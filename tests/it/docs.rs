//! The tables of the documents, compared with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imagestore_agent::model::{Condition, Reason};
use imagestore_agent::wire::MAX_BODY_BYTES;

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the paths of the documents.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        .map(|name| root.join(name))
        .into();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    files
}

/// Returns the cells of each row whose first cell is a word in backticks.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_reason_has_its_row_with_pace_and_remedy() {
    let documented: BTreeMap<String, (String, String)> = rows(&text("docs/faults.md"))
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].trim_matches('`').to_owned(), (row[2].clone(), row[3].clone())))
        .collect();
    let program = Reason::ALL.iter().map(|reason| {
        let pace = if reason.is_soft() { "soft" } else { "hard" };
        (reason.as_str().to_owned(), (pace.to_owned(), reason.remedy().to_owned()))
    });
    assert_eq!(documented, program.collect());
}

#[test]
fn every_condition_has_its_row_with_its_remedy() {
    let documented: BTreeMap<String, String> = rows(&text("docs/faults.md"))
        .into_iter()
        .filter(|row| row.len() == 3)
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    let program = Condition::ALL.iter().map(|c| (c.as_str().to_owned(), c.remedy().to_owned()));
    assert_eq!(documented, program.collect());
}

#[test]
fn the_size_of_the_largest_body_is_documented() {
    let (thousands, rest) = (MAX_BODY_BYTES / 1000, MAX_BODY_BYTES % 1000);
    let size = format!("{},{:03},{rest:03} bytes", thousands / 1000, thousands % 1000);
    let found = text("docs/http-api.md").matches(&size).count();
    assert_eq!(found, 2, "docs/http-api.md must have {size:?} in its limits and its statuses");
}

/// Adds the paths of all folders below `folder` that contain sources, relative to `src`.
fn collect_folders(folder: &Path, src: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            let is_source = |path: &Path| path.extension().is_some_and(|e| e == "rs");
            let mut files = fs::read_dir(&entry).unwrap().map(|file| file.unwrap().path());
            if files.any(|file| is_source(&file)) {
                found.insert(entry.strip_prefix(src).unwrap().to_str().unwrap().to_owned());
            }
            collect_folders(&entry, src, found);
        }
    }
}

#[test]
fn every_folder_of_a_module_is_described() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    collect_folders(&src, &src, &mut found);
    found.retain(|folder| folder.contains('/'));
    let text = text("docs/architecture.md");
    let folders = text.split_once("\nsrc/\n").unwrap().1;
    let described: BTreeSet<String> = folders
        .lines()
        .map_while(|line| line.strip_prefix("  ")?.split_once("/ "))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    assert_eq!(described, found);
}

/// Returns the lines of prose that are too long: not those of tables and of code.
fn long_lines(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let is_long = |line: &&str| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code && !line.starts_with(['|', '#']) && line.chars().count() > 120
    };
    text.lines().filter(is_long).collect()
}

#[test]
fn prose_fits_the_window() {
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(long_lines(&text), [""; 0], "{}", file.display());
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let files = documents();
    let mut links = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = link.split('#').next().unwrap();
            assert!(file.parent().unwrap().join(target).exists(), "{}: {link}", file.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links found");
}
