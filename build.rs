//! Gives the linker the order of the functions of the program (docs/decisions/0007-function-order.md)
//! and the name service of a static program (docs/decisions/0009-static-program.md), and collects the
//! words of its messages, which `redaction` shows.

#![expect(clippy::disallowed_macros, reason = "cargo reads the standard output of this program")]
#![expect(clippy::disallowed_methods, reason = "a build reads the sources")]

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs, io};

const ORDER: &str = "layout/functions.ld";
const NAME_SERVICE: &str = "layout/name_service.c";
/// The variable that, with the value `none`, leaves the functions in the order of the compiler.
const VARIABLE: &str = "FUNCTION_ORDER";

/// Folders and files of `src` whose texts are no messages of the daemon. `example.rs` has a value
/// for tests.
const NO_MESSAGES: [&str; 4] = ["demo", "example", "fuzzing", "tests"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    println!("cargo::rerun-if-changed={NAME_SERVICE}");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // The linker of these systems is LLD, which comes with the compiler. Others have not been tried.
    let is_tried = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    // The profile is "release" for all profiles that inherit from it.
    if is("PROFILE", "release")
        && is_tried
        && !is(VARIABLE, "none")
        && let Ok(root) = env::var("CARGO_MANIFEST_DIR")
    {
        println!("cargo::rustc-link-arg-bin=imagestore-agent=-Wl,--script={root}/{ORDER}");
    }
    let is_static = env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|feature| feature == "crt-static"));
    if is_static && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // The linker takes an object that nothing refers to only by its path.
        for object in cc::Build::new().file(NAME_SERVICE).compile_intermediates() {
            println!("cargo::rustc-link-arg-bin=imagestore-agent={}", object.display());
        }
    }
    println!("cargo::rerun-if-changed=src");
    let mut words = BTreeSet::new();
    collect_words(Path::new("src"), &mut words)?;
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let lines: String = words.iter().map(|word| format!("{word}\n")).collect();
    fs::write(Path::new(&out).join("own_words.txt"), lines)
}

/// Adds the words of the texts of all sources in a folder, in lower case.
fn collect_words(folder: &Path, words: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| NO_MESSAGES.iter().any(|name| *name == stem)) {
            continue;
        }
        if path.is_dir() {
            collect_words(&path, words)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path)?;
            let production = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for text in literals(production) {
                for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
                    add_word(word, words);
                }
            }
        }
    }
    Ok(())
}

/// Adds a word. ASCII and other scripts are different words.
fn add_word(word: &str, words: &mut BTreeSet<String>) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| c.is_ascii() != first.is_ascii()).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        words.insert(run.to_lowercase());
        rest = after;
    }
}

/// Returns the contents of the string literals, with escapes as blanks. Comments are skipped.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (_, from) = rest.split_at(at);
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(after) =
            ["'\"'", "'\\\"'", "'/'", "'\\''"].iter().find_map(|it| from.strip_prefix(it))
        {
            after
        } else if let Some(text) = from.strip_prefix('"') {
            let mut literal = String::new();
            let mut chars = text.char_indices();
            let mut end = text.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => {
                        chars.next();
                        literal.push(' ');
                    }
                    c => literal.push(c),
                }
            }
            found.push(literal);
            text.split_at(end).1
        } else {
            let mut chars = from.chars();
            chars.next();
            chars.as_str()
        };
    }
    found
}
