//! Masks the password of a store in the texts of SSH servers. A server may repeat a password that
//! it received: in the same login, or before the next one.

use crate::common::{MAX_QUOTED, sanitize_line, sanitize_message};
use crate::model::Secret;

/// Text in place of the password.
const MASK: &str = "***";

/// Minimum length in bytes of a start of the password that is masked at the end of a text. Shorter
/// ones are common ends of words.
const MIN_PARTIAL_BYTES: usize = 3;

/// Returns a text of the server as one line that is safe to display. The password is masked before
/// the text is cut, because a part of it would not be recognized.
pub(super) fn quote_masked(text: &str, password: Option<&Secret>) -> String {
    sanitize_message(&mask_password(text, password), MAX_QUOTED)
}

/// Returns a text of a server that has not shown its host key, as one line that is safe to display.
/// Only the whole password is masked: a mask for a part of it would tell the sender of the text
/// which part is right.
pub(super) fn quote_unverified(text: &str, password: Option<&Secret>) -> String {
    sanitize_message(&mask_whole(text, password), MAX_QUOTED)
}

/// Returns the text as one line without the password, also if the text ends within it.
fn mask_password(text: &str, password: Option<&Secret>) -> String {
    let masked = mask_whole(text, password);
    match password.map(Secret::expose_secret) {
        Some(password) => mask_partial_end(masked, &sanitize_message(password, password.len())),
        None => masked,
    }
}

/// Returns the text as one line without the password. The password is also masked if only
/// characters that are not displayed interrupt it.
fn mask_whole(text: &str, password: Option<&Secret>) -> String {
    let line = |text: &str| sanitize_message(text, text.len());
    let Some(password) = password.map(Secret::expose_secret) else { return line(text) };
    let mut masked = text.to_owned();
    for password in [password.to_owned(), line(password)] {
        if !password.is_empty() {
            masked = line(&masked.replace(&password, MASK));
        }
    }
    masked
}

/// Masks the end of a text if it is the start of the password. A peer's text may have been cut off
/// there, also within a character.
fn mask_partial_end(text: String, password: &str) -> String {
    let starts = password.char_indices().map(|(end, _)| end).rev();
    let complete = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let partial = starts
        .filter(|&length| length >= MIN_PARTIAL_BYTES)
        .filter_map(|length| password.get(..length))
        .find_map(|start| complete.strip_suffix(start));
    match partial {
        Some(rest) => format!("{rest}{MASK}"),
        None => text,
    }
}

/// Returns bytes of a server that has not shown its host key as one line, as [`sanitize_line`]
/// does, without the password. As with [`quote_unverified`], a part of it is not masked.
pub(super) fn mask_line(bytes: &[u8], max_chars: usize, password: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(bytes);
    let masked = mask_whole(&text, password);
    match masked == mask_whole(&text, None) {
        true => sanitize_line(bytes, max_chars),
        false => sanitize_line(masked.as_bytes(), max_chars),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_the_password_is_displayed() {
        let password = Secret::new("hunter2  Geheim".into());
        for (text, masked) in [
            ("falsch: hunter2  Geheim!", "falsch: ***!"),
            ("falsch: hun\u{200b}ter2\r\nGeh\u{202e}eim!", "falsch: ***!"),
            ("abgeschnitten: hunter2  Gehe", "abgeschnitten: ***"),
            ("abgeschnitten: hunte", "abgeschnitten: ***"),
            ("abgeschnitten: hunter2  Geh\u{fffd}", "abgeschnitten: ***"),
            ("nah\u{fffd}", "nah\u{fffd}"),
            ("nah", "nah"),
            ("", ""),
        ] {
            assert_eq!(mask_password(text, Some(&password)), masked, "{text}");
        }
        assert_eq!(mask_password(" a\x1b[2J\n", None), "a [2J");
        assert_eq!(mask_password("a b", Some(&Secret::new(String::new()))), "a b");
    }

    #[test]
    fn a_line_changes_only_if_it_has_the_password() {
        let password = Secret::new("hunter2".into());
        for (bytes, expected) in [
            (&b"220 \x07 hunter2 \xff\r\n"[..], "220 *** ."),
            // The peer has not shown its key, and may try parts of the password.
            (b"220 hun", "220 hun"),
            (b"220 hunter", "220 hunter"),
            (b"220 ftp\x1b[2J \xff\r\n", "220 ftp.[2J ."),
        ] {
            assert_eq!(mask_line(bytes, 64, Some(&password)), expected);
        }
        assert_eq!(mask_line(b"220 hunter2\x07", 64, None), "220 hunter2.");
        assert_eq!(quote_unverified("bye hunte", Some(&password)), "bye hunte");
        assert_eq!(quote_unverified("bye hunter2", Some(&password)), "bye ***");
        assert_eq!(mask_line(b"hunter2 hunter2", 6, Some(&password)), "*** **");
    }
}
