//! Encryption of stored SSH secrets with ChaCha20-Poly1305 (RFC 8439) under the master key. A
//! sealed secret is bound to its owner and its field, and has a random nonce.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::durable_file;
use crate::common::skip_byte_order_mark;
use crate::model::{Fault, Reason, Secret};
use crate::settings;
use crate::settings::{FileError, FilePolicy, FilePurpose, read_file};

/// Name of the master key in the state directory, and of the systemd credential.
pub const MASTER_KEY_FILE: &str = "master-key";
const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 8;
/// Input of the derivation of the key for [`SecretSealer::login_digest_key`].
const LOGIN_DIGEST_PURPOSE: &[u8] = b"imagestore-agent: digests of trial logins";
/// Input of the derivation of the key for [`SecretSealer::job_key`].
const JOB_DIGEST_PURPOSE: &[u8] = b"imagestore-agent: digests of jobs";

/// An error of the master key file.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The system returned an error.
    #[error("cannot create the master key {path}")]
    Unusable {
        /// The key file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another user can read or replace the key.
    #[error("the master key {path}: {error}")]
    Unsafe {
        /// The key file.
        path: PathBuf,
        /// The reason.
        error: FileError,
    },
}

/// Seals and unseals secrets with one master key. Without a usable key it keeps the reason and
/// reports it.
pub struct SecretSealer {
    path: PathBuf,
    key: Result<MasterKey, &'static str>,
}

/// A parsed master key, and what is derived from it.
pub(super) struct MasterKey {
    sealing: LessSafeKey,
    id: [u8; KEY_ID_LEN],
    login_digests: hmac::Key,
    job_digests: hmac::Key,
}

impl std::fmt::Debug for SecretSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretSealer({})", self.path.display())
    }
}

impl SecretSealer {
    /// Loads the master key from `state.master_key_file`, else from the systemd credential
    /// `master-key`, else from `master-key` in the state directory.
    ///
    /// The file in the state directory is created if it is absent and `sealed_before` is false (32
    /// random bytes, mode 0600). `sealed_before` is true if the ledger has sealed secrets. A lost
    /// key is then not replaced, so that restoring it makes all secrets readable again.
    ///
    /// A missing or malformed key is not an error here. The daemon starts, and operations that need
    /// the key fail with `secret_unreadable`.
    ///
    /// # Errors
    /// Returns [`MasterKeyError`] if a new key cannot be created durably, or if another user can
    /// read or replace the key.
    pub fn load_key(
        state: &settings::StateSettings,
        credentials: Option<&Path>,
        sealed_before: bool,
    ) -> Result<Self, MasterKeyError> {
        let default_path = state.dir.join(MASTER_KEY_FILE);
        let credential = credentials.map(|dir| dir.join(MASTER_KEY_FILE));
        let given = state.master_key_file.clone().or(credential);
        let policy = FilePolicy::of_daemon(state);
        let found = given.as_deref().map(|path| read_given_key(path, &policy)).transpose()?;
        let (path, found) = match (given, found) {
            (Some(path), Some(found)) if state.master_key_file.is_some() => (path, found),
            (Some(path), Some(found @ Ok(Some(_)))) => (path, found),
            // No such credential was passed, so the key is the file in the state directory.
            _ => (default_path.clone(), read_key(&default_path)),
        };
        let bytes = match found {
            Ok(None) if path == default_path && !sealed_before => {
                let bytes = generate_key(&path)?;
                durable_file::create_file(&state.dir, MASTER_KEY_FILE, &bytes[..])
                    .map_err(|source| MasterKeyError::Unusable { path: path.clone(), source })?;
                Some(bytes)
            }
            Ok(bytes) => bytes,
            Err(_) => None,
        };
        Ok(Self {
            path,
            key: bytes.ok_or("the file is missing or cannot be read").and_then(|b| parse_key(&b)),
        })
    }

    /// Verifies that there is a key.
    ///
    /// # Errors
    /// Returns `secret_unreadable` if the file is missing, cannot be read, or contains no key.
    pub fn verify_form(&self) -> Result<(), Fault> {
        self.usable_key().map(drop)
    }

    /// Returns the key for digests of trial logins. It is derived from the master key, so that a
    /// digest that was stored means the same login after a restart. Without a usable master key it
    /// is random, and no trial login can lead to a stored secret.
    pub(super) fn login_digest_key(&self) -> Option<hmac::Key> {
        match &self.key {
            Ok(key) => Some(key.login_digests.clone()),
            Err(_) => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
        }
    }

    /// Returns the key for digests of the callers and requests of jobs. It is derived from the
    /// master key. Without a usable master key it is random, and the id of a job of an earlier run
    /// then seems to belong to another request.
    pub(super) fn job_key(&self) -> Option<hmac::Key> {
        match &self.key {
            Ok(key) => Some(key.job_digests.clone()),
            Err(_) => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
        }
    }

