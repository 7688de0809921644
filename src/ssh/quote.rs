//! What a peer sent, made fit to be shown: one line, printable ASCII, bounded. It never lets a control
//! character through to a log or a terminal.

/// Most characters of a peer's text that a fault carries.
pub(super) const MOST: usize = 200;

/// At most `most` bytes of `bytes`; line ends become one space, what else is not printable a dot.
pub(super) fn printable(bytes: &[u8], most: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(most));
    for byte in bytes.iter().copied().take(most) {
        match byte {
            b'\r' | b'\n' | b'\t' | b' ' if text.ends_with(' ') => {}
            b'\r' | b'\n' | b'\t' => text.push(' '),
            0x20..0x7f => text.push(char::from(byte)),
            _ => text.push('.'),
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_one_printable_line_of_bounded_length() {
        assert_eq!(printable(b"220 ftp ready\r\n331 next\r\n", MOST), "220 ftp ready 331 next");
        assert_eq!(printable(b"\x16\x03\x01\x1b[2J", MOST), "....[2J");
        assert_eq!(printable(&[b'a'; 500], 64).len(), 64);
        assert_eq!(printable(b"\r\n", MOST), "");
    }
}
