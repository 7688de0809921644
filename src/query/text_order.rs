//! The order and the equality of texts. Case does not matter, as in ZStack's database.

use std::cmp::Ordering;

/// Compares two texts without regard to case. Each character counts as its lower-case form, and
/// accents count.
pub(super) fn compare_text(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        let one = one.bytes().map(|byte| byte.to_ascii_lowercase());
        return one.cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    lower_case(one).cmp(lower_case(other))
}

/// Returns the characters of a text in lower case.
fn lower_case(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}
