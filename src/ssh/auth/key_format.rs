//! The format of a private key and the cost of opening it, read from its text without decryption.
//! This module never computes a key derivation.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::pbes2;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::Kdf;
use zeroize::Zeroizing;

/// Maximum number of bcrypt rounds. They take about ten seconds on a slow machine. `ssh-keygen`
/// uses 16 to 24.
const MAX_BCRYPT_ROUNDS: u64 = 1024;
/// Maximum number of PBKDF2 rounds, with about the same duration. OpenSSL uses 2048, and 600,000
/// are recommended for passwords.
const MAX_PBKDF2_ITERATIONS: u64 = 10_000_000;
/// Maximum memory of scrypt in bytes, over all its parallel blocks. OpenSSL uses 16 MiB.
const MAX_SCRYPT_BYTES: u64 = 64 << 20;

/// Formats of private keys, grouped by the way they use a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFormat {
    /// The OpenSSH format, encrypted or not.
    OpenSsh,
    /// Encrypted PKCS#8.
    Pkcs8,
    /// The RFC 1421 format of older OpenSSL versions, encrypted with the only supported cipher
    /// (AES-128-CBC). Its key is derived with one round of MD5.
    Traditional,
    /// The RFC 1421 format, encrypted with another cipher.
    Unsupported,
    /// A key that is not encrypted.
    Plain,
}

/// The lines of exactly one key, so that no later parser can pick another text.
#[derive(Debug)]
pub(crate) struct EncodedKey {
    pub(super) format: KeyFormat,
    pub(super) lines: Zeroizing<String>,
}

/// A key derivation cost above the limit of this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KdfCostExceeded {
    pub(crate) unit: &'static str,
    pub(super) required: u64,
    pub(super) limit: u64,
}

impl EncodedKey {
    /// Returns the first key in the text, or `None` if there is no key.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("-----BEGIN "));
        // OpenSSL writes the name of the curve before an elliptic curve key.
        let begin =
            lines.find(|line| line.starts_with("-----BEGIN ") && line.contains(" KEY-----"))?;
        let mut key_lines = Zeroizing::new(String::with_capacity(text.len() + 1));
        key_lines.push_str(begin);
        let (mut encrypted, mut supported) = (false, false);
        for line in lines.take_while(|line| !line.starts_with("-----")) {
            encrypted |= line.starts_with("Proc-Type: 4,ENCRYPTED");
            supported |= line.starts_with("DEK-Info: AES-128-CBC,");
            key_lines.push('\n');
            key_lines.push_str(line);
        }
        let format = match begin {
            "-----BEGIN OPENSSH PRIVATE KEY-----" => KeyFormat::OpenSsh,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----" => KeyFormat::Pkcs8,
            _ if encrypted && supported => KeyFormat::Traditional,
            _ if encrypted => KeyFormat::Unsupported,
            _ => KeyFormat::Plain,
        };
        Some(Self { format, lines: key_lines })
    }

    /// Checks that the cost of opening the key is within the limits. A key that cannot be parsed
    /// has no cost.
    ///
    /// # Errors
    /// Returns the cost that exceeds its limit.
    pub(crate) fn check_kdf_cost(&self) -> Result<(), KdfCostExceeded> {
        match self.format {
            KeyFormat::OpenSsh => self.check_bcrypt(),
            KeyFormat::Pkcs8 => self.check_pbes2(),
            KeyFormat::Traditional | KeyFormat::Unsupported | KeyFormat::Plain => Ok(()),
        }
    }

    fn check_bcrypt(&self) -> Result<(), KdfCostExceeded> {
        let key = self.decode_base64().and_then(|bytes| PrivateKey::from_bytes(&bytes).ok());
        match key.as_ref().map(PrivateKey::kdf) {
            Some(Kdf::Bcrypt { rounds, .. }) => {
                check_bound("rounds", (*rounds).into(), MAX_BCRYPT_ROUNDS)
            }
            _ => Ok(()),
        }
    }

    fn check_pbes2(&self) -> Result<(), KdfCostExceeded> {
        let Some(bytes) = self.decode_base64() else { return Ok(()) };
        let info = EncryptedPrivateKeyInfoRef::try_from(bytes.as_slice());
        match info.as_ref().ok().and_then(|info| info.encryption_algorithm.pbes2()) {
            Some(pbes2::Parameters { kdf: pbes2::Kdf::Pbkdf2(kdf), .. }) => {
                check_bound("rounds", kdf.iteration_count.into(), MAX_PBKDF2_ITERATIONS)
            }
            Some(pbes2::Parameters { kdf: pbes2::Kdf::Scrypt(kdf), .. }) => {
                let (block, lanes) = (u64::from(kdf.block_size), u64::from(kdf.parallelization));
                let memory = kdf.cost_parameter.saturating_mul(128).saturating_mul(block);
                check_bound("bytes", memory.saturating_mul(lanes), MAX_SCRYPT_BYTES)
            }
            _ => Ok(()),
        }
    }

    fn decode_base64(&self) -> Option<Zeroizing<Vec<u8>>> {
        let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        // russh also skips lines that contain other characters.
        let lines = self.lines.lines().filter(|line| line.chars().all(base64));
        let base64 = Zeroizing::new(lines.collect::<String>());
        data_encoding::BASE64_MIME.decode(base64.as_bytes()).ok().map(Zeroizing::new)
    }
}

fn check_bound(unit: &'static str, required: u64, limit: u64) -> Result<(), KdfCostExceeded> {
    if required <= limit { Ok(()) } else { Err(KdfCostExceeded { unit, required, limit }) }
}
