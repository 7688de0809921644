//! The things that can be explained, and the search for one by a word or a text.

use std::collections::BTreeSet;

use super::messages::{KnownMessage, find_messages};
use super::{DoctorCheck, ExitCause, Runbook, ZstackCode};
use crate::model::{Condition, Reason};

/// A thing that the catalog explains.
#[derive(Clone, Copy, Debug)]
pub enum Topic {
    /// The reason of a fault.
    Reason(Reason),
    /// A condition of a store.
    Condition(Condition),
    /// A check of `doctor`.
    Check(DoctorCheck),
    /// An exit code.
    Exit(ExitCause),
    /// An error code of ZStack.
    Code(ZstackCode),
    /// A message of the management node.
    Message(&'static KnownMessage),
    /// A runbook.
    Runbook(Runbook),
}

/// Smallest similarity of a word that may be meant, between 0 and 1.
const MIN_SIMILARITY: f64 = 0.6;

/// Most words that may be meant instead of an unknown one.
const MAX_CLOSEST: usize = 3;

/// Most characters of a word. A longer text is a sentence, and no word is close to it.
const MAX_WORD_CHARS: usize = 40;

/// Words before the number of an exit code, in the spelling of [`spelling`].
const EXIT_WORDS: [&str; 6] = ["exit_code", "exit_status", "exit", "code", "status", "退出码"];

/// Every word with what it names, in the order in which they are explained.
fn words() -> impl Iterator<Item = (&'static str, Topic)> {
    let reasons = Reason::ALL.iter().map(|it| (it.as_str(), Topic::Reason(*it)));
    let conditions = Condition::ALL.iter().map(|it| (it.as_str(), Topic::Condition(*it)));
    let checks = DoctorCheck::ALL.iter().map(|it| (it.as_str(), Topic::Check(*it)));
    let exits = ExitCause::ALL.iter().map(|it| (it.as_str(), Topic::Exit(*it)));
    let codes = ZstackCode::ALL.iter().map(|it| (it.as_str(), Topic::Code(*it)));
    let runbooks = Runbook::ALL.iter().map(|it| (it.as_str(), Topic::Runbook(*it)));
    reasons.chain(conditions).chain(checks).chain(exits).chain(codes).chain(runbooks)
}

/// Returns a word in the one spelling in which words are compared: lower case, `_` for `-` and
/// blanks, without quotes around it.
fn spelling(word: &str) -> String {
    let bare = word.trim_matches(|c: char| c.is_whitespace() || "\"'`“”‘’.,:;()".contains(c));
    bare.chars()
        .map(|c| if c == '-' || c.is_whitespace() { '_' } else { c })
        .collect::<String>()
        .to_lowercase()
}

/// Returns the topics of a word, or of a text that contains one. The word itself comes first, then
/// the longest message of ZStack in the text, then the words in it.
pub fn find_topics(text: &str) -> Vec<Topic> {
    let exact = topics_named(&spelling(text));
    if !exact.is_empty() {
        return exact;
    }
    let messages = find_messages(text);
    if !messages.is_empty() {
        return messages.into_iter().map(Topic::Message).collect();
    }
    topics_within(text)
}

/// Returns the topics with this name, in the spelling of [`spelling`].
fn topics_named(name: &str) -> Vec<Topic> {
    let number = EXIT_WORDS.iter().find_map(|word| name.strip_prefix(word));
    let number = number.map(|rest| rest.trim_start_matches('_'));
    let is_title = |topic: &Topic| match topic {
        Topic::Runbook(runbook) => {
            let title = runbook.text().title;
            [title.en, title.zh].into_iter().any(|title| spelling(title) == name)
        }
        _ => false,
    };
    let is_number = |topic: &Topic, word| matches!(topic, Topic::Exit(_)) && Some(word) == number;
    words()
        .filter(|(word, topic)| {
            spelling(word) == name || is_number(topic, *word) || is_title(topic)
        })
        .map(|(_, topic)| topic)
        .collect()
}

/// Returns the topics of the words inside a text, each once, in their order in the text. Reasons
/// and conditions count only with a `_`, because the others are words of every language. The codes
/// of ZStack count if the text has no reason, which says more.
fn topics_within(text: &str) -> Vec<Topic> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut seen = BTreeSet::new();
    let words: Vec<String> = text
        .split(|c| !is_inside(c))
        .map(spelling)
        .filter(|word| word.contains(['_', '.']) && seen.insert(word.clone()))
        .collect();
    let (reasons, codes): (Vec<Topic>, Vec<Topic>) = words
        .iter()
        .flat_map(|word| topics_named(word))
        .filter(|topic| matches!(topic, Topic::Reason(_) | Topic::Condition(_) | Topic::Code(_)))
        .partition(|topic| !matches!(topic, Topic::Code(_)));
    if reasons.is_empty() { codes } else { reasons }
}

/// Returns the known words that are most similar to an unknown one, the most similar first.
pub fn closest_words(word: &str) -> Vec<&'static str> {
    let wanted = spelling(word);
    if wanted.chars().count() > MAX_WORD_CHARS {
        return Vec::new();
    }
    let mut close: Vec<(f64, &'static str)> = words()
        .map(|(known, _)| {
            let similarity = strsim::normalized_damerau_levenshtein(&wanted, &spelling(known));
            let is_part = wanted.chars().nth(2).is_some() && spelling(known).contains(&wanted);
            (if is_part { similarity.max(MIN_SIMILARITY) } else { similarity }, known)
        })
        .filter(|(similarity, known)| *similarity >= MIN_SIMILARITY && known.len() > 2)
        .collect();
    close.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut seen = BTreeSet::new();
    close.retain(|(_, known)| seen.insert(*known));
    close.into_iter().take(MAX_CLOSEST).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        find_topics(text).iter().map(|topic| format!("{topic:?}")).collect()
    }

    #[test]
    fn every_word_is_found_in_any_spelling() {
        for (word, _) in words() {
            let found = names(word);
            assert!(!found.is_empty(), "{word}");
            for other in [
                word.to_uppercase(),
                word.replace('_', "-"),
                word.replace(['_', '-'], " "),
                format!(" \"{word}\" "),
            ] {
                assert_eq!(names(&other), found, "{other}");
            }
        }
    }

    #[test]
    fn one_word_may_name_several_things() {
        let found = names("state_disk_trouble");
        assert_eq!(found, ["Reason(StateDiskTrouble)", "Condition(StateDiskTrouble)"]);
        for text in ["64", "exit 64", "Exit code 64", "退出码 64", "status 64"] {
            assert_eq!(names(text), ["Exit(Settings)"], "{text}");
        }
        assert_eq!(names("一直连接中"), ["Runbook(StuckConnecting)"]);
    }

    #[test]
    fn the_reason_in_a_text_is_found_before_its_code() {
        let text = r#"{"code":"BS.1500","details":"not_mounted: /data is full; remedy: mount it"}"#;
        assert_eq!(names(text), ["Reason(NotMounted)"]);
        assert_eq!(names("BS.1500: cannot connect"), ["Code(ConnectFailed)"]);
        assert!(names("the disk is full").is_empty());
    }

    #[test]
    fn the_closest_words_are_named() {
        assert_eq!(closest_words("not_mouned")[0], "not_mounted");
        assert_eq!(closest_words("credentialsrefused")[0], "credentials_refused");
        assert!(closest_words("inode").contains(&"inodes"));
        for text in ["zzzzzz", "", "x", &"not_mounted ".repeat(9)] {
            assert_eq!(closest_words(text), [""; 0], "{text}");
        }
    }
}
