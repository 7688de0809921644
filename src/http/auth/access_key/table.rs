//! The access keys: the file of their secrets.
//!
//! A line is `name:id:secret[:role]`. Empty lines and lines that start with `#` are ignored. The
//! secret is plain, because it is the key of an HMAC.
//!
//! # Never
//!
//! - It never logs or shows a secret.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::common::parse_lines;
use crate::http::auth::{CallerKind, Principal, Role};
use crate::model::Secret;
use crate::settings::{FilePolicy, FilePurpose, SettingFault, SettingsError, read_text};

/// Key of the setting that names the file.
const SETTING_KEY: &str = "auth.access_keys_file";
/// Maximum length of a name and of an id, in characters.
const MAX_NAME_CHARS: usize = 64;
/// Maximum length of a secret, in characters. ZStack's secrets have 40.
const MAX_SECRET_CHARS: usize = 255;
/// Minimum length of a secret that cannot be guessed from a signature, in characters: 20 letters
/// and digits have 119 bits.
const MIN_STRONG_SECRET_CHARS: usize = 20;

/// One access key.
pub(super) struct AccessKey {
    pub(super) secret: Secret,
    pub(super) caller: Principal,
}

/// The callers with an access key, by the ids of their keys. The default contains no caller.
#[derive(Default)]
pub struct AccessKeyTable {
    keys: HashMap<String, AccessKey>,
}

impl fmt::Debug for AccessKeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeyTable({} keys)", self.keys.len())
    }
}

impl AccessKeyTable {
    /// Reads the file of the access keys. Without a path, the table is empty. It blocks on the
    /// file, so call it before the runtime starts or on a separate thread. If a reload fails, the
    /// caller keeps its current keys.
    ///
    /// # Errors
    /// [`SettingsError`] names every invalid line.
    pub fn load_file(path: Option<&Path>, policy: &FilePolicy) -> Result<Self, SettingsError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read_text(path, FilePurpose::Secret, policy)
            .map_err(|error| SettingFault::unusable_file(SETTING_KEY, path, &error))?;
        Self::read_file(&text).map_err(|lines| SettingsError::in_lines(SETTING_KEY, path, &lines))
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    /// The invalid lines: number from 1, and the rule that is broken.
    pub fn read_file(text: &str) -> Result<Self, Vec<(usize, &'static str)>> {
        let mut keys = HashMap::new();
        parse_lines(text, |line| {
            let (id, key) = parse_entry(line)?;
            match keys.insert(id, key) {
                None => Ok(()),
                Some(_) => Err("the id is the same as on an earlier line"),
            }
        })?;
        Ok(Self { keys })
    }

    /// Returns a warning for each key whose secret can be guessed, in the order of their ids.
    pub fn doubts(&self, path: &Path) -> Vec<SettingFault> {
        let is_weak = |key: &AccessKey| key.secret.expose_secret().len() < MIN_STRONG_SECRET_CHARS;
        let mut ids: Vec<&String> =
            self.keys.iter().filter(|(_, key)| is_weak(key)).map(|(id, _)| id).collect();
        ids.sort_unstable();
        let doubt = |id: &String| {
            let problem = format!(
                "the secret of the key {id} has less than {MIN_STRONG_SECRET_CHARS} characters, so \
                 that it can be guessed from one signature"
            );
            SettingFault::in_file(SETTING_KEY, path, problem)
        };
        ids.into_iter().map(doubt).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<&AccessKey> {
        self.keys.get(id)
    }
}

fn parse_entry(line: &str) -> Result<(String, AccessKey), &'static str> {
    let mut fields = line.split(':');
    let mut next = || fields.next().unwrap_or_default();
    let (name, id, secret) = (next(), next(), next());
    if !is_word(name) {
        return Err("the name does not consist of 1 to 64 characters of A-Z a-z 0-9 - _ . @");
    }
    if !is_word(id) {
        return Err("the id does not consist of 1 to 64 characters of A-Z a-z 0-9 - _ . @");
    }
    let is_secret = (1..=MAX_SECRET_CHARS).contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_secret {
        return Err("the secret does not consist of 1 to 255 visible ASCII characters");
    }
    let role = match fields.next() {
        None => Role::Operate,
        Some(word) => word.parse().map_err(|_| "the role is none of read, operate and admin")?,
    };
    if fields.next().is_some() {
        return Err("the line has more parts than name, id, secret and role");
    }
    let caller = Principal::new(CallerKind::AccessKey, name, role);
    Ok((id.to_owned(), AccessKey { secret: Secret::new(secret.to_owned()), caller }))
}

