//! The fuzz targets, their seeds, and seeded runs of every parser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

use super::{FuzzedParser, PARSERS};

/// Number of inputs for each parser.
const CASES: u32 = 10_000;
/// Size of an input that makes a parser with a quadratic loop run for minutes.
const LARGE_BYTES: usize = 256 * 1024;
/// Time for a large input, a hundred times what the slowest parser needs without optimization.
const LARGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Parts that matter to one of the parsers, and that a change of single bytes rarely makes.
const WORDS: [&[u8]; 26] = [
    b"{",
    b"}",
    b"[",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b":",
    b",",
    b"\r\n",
    b"\n",
    b"%41",
    b"%",
    b"\\040",
    b" - ",
    b"\0",
    b"\x1b[",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xe2\x80\xae",
    b"\xff\xff\xff\xff",
    b"SSH-2.0-",
];

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn seeds(parser: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(fuzz_dir().join("seeds").join(parser)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, Index),
    Repeat(Index, Index),
    Truncate(Index),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        let range = |one: &Index, other: &Index| {
            let (one, other) = (at(one), at(other));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                match bytes.get_mut(at) {
                    Some(old) => *old = *byte,
                    None => bytes.push(*byte),
                }
            }
            Self::Insert(index, word) => {
                let at = at(index);
                bytes.splice(at..at, word.iter().copied());
            }
            Self::Remove(one, other) => drop(bytes.drain(range(one, other))),
            Self::Repeat(one, other) => {
                let range = range(one, other);
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, part);
            }
            Self::Truncate(index) => bytes.truncate(at(index)),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (index(), prop::sample::select(&WORDS)).prop_map(|(at, word)| Edit::Insert(at, word)),
        (index(), index()).prop_map(|(one, other)| Edit::Remove(one, other)),
        (index(), index()).prop_map(|(one, other)| Edit::Repeat(one, other)),
        index().prop_map(Edit::Truncate),
    ]
}

fn mutated(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edited = (prop::sample::select(seeds), prop::collection::vec(edit(), 0..6));
    let edited = edited.prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        bytes
    });
    prop_oneof![9 => edited, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn every_parser_has_a_fuzz_target_and_seeds() {
    let names: BTreeSet<String> = PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), PARSERS.len());
    assert_eq!(names_in(&fuzz_dir().join("fuzz_targets")), names);
    assert_eq!(names_in(&fuzz_dir().join("seeds")), names);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for name in &names {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{path}\"")), "{name}");
        let target = fs::read_to_string(fuzz_dir().join(&path)).unwrap();
        assert!(target.contains(&format!("fuzz_parser(\"{name}\", data)")), "{path}");
        assert!(seeds(name).len() >= 2, "{name}");
    }
}

#[test]
fn no_seed_and_no_change_of_one_breaks_a_parser() {
    for (name, parser) in PARSERS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| parser(seed));
        parser(b"");
        let mut runner = TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        });
        let result = runner.run(&mutated(seeds), |bytes| {
            parser(&bytes);
            Ok(())
        });
        if let Err(TestError::Fail(reason, bytes)) = result {
            panic!("{name}: {reason} for {}", bytes.escape_ascii());
        }
        assert_eq!(result, Ok(()), "{name}");
    }
}

/// Parses the inputs on another thread. Returns false if that takes longer than the limit.
fn finishes(parser: FuzzedParser, inputs: Vec<Vec<u8>>) -> bool {
    let (finished, result) = mpsc::channel();
    thread::spawn(move || {
        inputs.iter().for_each(|input| parser(input));
        let _ = finished.send(());
    });
    match result.recv_timeout(LARGE_TIMEOUT) {
        Ok(()) => true,
        Err(mpsc::RecvTimeoutError::Timeout) => false,
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the parser panicked"),
    }
}

#[test]
fn a_large_input_takes_no_parser_long() {
    let repeat = |part: &[u8]| {
        part.iter().copied().cycle().take(if part.is_empty() { 0 } else { LARGE_BYTES }).collect()
    };
    for (name, parser) in PARSERS {
        let mut inputs: Vec<Vec<u8>> = seeds(name).iter().map(|seed| repeat(seed)).collect();
        // A part that repeats after the start of a valid input reaches the loops of a parser.
        for seed in seeds(name) {
            let start = &seed[..seed.len() / 2];
            inputs.push([start, &repeat(&start[start.len().saturating_sub(8)..])].concat());
        }
        inputs.extend(WORDS.iter().map(|word| repeat(word)));
        assert!(finishes(parser, inputs), "{name}");
    }
}