    /// Seals one field of `owner`: a store, or a job.
    ///
    /// # Errors
    /// Returns `secret_unreadable` with the path of the key file if there is no usable key.
    pub(super) fn seal(
        &self,
        owner: impl Display,
        field: &str,
        secret: &Secret,
    ) -> Result<Vec<u8>, Fault> {
        let MasterKey { sealing, id, .. } = self.usable_key()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| self.unreadable_secret("the system has no randomness"))?;
        let mut sealed = Zeroizing::new(secret.expose_secret().as_bytes().to_vec());
        let tag = sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                associated_data(owner, field),
                &mut sealed,
            )
            .map_err(|_| self.unreadable_secret("the secret is too long to seal"))?;
        Ok([&id[..], &nonce, &sealed, tag.as_ref()].concat())
    }

    /// Unseals one field of `owner`: a store, or a job.
    ///
    /// # Errors
    /// Returns `secret_unreadable` if there is no usable key, if another key sealed the secret, or
    /// if the sealed secret is damaged.
    pub(super) fn unseal(
        &self,
        owner: impl Display,
        field: &str,
        blob: &[u8],
    ) -> Result<Secret, Fault> {
        let MasterKey { sealing, id, .. } = self.usable_key()?;
        let damaged = || self.unreadable_secret("the sealed secret is damaged");
        let (blob_id, rest) = blob.split_at_checked(KEY_ID_LEN).ok_or_else(damaged)?;
        if blob_id != id {
            return Err(self.unreadable_secret("another key sealed the secret"));
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plain = sealing
            .open_in_place(nonce, associated_data(owner, field), buffer.as_mut_slice())
            .map_err(|_| damaged())?;
        let text = std::str::from_utf8(plain).map_err(|_| damaged())?;
        Ok(Secret::new(text.to_owned()))
    }

    fn usable_key(&self) -> Result<&MasterKey, Fault> {
        self.key.as_ref().map_err(|why| self.unreadable_secret(why))
    }

    fn unreadable_secret(&self, why: &str) -> Fault {
        let path = self.path.display().to_string();
        Fault::new(Reason::SecretUnreadable, format!("master key {path}: {why}"))
            .with_detail("path", path)
    }
}

fn associated_data(owner: impl Display, field: &str) -> Aad<String> {
    Aad::from(format!("{owner}/{field}"))
}

/// Reads a key that a setting or systemd names. The inner error is that of the system.
fn read_given_key(path: &Path, policy: &FilePolicy) -> Result<FoundKey, MasterKeyError> {
    match read_file(path, FilePurpose::Secret, policy) {
        Ok(bytes) => Ok(Ok(Some(bytes))),
        Err(FileError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Ok(None))
        }
        Err(FileError::Unreadable(error)) => Ok(Err(error)),
        Err(error) => Err(MasterKeyError::Unsafe { path: path.to_owned(), error }),
    }
}

/// The content of a key file, or `None` if it does not exist.
type FoundKey = io::Result<Option<Zeroizing<Vec<u8>>>>;

fn read_key(path: &Path) -> FoundKey {
    Ok(durable_file::read_file(path, 4096)?.map(Zeroizing::new))
}

fn generate_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let mut bytes = Zeroizing::new(vec![0; KEY_LEN]);
    SystemRandom::new().fill(&mut bytes).map_err(|_| MasterKeyError::Unusable {
        path: path.to_owned(),
        source: io::Error::other("the system has no randomness"),
    })?;
    Ok(bytes)
}

/// Parses a key: 32 raw bytes, or their base64 on one line.
pub(super) fn parse_key(bytes: &[u8]) -> Result<MasterKey, &'static str> {
    let decoded;
    let raw = if bytes.len() == KEY_LEN {
        bytes
    } else {
        decoded = Zeroizing::new(
            data_encoding::BASE64
                .decode(skip_byte_order_mark(bytes).trim_ascii())
                .map_err(|_| "the file contains neither 32 bytes nor their base64 encoding")?,
        );
        decoded.as_slice()
    };
    let key = UnboundKey::new(&CHACHA20_POLY1305, raw)
        .map_err(|_| "the file contains neither 32 bytes nor their base64 encoding")?;
    let mut id = [0; KEY_ID_LEN];
    for (to, from) in id.iter_mut().zip(digest(&SHA256, raw).as_ref()) {
        *to = *from;
    }
    let master = hmac::Key::new(hmac::HMAC_SHA256, raw);
    let derive = |purpose| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose).as_ref());
    let (login_digests, job_digests) = (derive(LOGIN_DIGEST_PURPOSE), derive(JOB_DIGEST_PURPOSE));
    Ok(MasterKey { sealing: LessSafeKey::new(key), id, login_digests, job_digests })
}