/// Returns true if the text can be a name or an id.
fn is_word(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=MAX_NAME_CHARS).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "WbRgM5AZpL0jUnS2cQ7xVtKe1HyDf9oNu3rTqX6i";

    #[test]
    fn a_line_gives_a_caller_its_key_and_role() {
        let text = format!("# keys\n\n terraform:AKID-1:{SECRET} \nops@x:AKID-2:{SECRET}:admin\n");
        let table = AccessKeyTable::read_file(&text).unwrap();
        let find = |id| {
            let key = table.find(id)?;
            assert_eq!(key.secret.expose_secret(), SECRET);
            assert_eq!(key.caller.kind(), CallerKind::AccessKey);
            Some((key.caller.name().to_owned(), key.caller.role()))
        };
        assert_eq!(find("AKID-1"), Some(("terraform".to_owned(), Role::Operate)));
        assert_eq!(find("AKID-2"), Some(("ops@x".to_owned(), Role::Admin)));
        assert_eq!(find("akid-1"), None);
        assert_eq!(format!("{table:?}"), "AccessKeyTable(2 keys)");
        assert!(!format!("{:?}", table.find("AKID-1").unwrap().secret).contains(SECRET));
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_shown() {
        for (line, problem) in [
            ("mn".to_owned(), "the id"),
            ("mn:AKID".to_owned(), "the secret"),
            (format!(":AKID:{SECRET}"), "the name"),
            (format!("a b:AKID:{SECRET}"), "the name"),
            (format!("{}:AKID:{SECRET}", "n".repeat(65)), "the name"),
            (format!("mn::{SECRET}"), "the id"),
            (format!("mn:{}:{SECRET}", "i".repeat(65)), "the id"),
            (format!("mn:AK ID:{SECRET}"), "the id"),
            ("mn:AKID::read".to_owned(), "the secret"),
            (format!("mn:AKID:{}", "s".repeat(256)), "the secret"),
            ("mn:AKID:sec ret".to_owned(), "the secret"),
            ("mn:AKID:s\u{e9}cret".to_owned(), "the secret"),
            (format!("mn:AKID:{SECRET}:root"), "the role"),
            (format!("mn:AKID:{SECRET}:"), "the role"),
            (format!("mn:AKID:{SECRET}:read:x"), "the line has more"),
            (format!("a:AKID:{SECRET}\nb:AKID:another:read"), "the id is the same"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("access-keys");
            std::fs::write(&path, format!("# keys\n{line}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
            let loaded = AccessKeyTable::load_file(Some(&path), &FilePolicy::of_process());
            let error = loaded.unwrap_err().to_string();
            let at = 1 + line.lines().count();
            let expected = format!("auth.access_keys_file = {path:?}: line {at}: {problem}");
            assert!(error.contains(&expected), "{error}");
            assert!(!error.contains(SECRET) && !error.contains("another"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access-keys");
        std::fs::write(&path, format!("mn:AKID:{SECRET}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).unwrap();
        let load = |path| AccessKeyTable::load_file(path, &FilePolicy::of_process());
        assert!(load(Some(path.as_path())).unwrap_err().to_string().contains("0644"));
        assert!(load(None).unwrap().find("AKID").is_none());
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_doubtful() {
        let strong = "s".repeat(20);
        let text = format!("a:Z:hunter2\nb:Y:{}\nc:X:{strong}\n", "s".repeat(19));
        let doubts = AccessKeyTable::read_file(&text).unwrap().doubts(Path::new("/keys"));
        let [first, second] = &doubts[..] else { panic!("{doubts:?}") };
        assert!(first.to_string().contains("key Y has less than 20"), "{first}");
        assert!(second.to_string().contains("key Z") && !second.to_string().contains("hunter2"));
    }
}
