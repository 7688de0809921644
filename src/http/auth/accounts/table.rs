//! The accounts that may log in: the accounts file.
//!
//! A line is `name:phc-string[:role]`. Empty lines and lines that start with `#` are ignored.
//!
//! # Never
//!
//! - It never logs or shows a hash.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::password::StoredPassword;
use crate::common::parse_lines;
use crate::http::auth::{CallerKind, Principal, Role};
use crate::settings::{FilePolicy, FilePurpose, SettingFault, SettingsError, read_text};

/// Key of the setting that names the file.
const SETTING_KEY: &str = "auth.accounts_file";
/// Maximum length of the name of an account, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The problem of a name that is not allowed.
pub(super) const NAME_PROBLEM: &str =
    "the name does not consist of 1 to 64 characters of A-Z a-z 0-9 - _ . @";

/// An account: its password, and the caller that its sessions have.
pub(super) struct Account {
    pub(super) name: Arc<str>,
    pub(super) password: StoredPassword,
    pub(super) caller: Principal,
}

/// The accounts by their names. The default contains none.
#[derive(Default)]
pub struct AccountTable {
    accounts: HashMap<Arc<str>, Account>,
}

impl std::fmt::Debug for AccountTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountTable({} accounts)", self.accounts.len())
    }
}

impl AccountTable {
    /// Reads the accounts file. Without a path, the table is empty. It blocks on the file, so call
    /// it before the runtime starts or on a separate thread. If a reload fails, the caller keeps
    /// its current accounts.
    ///
    /// # Errors
    /// [`SettingsError`] names every invalid line.
    pub fn load_file(path: Option<&Path>, policy: &FilePolicy) -> Result<Self, SettingsError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read_text(path, FilePurpose::Secret, policy)
            .map_err(|error| SettingFault::unusable_file(SETTING_KEY, path, &error))?;
        Self::read_file(&text).map_err(|lines| SettingsError::in_lines(SETTING_KEY, path, &lines))
    }

    /// Parses the text of an accounts file.
    ///
    /// # Errors
    /// The invalid lines: number from 1, and the rule that is broken.
    pub(in crate::http) fn read_file(text: &str) -> Result<Self, Vec<(usize, &'static str)>> {
        let mut accounts = HashMap::new();
        parse_lines(text, |line| {
            let account = parse_account(line)?;
            match accounts.insert(Arc::clone(&account.name), account) {
                None => Ok(()),
                Some(_) => Err("the name is the same as on an earlier line"),
            }
        })?;
        Ok(Self { accounts })
    }

    /// Returns true if there is no account.
    pub(super) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Returns the account with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }
}

/// Returns true if an account may have this name.
pub(super) fn is_account_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    !name.is_empty() && name.len() <= MAX_NAME_CHARS && name.chars().all(is_allowed)
}

fn parse_account(line: &str) -> Result<Account, &'static str> {
    let mut fields = line.split(':');
    let (name, phc) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    if !is_account_name(name) {
        return Err(NAME_PROBLEM);
    }
    let password = StoredPassword::parse(phc)?;
    let role = match fields.next() {
        None => Role::Operate,
        Some(word) => word.parse().map_err(|_| "the role is none of read, operate and admin")?,
    };
    if fields.next().is_some() {
        return Err("the line has more parts than name, hash and role");
    }
    let caller = Principal::new(CallerKind::Account, name, role);
    Ok(Account { name: name.into(), password, caller })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=12288,t=3,p=1$AAECAwQFBgcICQoLDA0ODw$\
                        fzZ+qCIf1aOyjQPyieVtwM25b+nFZLdNRC2xUGTPk1o";

    #[test]
    fn an_account_has_the_role_of_its_line_and_its_name_is_exact() {
        let text = format!("\u{feff}# accounts\n\n  admin:{HASH}:admin  \ntf@ci:{HASH}\n");
        let table = AccountTable::read_file(&text).unwrap();
        let found = |name| {
            table.find(name).map(|account| (account.name.to_string(), account.caller.role()))
        };
        assert_eq!(found("admin"), Some(("admin".to_owned(), Role::Admin)));
        assert_eq!(found("tf@ci"), Some(("tf@ci".to_owned(), Role::Operate)));
        for unknown in ["", "Admin", "admin ", "root"] {
            assert!(found(unknown).is_none(), "{unknown}");
        }
        assert!(!table.is_empty() && AccountTable::default().is_empty());
        assert_eq!(format!("{table:?}"), "AccountTable(2 accounts)");
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_shown() {
        for (line, problem) in [
            (HASH.to_owned(), "the name"),
            (format!(":{HASH}"), "the name"),
            (format!("a b:{HASH}"), "the name"),
            (format!("{}:{HASH}", "n".repeat(65)), "the name"),
            ("admin".to_owned(), "the hash"),
            ("admin:hunter2".to_owned(), "the hash"),
            (format!("admin:{HASH}:root"), "the role"),
            (format!("admin:{HASH}:"), "the role"),
            (format!("admin:{HASH}:read:x"), "the line has more"),
            (format!("admin:{HASH}\nadmin:{HASH}:read"), "the name is the same"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("accounts");
            std::fs::write(&path, format!("# accounts\n{line}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
            let error = AccountTable::load_file(Some(&path), &FilePolicy::of_process())
                .unwrap_err()
                .to_string();
            let at = 1 + line.lines().count();
            let expected = format!("auth.accounts_file = {path:?}: line {at}: {problem}");
            assert!(error.contains(&expected), "{error}");
            assert!(!error.contains("fzZ+qCIf") && !error.contains("hunter2"), "{error}");
        }
    }
}
