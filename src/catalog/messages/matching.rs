//! Finds the message that a pasted text contains, or that it is a part of.

use super::table::{KNOWN_MESSAGES, KnownMessage};

/// Fewest letters of a pasted text that can stand for a message: a shorter one is in too many.
const MIN_LATIN_LETTERS: usize = 10;

/// Fewest words of the same: a word or two are in many sentences.
const MIN_LATIN_WORDS: usize = 3;

/// Fewest letters of a text with Chinese characters, of which each is a word or a part of one.
const MIN_CHINESE_LETTERS: usize = 4;

/// Most messages that a part of a text may belong to. A part of more than these says nothing.
const MAX_CANDIDATES: usize = 3;

/// The letters and digits of a text, in lower case, with the places where a word begins or ends.
#[derive(Debug, Default)]
struct FlatText {
    letters: String,
    /// The borders of words, as offsets in `letters`, in order.
    borders: Vec<usize>,
    /// True if a value may precede the first letter without a blank.
    follows_value: bool,
    /// True if a value may follow the last letter without a blank.
    precedes_value: bool,
}

/// A placeholder of a value, in a literal part beside it.
const VALUE: char = '\0';

/// The class of a letter. A word ends where the class changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LetterClass {
    Digit,
    Latin,
    /// Each character is a word or a part of one.
    Other,
}

impl FlatText {
    fn new(text: &str) -> Self {
        let mut flat = Self::default();
        let mut last = None;
        for c in text.chars() {
            let class = match c {
                _ if !c.is_alphanumeric() => None,
                _ if c.is_numeric() => Some(LetterClass::Digit),
                _ if c.is_ascii() => Some(LetterClass::Latin),
                _ => Some(LetterClass::Other),
            };
            if class.is_some() {
                if class != last || class == Some(LetterClass::Other) {
                    flat.borders.push(flat.letters.len());
                }
                flat.letters.extend(c.to_lowercase());
            }
            last = class;
        }
        flat.borders.push(flat.letters.len());
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let behind = text.strip_prefix(VALUE).map(|rest| rest.trim_start_matches('}'));
        flat.follows_value = is_letter(behind.and_then(|rest| rest.chars().next()));
        let before = text.strip_suffix(VALUE);
        flat.precedes_value = is_letter(before.and_then(|rest| rest.chars().next_back()));
        flat
    }

    /// Returns true if the text contains all parts, each behind the one before it. Each begins and
    /// ends at the border of a word, or at a value.
    fn contains_in_order(&self, parts: &[Self]) -> bool {
        parts.iter().try_fold(0, |from, part| self.end_of(part, from)).is_some()
    }

    /// Returns the end of the first place of a part behind an offset.
    fn end_of(&self, part: &Self, mut from: usize) -> Option<usize> {
        let is_border = |offset| self.borders.binary_search(&offset).is_ok();
        let step = part.letters.chars().next()?.len_utf8();
        loop {
            let start = from.saturating_add(self.letters.get(from..)?.find(&part.letters)?);
            let end = start.saturating_add(part.letters.len());
            let begins = part.follows_value || is_border(start);
            if begins && (part.precedes_value || is_border(end)) {
                return Some(end);
            }
            from = start.saturating_add(step);
        }
    }

    fn count_letters(&self) -> usize {
        self.letters.chars().count()
    }

    fn count_words(&self) -> usize {
        self.borders.len().saturating_sub(1)
    }
}

/// Returns the messages that a text is about. The text is one of them, with any values in it, or a
/// longer text with messages in it, of which the longest counts, or a part of messages. Only
/// letters and digits count, so that quotes, blanks and the width of punctuation do not matter. A
/// message and a part of one begin and end with a word.
pub fn find_messages(text: &str) -> Vec<&'static KnownMessage> {
    let flat = FlatText::new(text);
    let longest = KNOWN_MESSAGES
        .iter()
        .filter_map(|message| Some((matched_letters(message, &flat)?, message)))
        .max_by_key(|(letters, _)| *letters);
    if let Some((_, message)) = longest {
        return vec![message];
    }
    let parts = flat_parts(text);
    let letters: usize = parts.iter().map(FlatText::count_letters).sum();
    let words: usize = parts.iter().map(FlatText::count_words).sum();
    let is_latin = parts.iter().all(|part| part.letters.is_ascii());
    let is_short = match is_latin {
        true => letters < MIN_LATIN_LETTERS || words < MIN_LATIN_WORDS,
        false => letters < MIN_CHINESE_LETTERS,
    };
    if is_short {
        return Vec::new();
    }
    let is_part_of = |message: &&KnownMessage| {
        let is_in =
            |form: &&str| FlatText::new(&literal_parts(form).join(" ")).contains_in_order(&parts);
        message.forms.iter().any(is_in)
    };
    let found: Vec<_> = KNOWN_MESSAGES.iter().filter(is_part_of).collect();
    if found.len() > MAX_CANDIDATES { Vec::new() } else { found }
}

/// Returns true if a text contains a sentence, by the rule of [`find_messages`].
pub(in crate::catalog) fn contains_sentence(text: &str, sentence: &str) -> bool {
    FlatText::new(text).contains_in_order(&[FlatText::new(sentence)])
}

/// Returns the number of letters of the longest form of a message that the text contains.
fn matched_letters(message: &KnownMessage, text: &FlatText) -> Option<usize> {
    let matched = message.forms.iter().map(|form| flat_parts(form));
    matched
        .filter(|parts| text.contains_in_order(parts))
        .map(|parts| parts.iter().map(FlatText::count_letters).sum())
        .max()
}

