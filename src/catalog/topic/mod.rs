//! The things that can be explained, and the search for one by a word or a text.

mod escapes;
mod exit_text;
mod meanings;
mod term;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::messages::{KnownMessage, contains_sentence, find_messages};
use super::{DoctorCheck, ExitCause, Language, Runbook, ZstackCode, status_phrase};
use crate::model::{Condition, Reason, Status};

use escapes::without_escapes;
use exit_text::exit_causes;
use term::terms;

pub use term::{Term, TermKind};

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
    /// Another word of the output.
    Term(Term),
}

/// Smallest similarity of a word that may be meant, between 0 and 1.
const MIN_SIMILARITY: f64 = 0.6;

/// Most words that may be meant instead of an unknown one.
const MAX_CLOSEST: usize = 3;

/// Most characters of a word. A longer text is a sentence, and no word is close to it.
const MAX_WORD_CHARS: usize = 40;

/// Fewest words of a description of an error code that counts in a longer text. Two words
/// (`Permission denied`) are in the messages of many programs.
const MIN_DESCRIPTION_WORDS: usize = 3;

/// Words before a status, in the spelling of [`spelling`].
const STATUS_LABELS: [&str; 5] = ["last_known", "status", "最后已知", "连接状态", "状态"];

/// Units of the time for which a status has lasted, as in [`status_phrase`].
const TIME_UNITS: [&str; 8] = ["s", "min", "h", "d", "秒", "分钟", "小时", "天"];

