//! New access keys: a line for the file, with an id and a secret as ZStack makes them.

use zeroize::Zeroizing;

use super::AccessKeyTable;
use crate::common::{Random, is_hidden};

/// Length of an id, as ZStack's ids have it.
const ID_CHARS: usize = 20;
/// Length of a secret, as ZStack's secrets have it: 238 bits.
const SECRET_CHARS: usize = 40;
/// The characters of an id and of a secret.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Returns the line of a new key with its line feed. The id and the secret are random if they are
/// not given.
///
/// # Errors
/// The rule that the line would break.
pub fn new_access_key_line(
    name: &str,
    id: Option<&str>,
    secret: Option<Zeroizing<String>>,
    role: Option<&str>,
    random: &dyn Random,
) -> Result<Zeroizing<String>, &'static str> {
    let id = id.map_or_else(|| random_text(ID_CHARS, random), |id| Zeroizing::new(id.to_owned()));
    let secret = secret.unwrap_or_else(|| random_text(SECRET_CHARS, random));
    let colon = if role.is_some() { ":" } else { "" };
    let parts = [name, ":", &id, ":", &secret, colon, role.unwrap_or_default()];
    // The capacity is reserved at once, because growing the text would leave copies of the secret
    // in memory.
    let size = parts.iter().map(|part| part.len()).sum::<usize>() + "\n".len();
    let mut line = Zeroizing::new(String::with_capacity(size));
    parts.iter().for_each(|part| line.push_str(part));
    if line.starts_with('#') || line.contains(is_hidden) || secret.contains(':') {
        return Err(
            "the name does not begin with #, the line has no hidden character and no line break, \
             and the secret has no colon",
        );
    }
    if line.trim() != line.as_str() {
        return Err("the line begins or ends with white space");
    }
    match AccessKeyTable::read_file(&line) {
        Ok(_) => {
            line.push('\n');
            Ok(line)
        }
        Err(rules) => Err(rules.first().map_or("the line is empty", |(_, rule)| *rule)),
    }
}

/// Returns a random text of letters and digits, each of them equally likely.
fn random_text(chars: usize, random: &dyn Random) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(chars));
    while text.len() < chars {
        for byte in Zeroizing::new(random.bytes16()).iter() {
            // 248 is the largest multiple of 62 in a byte: the remainder of a larger value would
            // be one of the first letters too often.
            let letter = (*byte < 248).then(|| ALPHABET.get(usize::from(*byte % 62))).flatten();
            if let (Some(letter), true) = (letter, text.len() < chars) {
                text.push(char::from(*letter));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::SystemRandom;

    fn line(name: &str, id: Option<&str>, secret: Option<&str>, role: Option<&str>) -> String {
        let secret = secret.map(|secret| Zeroizing::new(secret.to_owned()));
        match new_access_key_line(name, id, secret, role, &SystemRandom::default()) {
            Ok(line) => line.strip_suffix('\n').unwrap().to_owned(),
            Err(rule) => rule.to_owned(),
        }
    }

    #[test]
    fn a_new_key_is_random_and_its_line_is_accepted() {
        let lines = [line("mn", None, None, None), line("mn", None, None, Some("read"))];
        let mut parts: Vec<Vec<&str>> =
            lines.iter().map(|line| line.split(':').collect()).collect();
        assert_eq!((parts[0].len(), parts[1].pop()), (3, Some("read")));
        for part in &parts {
            assert_eq!((part[0], part[1].len(), part[2].len()), ("mn", 20, 40));
            assert!(part[1..].concat().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        assert!(parts[0][1] != parts[1][1] && parts[0][2] != parts[1][2]);
        let text = lines.join("\n");
        let table = AccessKeyTable::read_file(&text).unwrap();
        assert_eq!(table.doubts(std::path::Path::new("/keys")), []);
    }

    #[test]
    fn a_given_key_is_kept_and_what_no_line_can_hold_is_refused() {
        assert_eq!(line("mn", Some("AKID"), Some("hunter2"), None), "mn:AKID:hunter2");
        for (name, id, secret, problem) in [
            ("a b", "AKID", "hunter2", "the name does not consist"),
            ("", "AKID", "hunter2", "the name does not consist"),
            ("#mn", "AKID", "hunter2", "the name does not begin"),
            ("mn", "AK:ID", "hunter2", "the role is none"),
            ("mn", "", "hunter2", "the id does not consist"),
            ("mn", "AKID", "hunter2:admin", "the name does not begin"),
            ("mn", "AKID", "hunter2\nx:y:z", "the name does not begin"),
            ("\u{feff}mn", "AKID", "hunter2", "the name does not begin"),
            ("mn", "AKID", "hunter2\u{202e}", "the name does not begin"),
            (" #mn", "AKID", "hunter2", "the line begins"),
            ("mn", "AKID", "hunter2 ", "the line begins"),
            ("mn", "AKID", "hunter 2", "the secret does not consist"),
            ("mn", "AKID", "", "the secret does not consist"),
        ] {
            let found = line(name, Some(id), Some(secret), None);
            assert!(found.starts_with(problem), "{name} {id}: {found}");
        }
    }
}
