//! Text from disks, peers and users, made safe to display in a log or on a terminal.
//!
//! The functions differ in the part of the text that a reader needs. All of them keep every
//! character away from the terminal that controls it or that hides text.
//!
//! # Guarantees
//! - One predicate decides which characters are hidden: control characters (C0, DEL, C1), line and
//!   paragraph separators, controls of the writing direction, characters of no width, fillers, and
//!   the tag characters of the plane 14.
//! - Letters, ideographs, emoji, combining marks and variation selectors stay as they are. A
//!   sequence that joins emoji by U+200D falls apart into its emoji.

use std::fmt::{self, Write as _};

/// Maximum number of characters of a peer's text that a fault carries.
pub const MAX_QUOTED: usize = 200;

/// Returns true if the character controls a terminal, or shows nothing and so can hide a text.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e00ff}'
                | '\u{e01f0}'..='\u{e0fff}'
        )
}

/// Returns the text with every hidden character escaped as `\u{1b}`. Use it for a text of which a
/// reader needs every character, such as a path.
pub fn escape_hidden(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // A write into a string cannot fail.
    let _ = HiddenEscaper(&mut escaped).write_str(text);
    escaped
}

/// Returns the text escaped as [`escape_hidden`] does, except that line feeds stay. Use it for a
/// text that the program has arranged in lines.
pub fn escape_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escape_hidden).collect();
    lines.join("\n")
}

/// A writer that escapes hidden characters as [`escape_hidden`] does.
#[derive(Debug)]
pub struct HiddenEscaper<'a, W: fmt::Write + ?Sized>(pub &'a mut W);

