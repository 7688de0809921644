//! The words of this program: those of its own messages, in both languages.

use std::collections::HashSet;
use std::sync::LazyLock;

use nix::errno::Errno;

/// The words of the texts in the source, one a line, in lower case. The build collects them.
const OWN_WORDS: &str = include_str!(concat!(env!("OUT_DIR"), "/own_words.txt"));
/// The largest number of an error of the system, in `errno(3)`.
const MAX_ERRNO: i32 = 133;
/// Words of messages that come from libraries.
const LIBRARY_WORDS: [&str; 12] = [
    "os",
    "error",
    "tcp",
    "connect",
    "expired",
    "unknownissuer",
    "notvalidforname",
    "unexpected",
    "eof",
    "glibc",
    "musl",
    "linux",
];
/// The units of a figure that is written without a blank, such as `30s`.
const UNITS: [&str; 12] = ["ns", "us", "ms", "s", "m", "h", "d", "w", "k", "b", "kib", "mib"];
/// The maximum number of digits of a figure: bytes of the largest disk have 19.
const MAX_DIGITS: usize = 19;

static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let errors = (1..=MAX_ERRNO).map(|number| Errno::from_raw(number).desc());
    let errors = errors.flat_map(|text| text.split(|c: char| !is_word_char(c)));
    let words = OWN_WORDS.lines().chain(LIBRARY_WORDS).chain(errors);
    // The names of the errors, such as `ENOENT`.
    let names = (1..=MAX_ERRNO).map(|number| format!("{:?}", Errno::from_raw(number)));
    words.map(str::to_lowercase).chain(names.map(|name| name.to_lowercase())).collect()
});

/// Returns true if the character is part of a word.
pub(super) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns true if the word is one of this program, or a figure.
pub(super) fn is_plain(word: &str) -> bool {
    WORDS.contains(&word.to_lowercase()) || is_figure(word)
}

fn is_figure(word: &str) -> bool {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = word.len().saturating_sub(unit.len());
    let is_unit = unit.is_empty() || UNITS.contains(&unit);
    (1..=MAX_DIGITS).contains(&digits) && is_unit
}
