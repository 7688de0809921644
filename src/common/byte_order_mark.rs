//! The byte order mark that some editors and clients put before a text in UTF-8.

/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the text without a byte order mark at its start. A recipient may pass it over (RFC 8259
/// section 8.1), and no format that the daemon reads can begin with it.
pub fn skip_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_at_the_start_is_passed_over_and_no_other() {
        for (text, expected) in [
            ("\u{feff}{}", "{}"),
            ("{}", "{}"),
            ("\u{feff}", ""),
            ("", ""),
            ("\u{feff}\u{feff}x", "\u{feff}x"),
            ("x\u{feff}", "x\u{feff}"),
        ] {
            assert_eq!(skip_byte_order_mark(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
        assert_eq!(skip_byte_order_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