impl<W: fmt::Write + ?Sized> fmt::Write for HiddenEscaper<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_hidden(c) {
                write!(self.0, "{}", c.escape_unicode())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Returns one line of at most `max_chars` characters. A run of line ends, tabs and spaces becomes
/// one space. Every other hidden character becomes a dot, and so does each sequence of bytes that
/// is not UTF-8. Use it for text or bytes of a peer.
pub fn sanitize_line(bytes: &[u8], max_chars: usize) -> String {
    let chunks = bytes.utf8_chunks();
    let chars = chunks.flat_map(|chunk| {
        let invalid = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        chunk.valid().chars().chain(invalid)
    });
    let mut line = String::with_capacity(bytes.len().min(max_chars));
    for c in chars.take(max_chars) {
        match c {
            '\r' | '\n' | '\t' | ' ' if line.ends_with(' ') => {}
            '\r' | '\n' | '\t' => line.push(' '),
            char::REPLACEMENT_CHARACTER => line.push('.'),
            c if is_hidden(c) => line.push('.'),
            c => line.push(c),
        }
    }
    line.trim().to_owned()
}

/// Returns one line of the text, in any script, with at most `max` characters and `...` if it was
/// longer. Each run of spaces and control characters becomes one space, and other hidden
/// characters are omitted. Use it for a message that a peer wrote for a user.
pub fn sanitize_message(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut free = max;
    for c in text.trim().chars().filter(|&c| c.is_control() || !is_hidden(c)) {
        let c = if c.is_control() || c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (line.is_empty() || line.ends_with(' ')) {
            continue;
        }
        if free == 0 {
            line.push_str("...");
            return line;
        }
        free -= 1;
        line.push(c);
    }
    line.trim_end().to_owned()
}

/// Returns the text with each hidden character replaced by one replacement character, so that the
/// text keeps its width in a table.
pub fn mask_hidden(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One character of each kind of hidden character.
    pub(in super::super) const HIDDEN: [char; 22] = [
        '\0',
        '\x1b',
        '\n',
        '\r',
        '\t',
        '\x7f',
        '\u{85}',
        '\u{9b}',
        '\u{61c}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{2028}',
        '\u{2029}',
        '\u{202e}',
        '\u{2066}',
        '\u{2060}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e0041}',
        '\u{ad}',
        '\u{3164}',
    ];
    /// Text that stays as it is: ideographs with a variation selector, emoji, combining marks.
    pub(in super::super) const READABLE: &str =
        "/srv/Bücher \"a\" \\ 画像葛\u{e0100} 🎉❤\u{fe0f}👍\u{1f3fd} e\u{301} नि עברית العربية";

    #[test]
    fn every_kind_of_hidden_character_is_escaped_and_readable_text_stays() {
        for c in HIDDEN {
            let text = format!("a{c}b");
            assert_eq!(escape_hidden(&text), format!("a{}b", c.escape_unicode()));
            assert_eq!(mask_hidden(&text), "a\u{fffd}b");
            let replaced = if matches!(c, '\n' | '\r' | '\t') { "a b" } else { "a.b" };
            assert_eq!(sanitize_line(text.as_bytes(), MAX_QUOTED), replaced);
            assert_eq!(escape_lines(&text) == text, c == '\n');
        }
        for (name, first, last) in [
            ("C1", '\u{80}', '\u{9f}'),
            ("embedding and override", '\u{202a}', '\u{202e}'),
            ("isolates", '\u{2066}', '\u{2069}'),
            ("interlinear annotations", '\u{fff9}', '\u{fffb}'),
            ("tags", '\u{e0000}', '\u{e007f}'),
        ] {
            assert!((first..=last).all(is_hidden), "{name}");
        }
        assert_eq!(escape_hidden(READABLE), READABLE);
        assert_eq!(mask_hidden(READABLE), READABLE);
        assert_eq!(sanitize_line(READABLE.as_bytes(), MAX_QUOTED), READABLE);
        assert_eq!(escape_hidden("\u{202e}\u{9b}31m"), "\\u{202e}\\u{9b}31m");
    }

    proptest::proptest! {
        #[test]
        fn no_function_lets_a_hidden_character_pass(text in "\\PC*|.*|\\p{Cf}*", bytes: Vec<u8>) {
            for safe in [
                escape_hidden(&text), mask_hidden(&text), sanitize_line(&bytes, MAX_QUOTED),
                sanitize_line(text.as_bytes(), MAX_QUOTED),
            ] {
                proptest::prop_assert!(!safe.contains(is_hidden), "{safe:?}");
            }
            let line = sanitize_line(text.as_bytes(), 7);
            proptest::prop_assert!(line.chars().count() <= 7, "{line:?}");
            proptest::prop_assert_eq!(sanitize_line(line.as_bytes(), 7), line);
        }
    }

    #[test]
    fn a_message_is_one_bounded_line_in_any_script() {
        for (text, line) in [
            (
                "Konto gesperrt: zu viele Versuche\r\n\r\n(10 Minuten)\n",
                "Konto gesperrt: zu viele Versuche (10 Minuten)",
            ),
            (
                "  \u{8d26}\u{6237}\u{5df2}\u{8fc7}\u{671f}\t ",
                "\u{8d26}\u{6237}\u{5df2}\u{8fc7}\u{671f}",
            ),
            ("a\x1b[2J\u{202e}b\0", "a [2Jb"),
            ("\u{200b}\r\n", ""),
        ] {
            assert_eq!(sanitize_message(text, 64), line);
        }
        assert_eq!(sanitize_message(&"\u{e4}".repeat(99), 64), "\u{e4}".repeat(64) + "...");
        assert_eq!(sanitize_message(&"x".repeat(64), 64), "x".repeat(64));
    }

    #[test]
    fn a_sanitized_line_is_bounded_and_readable() {
        for (bytes, line) in [
            (&b"220 ftp ready\r\n331 next\r\n"[..], "220 ftp ready 331 next"),
            (b"\x16\x03\x01\x1b[2J", "....[2J"),
            (b"\r\n", ""),
            (b" no\r\n\x1b[31msuch\x00 \xff\n", "no .[31msuch. ."),
            ("密码错误，\r\n请重试".as_bytes(), "密码错误， 请重试"),
            // A text that is cut within a character, and Chinese in an encoding that is not UTF-8.
            (&"密码".as_bytes()[..5], "密."),
            (b"\xc3\xdc\xc2\xeb", "...."),
        ] {
            assert_eq!(sanitize_line(bytes, MAX_QUOTED), line);
        }
        assert_eq!(sanitize_line(&[b'a'; 500], 64).len(), 64);
        assert_eq!(sanitize_line("画".repeat(500).as_bytes(), 64), "画".repeat(64));
    }
}
