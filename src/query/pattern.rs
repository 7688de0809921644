//! The patterns of `~=`: SQL's `LIKE`.

/// A pattern. `%` matches any text, `_` matches one character, and a backslash takes the special
/// meaning from the character that follows it. Case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LikePattern(Vec<PatternToken>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatternToken {
    /// This character, in lower case.
    Literal(char),
    /// One character. Its lower case may have several.
    One,
    /// Any number of characters.
    Any,
}

/// A character of a text in lower case.
#[derive(Clone, Copy, Debug)]
struct FoldedChar {
    folded: char,
    /// The number of characters that the character of the text has in lower case. It is 0 if this
    /// one is not the first of them.
    width: usize,
}

impl LikePattern {
    /// Maximum length of a pattern, in characters. Names have at most 255. The time of a match
    /// grows with the product of the lengths of pattern and text.
    pub(super) const MAX_CHARS: usize = 255;

    /// Parses a pattern. Returns `None` if it is longer than [`LikePattern::MAX_CHARS`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > Self::MAX_CHARS {
            return None;
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(next) = chars.next() {
            let literal = match next {
                '%' => {
                    // A run of them matches the same as one.
                    if tokens.last() != Some(&PatternToken::Any) {
                        tokens.push(PatternToken::Any);
                    }
                    continue;
                }
                '_' => {
                    tokens.push(PatternToken::One);
                    continue;
                }
                '\\' => chars.next().unwrap_or('\\'),
                other => other,
            };
            tokens.extend(literal.to_lowercase().map(PatternToken::Literal));
        }
        Some(Self(tokens))
    }

    /// Returns true if the whole text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        if text.is_ascii() {
            let bytes = text.as_bytes();
            return self.matches_chars(|at| {
                let folded = bytes.get(at)?.to_ascii_lowercase().into();
                Some(FoldedChar { folded, width: 1 })
            });
        }
        let chars: Vec<FoldedChar> = text.chars().flat_map(fold_char).collect();
        self.matches_chars(|at| chars.get(at).copied())
    }

    /// Matches the characters that `char_at` returns for 0, 1 and so on. After a mismatch, only the
    /// last `%` takes one more character. An earlier one need not, because the tokens between both
    /// already match at their first place.
    fn matches_chars(&self, char_at: impl Fn(usize) -> Option<FoldedChar>) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut last_any = None;
        loop {
            match (self.0.get(token), char_at(at)) {
                (Some(PatternToken::Any), _) => {
                    token += 1;
                    last_any = Some((token, at));
                }
                (None, None) => return true,
                (_, None) => return false,
                (Some(PatternToken::One), Some(found)) if found.width > 0 => {
                    (token, at) = (token + 1, at + found.width);
                }
                (Some(PatternToken::Literal(expected)), Some(found))
                    if *expected == found.folded =>
                {
                    (token, at) = (token + 1, at + 1);
                }
                _ => {
                    let Some((after_any, from)) = last_any else { return false };
                    last_any = Some((after_any, from + 1));
                    (token, at) = (after_any, from + 1);
                }
            }
        }
    }
}

/// Returns the characters that a character has in lower case.
fn fold_char(whole: char) -> impl Iterator<Item = FoldedChar> {
    let width = whole.to_lowercase().count();
    let widths = std::iter::once(width).chain(std::iter::repeat(0));
    whole.to_lowercase().zip(widths).map(|(folded, width)| FoldedChar { folded, width })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        LikePattern::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn percent_is_any_text_and_underscore_one_character() {
        for (pattern, text, expected) in [
            ("%x%", "axb", true),
            ("%x%", "x", true),
            ("%x%", "ab", false),
            ("a%", "Abc", true),
            ("%C", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("a_c", "abbc", false),
            ("a_", "a画", true),
            ("__", "画像", true),
            ("%", "", true),
            ("%%", "x", true),
            ("_", "", false),
            ("", "", true),
            ("", "x", false),
            ("abc", "abcd", false),
            ("%ab%ab", "abab", true),
            ("%ab%ab", "ab", false),
            ("%aab", "aaab", true),
            ("É%", "école", true),
            // The lower case of this character has two.
            ("_stanbul", "İstanbul", true),
            ("__stanbul", "İstanbul", false),
            ("%_stanbul", "İstanbul", true),
            ("İST_NBUL", "İstanbul", true),
            ("i\u{307}%", "İstanbul", true),
            ("i_stanbul", "İstanbul", false),
            ("_", "İ", true),
            ("__", "İ", false),
            ("%__", "aİ", true),
            ("e%", "école", false),
            ("100\\%", "100%", true),
            ("100\\%", "1000", false),
            ("a\\_b", "a_b", true),
            ("a\\_b", "axb", false),
            ("a\\\\b", "a\\b", true),
            ("a\\", "a\\", true),
            ("a+b=c, d", "A+B=C, D", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_has_a_bounded_length() {
        assert!(LikePattern::parse(&"画".repeat(255)).is_some());
        assert_eq!(LikePattern::parse(&"%".repeat(256)), None);
    }

    /// Matches by the definition: each `%` tries every length.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            Some(('_', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_match_is_that_of_the_definition(pattern in "[ab画%_]{0,8}", text in "[ab画]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            prop_assert_eq!(matches(&pattern, &text), expected);
            prop_assert_eq!(matches(&pattern.to_uppercase(), &text), expected);
        }
    }
}
