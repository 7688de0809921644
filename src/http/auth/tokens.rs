//! The callers that may use TCP: the tokens file.
//!
//! A line is `name:sha256-hex[:role]`. Empty lines and lines that start with `#` are ignored. The
//! file holds digests and no tokens, so reading it gives no access.
//!
//! # Guarantees
//!
//! - A presented token is compared with every entry, in a time that depends on neither the token
//!   nor the entry that it matches.
//!
//! # Never
//!
//! - It never keeps, logs or shows a token, and never logs or shows a digest.

use std::collections::BTreeSet;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq as _;

use super::{CallerKind, Principal, Role};
use crate::common::parse_lines;
use crate::settings::{FilePolicy, FilePurpose, SettingFault, SettingsError, read_text};

/// Key of the setting that names the file.
const SETTING_KEY: &str = "auth.tokens_file";
/// Maximum length of a caller's name, in characters.
const MAX_NAME_CHARS: usize = 64;

type TokenDigest = [u8; SHA256_OUTPUT_LEN];

/// The callers with a token. The default contains no caller.
#[derive(Default)]
pub struct TokenTable {
    entries: Vec<(TokenDigest, Principal)>,
}

impl std::fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenTable({} callers)", self.entries.len())
    }
}

impl TokenTable {
    /// Reads the tokens file. Without a path, the table is empty. It blocks on the file, so call it
    /// before the runtime starts or on a separate thread. If a reload fails, the caller keeps its
    /// current tokens.
    ///
    /// # Errors
    /// [`SettingsError`] names every invalid line.
    pub fn load_file(path: Option<&Path>, policy: &FilePolicy) -> Result<Self, SettingsError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read_text(path, FilePurpose::Secret, policy)
            .map_err(|error| SettingFault::unusable_file(SETTING_KEY, path, &error))?;
        Self::read_file(&text).map_err(|lines| SettingsError::in_lines(SETTING_KEY, path, &lines))
    }

    /// Returns true if no caller has a token.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Parses the text of a tokens file.
    ///
    /// # Errors
    /// The invalid lines: number from 1, and the rule that is broken.
    pub(in crate::http) fn read_file(text: &str) -> Result<Self, Vec<(usize, &'static str)>> {
        let mut digests = BTreeSet::new();
        let entries = parse_lines(text, |line| {
            let (digest, caller) = parse_entry(line)?;
            if digests.insert(digest) {
                Ok((digest, caller))
            } else {
                Err("the token is the same as on an earlier line")
            }
        })?;
        Ok(Self { entries })
    }

    /// Returns the caller that the token belongs to, or `None` if the token is unknown.
    pub(crate) fn authenticate(&self, token: &str) -> Option<&Principal> {
        let presented = digest(&SHA256, token.as_bytes());
        let mut principal = None;
        // Constant time is a second defence, because a client cannot choose the digest of its
        // guess.
        for (expected, caller) in &self.entries {
            if bool::from(expected.as_slice().ct_eq(presented.as_ref())) {
                principal = Some(caller);
            }
        }
        principal
    }
}

fn parse_entry(line: &str) -> Result<(TokenDigest, Principal), &'static str> {
    let mut fields = line.split(':');
    let (name, hex) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_allowed) {
        return Err("the name does not consist of 1 to 64 characters of A-Z a-z 0-9 - _ . @");
    }
    let digest = HEXLOWER_PERMISSIVE
        .decode(hex.as_bytes())
        .ok()
        .and_then(|bytes| TokenDigest::try_from(bytes).ok())
        .ok_or("the SHA-256 of the token is not 64 hexadecimal digits")?;
    let role = match fields.next() {
        None => Role::Operate,
        Some(word) => word.parse().map_err(|_| "the role is none of read, operate and admin")?,
    };
    if fields.next().is_some() {
        return Err("the line has more parts than name, SHA-256 and role");
    }
    Ok((digest, Principal::new(CallerKind::Token, name, role)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf %s TOKEN | sha256sum
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    const HUNTER2: &str = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";

    fn write_private(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).unwrap();
    }

    #[test]
    fn a_token_is_recognized_by_its_digest_and_has_its_lines_role() {
        let text =
            format!("# callers\n\n  mn-1:{SESAME}  \nops@x:{}:admin\n", HUNTER2.to_uppercase());
        let tokens = TokenTable::read_file(&text).unwrap();
        let authenticate =
            |token| tokens.authenticate(token).map(|c| (c.name().to_owned(), c.role()));
        assert_eq!(authenticate("sesame"), Some(("mn-1".to_owned(), Role::Operate)));
        assert_eq!(authenticate("hunter2"), Some(("ops@x".to_owned(), Role::Admin)));
        for unknown in ["", "Sesame", "sesame ", SESAME, "mn-1"] {
            assert_eq!(authenticate(unknown), None, "{unknown}");
        }
        assert!(!format!("{tokens:?}").contains(SESAME));
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_shown() {
        for (line, problem) in [
            (SESAME.to_owned(), "the SHA-256"),
            (format!(":{SESAME}"), "the name"),
            (format!("a b:{SESAME}"), "the name"),
            (format!("{}:{SESAME}", "n".repeat(65)), "the name"),
            ("mn:hunter2".to_owned(), "the SHA-256"),
            (format!("mn:{SESAME}00"), "the SHA-256"),
            ("mn".to_owned(), "the SHA-256"),
            (format!("mn:{SESAME}:root"), "the role"),
            (format!("mn:{SESAME}:"), "the role"),
            (format!("mn:{SESAME}:read:x"), "the line has more"),
            (format!("a:{HUNTER2}\nb:{HUNTER2}:read"), "the token is the same"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("tokens");
            write_private(&path, &format!("# tokens\n{line}\n"));
            let error = TokenTable::load_file(Some(&path), &FilePolicy::of_process())
                .unwrap_err()
                .to_string();
            let at = 1 + line.lines().count();
            let expected = format!("auth.tokens_file = {path:?}: line {at}: {problem}");
            assert!(error.contains(&expected), "{error}");
            assert!(!error.contains(SESAME) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_bad_line_is_reported_up_to_a_readable_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        write_private(&path, &format!("a\nmn:{SESAME}\n:\n"));
        let faults = |path: &Path| {
            TokenTable::load_file(Some(path), &FilePolicy::of_process())
                .unwrap_err()
                .setting_faults()
                .to_vec()
        };
        let lines: Vec<String> = faults(&path).into_iter().map(|fault| fault.problem).collect();
        assert!(lines[0].starts_with("line 1: ") && lines[1].starts_with("line 3: "), "{lines:?}");
        write_private(&path, &"no token\n".repeat(100));
        assert_eq!(faults(&path).len(), 17);
        assert_eq!(faults(&path)[16].problem, "84 more lines are invalid");
    }

    #[test]
    fn a_file_that_is_missing_or_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("absent")] {
            let error = TokenTable::load_file(Some(&path), &FilePolicy::of_process())
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("{path:?}: cannot be read")), "{error}");
        }
        assert!(
            TokenTable::default().is_empty() && TokenTable::default().authenticate("").is_none()
        );
    }
}