/// Returns the literal parts of a text. A part of one letter says nothing and is dropped.
fn flat_parts(text: &str) -> Vec<FlatText> {
    let parts = literal_parts(text);
    let flat = parts.iter().map(|part| FlatText::new(part));
    flat.filter(|part| part.letters.chars().nth(1).is_some()).collect()
}

/// Returns the parts between the values of a text: placeholders, what is in brackets, and
/// omissions. A part beside a placeholder has [`VALUE`] there.
fn literal_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_value = c == '{' || c == '%' && chars.next_if(|c| matches!(c, 's' | 'd')).is_some();
        let ends_part = match c {
            '[' | '{' => {
                depth += 1;
                true
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                false
            }
            '.' => chars.next_if_eq(&'.').is_some(),
            '…' => true,
            _ => is_value,
        };
        let value = is_value.then_some(VALUE);
        if let Some(part) = parts.last_mut() {
            match ends_part {
                true => part.extend(value),
                false if depth == 0 => part.push(c),
                false => {}
            }
        }
        if ends_part {
            parts.push(value.into_iter().collect());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Runbook;
    use crate::catalog::text::tests::assert_text;
    use crate::model::{Condition, Reason};

    /// Returns the first form of the only message that is found.
    fn only(text: &str) -> &'static str {
        match find_messages(text).as_slice() {
            [message] => message.forms[0],
            found => panic!("{} messages for {text:?}", found.len()),
        }
    }

    #[test]
    fn every_form_finds_its_message_with_and_without_values() {
        for message in KNOWN_MESSAGES {
            for form in message.forms {
                assert_eq!(only(form), message.forms[0], "{form}");
                let filled = form.replace("%s", "4cd9fb91").replace("{0}", "Disconnected");
                assert_eq!(only(&filled), message.forms[0], "{filled}");
            }
        }
    }

    #[test]
    fn every_message_has_texts_and_an_answer_in_both_languages() {
        for message in KNOWN_MESSAGES {
            let name = message.forms[0];
            assert_text(name, message.meaning);
            assert_text(name, message.action);
            assert!(message.forms.iter().any(|form| form.is_ascii()), "{name}");
            assert!(message.forms.iter().any(|form| !form.is_ascii()), "{name}");
        }
    }

    #[test]
    fn the_messages_that_operators_ask_about_are_found() {
        let ssh = "User name or password or port number may be problematic";
        for text in ["用户名、密码或者端口可能是错误的", "密码或者端口可能是错误"]
        {
            assert_eq!(only(text), ssh);
        }
        assert_eq!(find_messages(ssh)[0].reasons[0], Reason::CredentialsRefused);
        let paste = r#"{"error":{"code":"SYS.1006","description":"An operation failed","details":
            "镜像服务器[uuid:4cd9fb91a1b24c3c8d7e6f5a4b3c2d1e]不是Connected状态，当前状态为Disconnected"}}"#;
        let not_connected = find_messages(paste);
        assert_eq!(not_connected[0].runbook, Some(Runbook::Disconnected));
        for text in [
            "镜像服务器[uuid]不是Connected状态，当前状态为...",
            "the Backup Storage [uuid: 4cd9] is not in status of connected, current status is Disconnected",
        ] {
            assert_eq!(only(text), not_connected[0].forms[0]);
        }
        let restarted = only("代理的uuid发生了改变，很有可能代理被手动重启了，需要重连同步状态");
        assert!(restarted.contains("agent changed"), "{restarted}");
        for text in [
            "没有足够的容量可供下载镜像",
            "仅有...可用容量",
            "减去保留容量后，没有备份存储具有所需容量",
        ] {
            assert_eq!(find_messages(text)[0].conditions[0], Condition::Full, "{text}");
        }
        let same_host = only("有超过一个镜像服务器拥有相同的物理机名");
        assert!(same_host.contains("same host"), "{same_host}");
    }

    #[test]
    fn the_longest_message_in_a_text_counts() {
        let text = "No available backup storage found; cause: unable to echo http://10.0.0.1:7811 \
                    in 3000ms; User name or password or port number may be problematic";
        assert_eq!(only(text), "User name or password or port number may be problematic");
    }

    #[test]
    fn a_text_without_a_message_finds_none() {
        for text in
            ["", "重连", "backup storage", "镜像服务器", "not_mounted", "[][][]", "%s", "..."]
        {
            assert!(find_messages(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_part_begins_and_ends_with_a_word() {
        let reconnect = "connected status, if not, try reconnecting it";
        let check = only(reconnect);
        assert!(check.starts_with("check below"), "{check}");
        for part in ["try reconnecting it", "“if not, TRY  reconnecting it”"] {
            assert_eq!(only(part), check, "{part}");
        }
        for cut in [
            "Connecting",
            "connecting it",
            "ry reconnecting it",
            "try reconnecting i",
            "nnected status, if not, try reconnecting it",
            "if not, try reconnect",
            "reconnecting it",
            "reconnect it",
        ] {
            assert!(find_messages(cut).is_empty(), "{cut}");
        }
        // A message in a longer text has borders too, and a number may touch a word.
        for value in ["30", "30x", "x"] {
            let text = format!("unable to echo http://mn in {value}ms");
            assert_eq!(only(&text), "unable to echo %s in %sms");
        }
        assert!(find_messages("unable to echoes in 30ms").is_empty());
        assert!(contains_sentence("[X] an operation FAILED: 3", "An operation failed"));
        assert!(!contains_sentence("an operation failed3x", "operation fail"));
    }
}
