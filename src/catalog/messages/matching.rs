//! Finds the message that a pasted text contains, or that it is a part of.

use super::table::{KNOWN_MESSAGES, KnownMessage};

/// Fewest letters of a pasted text that can stand for a message: a shorter one is in too many.
const MIN_LATIN_LETTERS: usize = 10;

/// The same for a text with Chinese characters, of which each is a word or a part of one.
const MIN_CHINESE_LETTERS: usize = 4;

/// Most messages that a part of a text may belong to. A part of more than these says nothing.
const MAX_CANDIDATES: usize = 3;

/// Returns the messages that a text is about. The text is one of them, with any values in it, or a
/// longer text with messages in it, of which the longest counts, or a part of messages. Only
/// letters and digits count, so that quotes, blanks and the width of punctuation do not matter.
pub fn find_messages(text: &str) -> Vec<&'static KnownMessage> {
    let flat = flat(text);
    let longest = KNOWN_MESSAGES
        .iter()
        .filter_map(|message| Some((matched_letters(message, &flat)?, message)))
        .max_by_key(|(letters, _)| *letters);
    if let Some((_, message)) = longest {
        return vec![message];
    }
    let parts = literal_parts(text);
    let letters: usize = parts.iter().map(|part| part.chars().count()).sum();
    let is_latin = parts.iter().all(|part| part.is_ascii());
    if letters < if is_latin { MIN_LATIN_LETTERS } else { MIN_CHINESE_LETTERS } {
        return Vec::new();
    }
    let is_part_of = |message: &&KnownMessage| {
        message.forms.iter().any(|form| contains_in_order(&literal_parts(form).concat(), &parts))
    };
    let found: Vec<_> = KNOWN_MESSAGES.iter().filter(is_part_of).collect();
    if found.len() > MAX_CANDIDATES { Vec::new() } else { found }
}

/// Returns the number of letters of the longest form of a message that the text contains.
fn matched_letters(message: &KnownMessage, flat_text: &str) -> Option<usize> {
    let matched = message.forms.iter().map(|form| literal_parts(form));
    matched
        .filter(|parts| contains_in_order(flat_text, parts))
        .map(|parts| parts.iter().map(|part| part.chars().count()).sum())
        .max()
}

/// Returns true if the text contains all parts, each behind the one before it.
fn contains_in_order(text: &str, parts: &[String]) -> bool {
    let after = |rest, part: &String| Some(str::split_once(rest, part.as_str())?.1);
    parts.iter().try_fold(text, after).is_some()
}

/// Returns the letters and digits of a text, in lower case.
fn flat(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns the parts between the values of a text: placeholders, what is in brackets, and
/// omissions. A part of one letter says nothing and is dropped.
fn literal_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_part = match c {
            '[' | '{' => {
                depth += 1;
                true
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                false
            }
            '%' => chars.next_if(|next| matches!(next, 's' | 'd')).is_some(),
            '.' => chars.next_if_eq(&'.').is_some(),
            '…' => true,
            _ => false,
        };
        if ends_part {
            parts.push(String::new());
        } else if depth == 0
            && let Some(part) = parts.last_mut()
        {
            part.push(c);
        }
    }
    parts.iter().map(|part| flat(part)).filter(|part| part.chars().nth(1).is_some()).collect()
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
}
