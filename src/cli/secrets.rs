//! Secrets of the client commands, read from stdin, a file or a prompt.

use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::args::SecretSources;
use crate::common::FileRisk;
use crate::model::{Secret, SshCredentials};
use crate::settings::{FileError, open_client_secret};

/// The maximum size of a secret: 64 KiB. This is far more than a key of any kind needs.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// The prompt for the password of a login.
const SSH_PROMPT: &str = "SSH password: ";

/// A secret that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The source cannot be read.
    #[error("cannot read {from}: {source}")]
    Unreadable {
        /// The source.
        from: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Another user can read or replace the file.
    #[error(
        "{from} {risk}: a file with a secret must belong to root or to the user of the command, and \
         no other user may read or replace it (chmod 600)"
    )]
    Unsafe {
        /// The file.
        from: String,
        /// The risk.
        risk: FileRisk,
    },
    /// The text of this source is no secret.
    #[error("{0} is empty, not UTF-8 text, or larger than 64 KiB")]
    InvalidText(String),
    /// The two entries of a new password differ.
    #[error("the two passwords differ")]
    Different,
    /// The command has no source for a secret.
    #[error(
        "no secret is given: use --password-stdin, --password-file or --private-key-file, or run the command on a terminal"
    )]
    NoSource,
}

/// Returns the secrets of a login. Prompts for a password on the terminal if no source is given.
pub(super) fn read_credentials(from: &SecretSources) -> Result<SshCredentials, SecretError> {
    let credentials = read_sources(from, false)?;
    if !credentials.is_empty() {
        return Ok(credentials);
    }
    if !io::stdin().is_terminal() {
        return Err(SecretError::NoSource);
    }
    Ok(SshCredentials { password: Some(into_secret(prompt_password(SSH_PROMPT)?)), ..credentials })
}

/// Returns the secrets of the given sources. If `prompt` is set and there is no other source, it
/// prompts for a password on the terminal.
pub(super) fn read_sources(
    from: &SecretSources,
    prompt: bool,
) -> Result<SshCredentials, SecretError> {
    let password = match &from.password_file {
        Some(file) => Some(strip_line_end(read_file(file)?)),
        None if from.password_stdin => Some(read_secret_stdin()?),
        None if prompt => Some(prompt_password(SSH_PROMPT)?),
        None => None,
    };
    let private_key = from.private_key_file.as_deref().map(read_file).transpose()?;
    let passphrase =
        from.passphrase_file.as_deref().map(read_file).transpose()?.map(strip_line_end);
    Ok(SshCredentials {
        password: password.map(into_secret),
        private_key: private_key.map(into_secret),
        passphrase: passphrase.map(into_secret),
    })
}

/// Returns the secret on standard input.
///
/// # Errors
/// [`SecretError`] if it cannot be read or is empty.
pub fn read_secret_stdin() -> Result<Zeroizing<String>, SecretError> {
    Ok(strip_line_end(read_bounded_text(io::stdin(), "standard input")?))
}

/// Returns a new password, from standard input or twice from the terminal.
///
/// # Errors
/// Returns [`SecretError`] if it cannot be read, or if the two entries differ.
pub fn read_new_password() -> Result<Secret, SecretError> {
    if !io::stdin().is_terminal() {
        return Ok(into_secret(read_secret_stdin()?));
    }
    let password = prompt_password("Password: ")?;
    let repeated = prompt_password("Repeat the password: ")?;
    if password != repeated {
        return Err(SecretError::Different);
    }
    Ok(into_secret(password))
}

fn prompt_password(prompt: &str) -> Result<Zeroizing<String>, SecretError> {
    let input = rpassword::prompt_password(prompt);
    let from = "the terminal".to_owned();
    input.map(Zeroizing::new).map_err(|source| SecretError::Unreadable { from, source })
}

fn into_secret(text: Zeroizing<String>) -> Secret {
    Secret::new(text.to_string())
}

/// Returns the token for `--url`.
pub(super) fn read_token(file: &Path) -> Result<Secret, SecretError> {
    Ok(Secret::new(strip_line_end(read_file(file)?).trim().to_owned()))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let from = path.display().to_string();
    match open_client_secret(path) {
        Ok(file) => read_bounded_text(file, &from),
        Err(FileError::Unreadable(source)) => Err(SecretError::Unreadable { from, source }),
        Err(FileError::Unsafe { risk, .. }) => Err(SecretError::Unsafe { from, risk }),
    }
}

fn read_bounded_text(source: impl Read, from: &str) -> Result<Zeroizing<String>, SecretError> {
    let mut text = Zeroizing::new(String::new());
    match source.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text) {
        Ok(0) => Err(SecretError::InvalidText(from.to_owned())),
        Ok(_) if u64::try_from(text.len()).is_ok_and(|len| len <= MAX_SECRET_BYTES) => Ok(text
            .strip_prefix('\u{feff}')
            .map(|rest| Zeroizing::new(rest.to_owned()))
            .unwrap_or(text)),
        Ok(_) => Err(SecretError::InvalidText(from.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(SecretError::InvalidText(from.to_owned()))
        }
        Err(source) => Err(SecretError::Unreadable { from: from.to_owned(), source }),
    }
}

/// Removes the line end that editors and `echo` add. Other white space may be part of a password.
fn strip_line_end(text: Zeroizing<String>) -> Zeroizing<String> {
    let stripped = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    stripped.map(|text| Zeroizing::new(text.to_owned())).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_keeps_all_but_its_line_end() {
        let cut = |bytes: &str| {
            strip_line_end(read_bounded_text(bytes.as_bytes(), "test").unwrap()).to_string()
        };
        assert_eq!(cut(" a b \n"), " a b ");
        assert_eq!(cut("a\r\n"), "a");
        assert_eq!(cut("a"), "a");
        assert_eq!(cut("\u{feff}a\r\n"), "a");
        assert_eq!(cut("a\n\n"), "a\n");
    }

    #[test]
    fn an_error_about_invalid_text_does_not_show_it() {
        for bytes in [&b""[..], b"\xff\xfesecret", &[b'a'; 70_000]] {
            let error = read_bounded_text(bytes, "the file").unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
