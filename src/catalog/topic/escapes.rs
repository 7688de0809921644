//! Removes the escapes of JSON from a pasted text.

use std::borrow::Cow;
use std::str::Chars;

/// Most levels of escapes: a message in the details of an error, which is in a document that is in
/// another one.
const MAX_LEVELS: usize = 4;

/// Returns a text without the escapes of JSON in it, also those of a document in a document. What
/// is no escape stays.
pub(super) fn without_escapes(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_LEVELS {
        if !text.contains('\\') {
            break;
        }
        text = Cow::Owned(unescaped_once(&text));
    }
    text
}

fn unescaped_once(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n' | 'r' | 't' | 'b' | 'f') => plain.push(' '),
            Some(same @ ('"' | '\\' | '/')) => plain.push(same),
            Some('u') => push_unicode(&mut chars, &mut plain),
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

/// Appends the character behind a `\u`, which may be a pair of two.
fn push_unicode(chars: &mut Chars<'_>, plain: &mut String) {
    let mut ahead = chars.clone();
    let Some(first) = take_unit(&mut ahead) else { return plain.push_str("\\u") };
    let mut behind = ahead.clone();
    let second = match (behind.next(), behind.next()) {
        (Some('\\'), Some('u')) => take_unit(&mut behind),
        _ => None,
    };
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    let single = char::decode_utf16([first]).next().and_then(Result::ok);
    match (single, pair) {
        (Some(c), _) => {
            plain.push(c);
            *chars = ahead;
        }
        (None, Some(c)) => {
            plain.push(c);
            *chars = behind;
        }
        (None, None) => plain.push_str("\\u"),
    }
}

/// Takes four hexadecimal digits.
fn take_unit(chars: &mut Chars<'_>) -> Option<u16> {
    let mut unit = 0_u16;
    for _ in 0..4 {
        let digit = u16::try_from(chars.next()?.to_digit(16)?).ok()?;
        unit = unit.checked_mul(16)?.checked_add(digit)?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escapes_of_json_are_removed() {
        for (text, plain) in [
            ("plain", "plain"),
            (r"\u5931\u8054", "失联"),
            (r"a\u00E9\ud83d\ude00z", "aé😀z"),
            (r#"\"a\/b\""#, r#""a/b""#),
            (r"a\nb\tc", "a b c"),
            (r"\\u5931", "失"),
            (r"\\\\u5931", "失"),
            (r"\ud83d alone", r"\ud83d alone"),
            (r"\ud83d\u5931", r"\ud83d失"),
            (r"\u59", r"\u59"),
            (r"\u{a}", r"\u{a}"),
            (r"\x \", r"\x \"),
        ] {
            assert_eq!(without_escapes(text), plain, "{text}");
        }
        assert!(matches!(without_escapes("plain"), Cow::Borrowed(_)));
    }
}
