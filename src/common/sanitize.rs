//! Text from disks, peers and users, made safe to display in a log or on a terminal.
//!
//! The functions differ in the part of the text that a reader needs. All of them keep every control
//! character away from the terminal.

/// Maximum number of characters of a peer's text that a fault carries.
pub const MAX_QUOTED: usize = 200;

/// Returns the text with every character that controls a terminal or hides text escaped as
/// `\u{1b}`. These are control characters, line separators, characters of no width, and characters
/// that change the direction of writing. Letters of any script stay unchanged. Use it for a text of
/// which a reader needs every character, such as a path.
pub fn escape_hidden(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_hidden(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn is_hidden(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Returns one line of printable ASCII from the first `max` bytes. A run of line ends or tabs
/// becomes one space, and every other byte that is not printable becomes a dot. Use it for bytes of
/// a peer in an unknown protocol.
pub fn sanitize_ascii(bytes: &[u8], max: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(max));
    for byte in bytes.iter().copied().take(max) {
        match byte {
            b'\r' | b'\n' | b'\t' | b' ' if text.ends_with(' ') => {}
            b'\r' | b'\n' | b'\t' => text.push(' '),
            0x20..0x7f => text.push(char::from(byte)),
            _ => text.push('.'),
        }
    }
    text.trim().to_owned()
}

/// Returns one line of the text, in any script, with at most `max` characters and `...` if it was
/// longer. Each run of spaces and control characters becomes one space, and characters that
/// [`escape_hidden`] escapes are omitted. Use it for a message that a peer wrote for a user.
pub fn sanitize_message(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut free = max;
    for c in text.trim().chars().filter(|&c| !is_hidden(c)) {
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

/// Returns one line of text. Each control character becomes a space, and bytes that are not UTF-8
/// become replacement characters. Use it for the body of an HTTP response whose size is bounded.
pub fn sanitize_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// Returns the text with each control character replaced by one replacement character, so that the
/// text keeps its width in a table.
pub fn mask_control(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped_and_readable_ones_stay() {
        for (text, escaped) in [
            ("/srv/Bücher \"a\" \\ 画像", "/srv/Bücher \"a\" \\ 画像"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\r\nb\tc\0", "a\\u{d}\\u{a}b\\u{9}c\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{2028}d", "a\\u{202e}b\\u{2066}c\\u{2028}d"),
        ] {
            assert_eq!(escape_hidden(text), escaped);
        }
    }

    #[test]
    fn sanitized_ascii_is_one_printable_line_of_bounded_length() {
        let sanitized = |bytes| sanitize_ascii(bytes, MAX_QUOTED);
        assert_eq!(sanitized(b"220 ftp ready\r\n331 next\r\n"), "220 ftp ready 331 next");
        assert_eq!(sanitized(b"\x16\x03\x01\x1b[2J"), "....[2J");
        assert_eq!(sanitized(b"\r\n"), "");
        assert_eq!(sanitize_ascii(&[b'a'; 500], 64).len(), 64);
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
    fn a_sanitized_line_has_no_control_character() {
        assert_eq!(sanitize_line(b" no\r\n\x1b[31msuch\x00 \xff\n"), "no   [31msuch  \u{fffd}");
    }

    #[test]
    fn a_masked_text_keeps_its_width() {
        assert_eq!(mask_control("a\x1b[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
    }
}