/// Every word with what it names, in the order in which they are explained.
fn words() -> impl Iterator<Item = (&'static str, Topic)> {
    let reasons = Reason::ALL.iter().map(|it| (it.as_str(), Topic::Reason(*it)));
    let conditions = Condition::ALL.iter().map(|it| (it.as_str(), Topic::Condition(*it)));
    let checks = DoctorCheck::ALL.iter().map(|it| (it.as_str(), Topic::Check(*it)));
    let exits = ExitCause::ALL.iter().map(|it| (it.as_str(), Topic::Exit(*it)));
    let codes = ZstackCode::ALL.iter().map(|it| (it.as_str(), Topic::Code(*it)));
    let runbooks = Runbook::ALL.iter().map(|it| (it.as_str(), Topic::Runbook(*it)));
    let terms = terms().map(|it| (it.word, Topic::Term(it)));
    let named = reasons.chain(conditions).chain(checks).chain(exits).chain(codes);
    named.chain(runbooks).chain(terms)
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
/// the longest message of ZStack in the text, then the words in it. The text may be escaped as in
/// JSON.
pub fn find_topics(text: &str) -> Vec<Topic> {
    let text: Cow<'_, str> = without_escapes(text);
    let exact = topics_named(&spelling(&text));
    if !exact.is_empty() {
        return exact;
    }
    let messages = find_messages(&text);
    if !messages.is_empty() {
        return messages.into_iter().map(Topic::Message).collect();
    }
    topics_within(&text)
}

/// Returns the topics with this name, in the spelling of [`spelling`].
fn topics_named(name: &str) -> Vec<Topic> {
    let named = words().filter(|(word, topic)| spelling(word) == name || has_name(topic, name));
    named.map(|(_, topic)| topic).collect()
}

/// Returns true if a topic has a name besides its word: the title of a runbook, the description of
/// an error code, or a status as a phrase.
fn has_name(topic: &Topic, name: &str) -> bool {
    match topic {
        Topic::Runbook(runbook) => {
            let title = runbook.text().title;
            [title.en, title.zh].into_iter().any(|title| spelling(title) == name)
        }
        Topic::Code(code) => spelling(code.description()) == name,
        Topic::Term(Term { kind: TermKind::Status, word, .. }) => {
            word.parse().is_ok_and(|status| is_status_phrase(status, name))
        }
        _ => false,
    }
}

/// Returns true if a name is a status with a label or a time, in any language: `失联`, `失联
/// (Disconnected)`, `Disconnected for 2 min`, `status: Connected`.
fn is_status_phrase(status: Status, name: &str) -> bool {
    let label = STATUS_LABELS.iter().find_map(|label| name.strip_prefix(label));
    let bare = label.unwrap_or(name).trim_start_matches(['_', ':', '：', '=']);
    let bare = spelling(without_duration(bare).unwrap_or(bare));
    [Language::English, Language::Chinese].into_iter().any(|language| {
        let phrase = status_phrase(status, None, language);
        let short = phrase.split(" (").next().unwrap_or_default();
        [phrase.as_str(), short, status.as_str()].into_iter().any(|form| spelling(form) == bare)
    })
}

/// Returns a status without the time at its end, or `None` if it has none.
fn without_duration(name: &str) -> Option<&str> {
    let (rest, unit) = name.rsplit_once('_')?;
    let (rest, number) = rest.rsplit_once('_')?;
    let is_time = TIME_UNITS.contains(&unit) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then(|| rest.strip_suffix("_for").unwrap_or(rest))
}

/// Returns the topics of the words inside a text, each once, in their order in the text. Reasons
/// and conditions count only with a `_`, because the others are words of every language. The codes
/// of ZStack count if the text has no reason, which says more, then their descriptions, then exit
/// codes.
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
    let described = ZstackCode::ALL.iter().filter(|code| {
        let sentence = code.description();
        sentence.split(' ').count() >= MIN_DESCRIPTION_WORDS && contains_sentence(text, sentence)
    });
    let described = described.map(|code| Topic::Code(*code)).collect();
    let exits = exit_causes(text).into_iter().map(Topic::Exit).collect();
    let found = [reasons, codes, described, exits].into_iter().find(|found| !found.is_empty());
    found.unwrap_or_default()
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
    use std::time::Duration;

    use super::*;
    use crate::catalog::last_known_phrase;

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
        for text in ["64", "exit 64", "Exit code 64", "退出码：64", "status=64/USAGE"] {
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
        let line = "Disconnected for 2 min  credentials_refused, ssh, near_full";
        assert_eq!(names(line), ["Reason(CredentialsRefused)", "Condition(NearFull)"]);
    }

    #[test]
    fn a_status_is_found_in_each_form_of_the_output() {
        let lasted = Some(Duration::from_secs(150));
        for status in Status::ALL {
            let is_found = |text: &str| {
                let found = find_topics(text);
                let is_status = |topic: &Topic| {
                    matches!(topic, Topic::Term(term)
                        if term.kind == TermKind::Status && term.word == status.as_str())
                };
                assert!(found.iter().any(is_status), "{text}: {found:?}");
            };
            for language in [Language::English, Language::Chinese] {
                let phrase = status_phrase(*status, None, language);
                is_found(&phrase);
                is_found(phrase.split(" (").next().unwrap());
                is_found(&status_phrase(*status, lasted, language));
                is_found(&last_known_phrase(*status, language));
            }
            is_found(&format!("status       {status}"));
            is_found(&format!("status: {status}"));
        }
        for text in ["Connected to mn-1", "for 2 min", "status", "2 min"] {
            assert!(names(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_description_of_a_code_is_found_alone_and_in_a_text() {
        for code in ZstackCode::ALL {
            let description = code.description();
            let topic = format!("{:?}", Topic::Code(*code));
            for text in [description, &format!("\"{description}.\"")] {
                let found = names(text);
                assert_eq!(found.last(), Some(&topic), "{text}");
                // Only one of them is a reason too, in other letters.
                let is_reason = *code == ZstackCode::NotPermitted;
                assert_eq!(found.len(), if is_reason { 2 } else { 1 }, "{text}");
            }
        }
        assert_eq!(names("400: The session is invalid or has expired."), ["Code(SessionInvalid)"]);
        assert!(names("root@mn-1: Permission denied (publickey)").is_empty());
    }

    #[test]
    fn a_text_may_be_escaped_as_in_json() {
        let message = "用户名、密码或者端口可能是错误的";
        let escape = |text: &str| -> String {
            let units = text.encode_utf16();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        };
        let plain = names(message);
        assert_eq!(plain.len(), 1);
        let once = format!(r#"{{"details": "{}"}}"#, escape(message));
        let twice = once.replace('\\', r"\\").replace('"', r#"\""#);
        for text in [once, twice, format!("details:\\n{message}"), escape(message).to_uppercase()] {
            let text = text.replace("\\U", "\\u");
            assert_eq!(names(&text), plain, "{text}");
        }
        assert_eq!(names(&escape("失联")), names("失联"));
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
