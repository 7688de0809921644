//! The format of a private key and the cost of opening it, read from its text without decryption.
//! This module never computes a key derivation.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::UintRef;
use pkcs8::der::{AnyRef, Decode as _, Reader as _};
use pkcs8::pkcs5::pbes2;
use pkcs8::spki::AlgorithmIdentifierRef;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::Kdf;
use zeroize::Zeroizing;

use crate::common::sanitize_line;

use super::key_error::{KeyError, MIN_RSA_BITS};
use crate::ssh::encoding::{MAX_RSA_BITS, bit_length, read_string};

/// Maximum length in bytes of a name of a cipher or of a type in a fault.
const MAX_NAME_BYTES: usize = 64;
/// Ciphers of the OpenSSH format that this build supports. `ssh-keygen -Z` also writes others.
const OPENSSH_CIPHERS: [&str; 10] = [
    "none",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
];
/// Start of a type of key in the OpenSSH format that this build supports.
const OPENSSH_TYPES: [&str; 3] = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp"];
/// Size in bytes of a block of AES.
const AES_BLOCK: usize = 16;
/// Start of the object identifiers of AES.
const AES_PREFIX: &str = "2.16.840.1.101.3.4.1.";
const DES_EDE3_CBC: &str = "1.2.840.113549.3.7";
/// PBES2 (RFC 8018).
const PBES2: &str = "1.2.840.113549.1.5.13";
/// Names of object identifiers in keys of OpenSSL.
const OID_NAMES: [(&str, &str); 17] = [
    (DES_EDE3_CBC, "DES-EDE3-CBC"),
    ("1.3.14.3.2.7", "DES-CBC"),
    ("1.2.840.113549.3.2", "RC2-CBC"),
    ("1.2.392.200011.61.1.1.1.2", "CAMELLIA-128-CBC"),
    ("1.2.392.200011.61.1.1.1.4", "CAMELLIA-256-CBC"),
    ("1.2.410.200046.1.1.12", "ARIA-256-CBC"),
    ("1.2.840.113549.1.5.12", "PBKDF2 of an unknown hash"),
    ("1.2.840.113549.1.12.1.3", "PBE-SHA1-3DES"),
    ("1.2.840.113549.1.5.3", "PBE-MD5-DES"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.101.113", "Ed448"),
    ("1.3.101.110", "X25519"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.2.156.10197.1.301", "SM2"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.156.10197.1.104.2", "SM4-CBC"),
];

/// Maximum number of bcrypt rounds. They take about ten seconds on a slow machine. `ssh-keygen`
/// uses 16 to 24.
const MAX_BCRYPT_ROUNDS: u64 = 1024;
/// Maximum number of PBKDF2 rounds, with about the same duration. OpenSSL uses 2048, and 600,000
/// are recommended for passwords.
const MAX_PBKDF2_ITERATIONS: u64 = 10_000_000;
/// Maximum memory of scrypt in bytes, over all its parallel blocks. OpenSSL uses 16 MiB.
const MAX_SCRYPT_BYTES: u64 = 64 << 20;

/// Formats of private keys, grouped by the way they use a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyFormat {
    /// The OpenSSH format, encrypted or not.
    OpenSsh,
    /// Encrypted PKCS#8.
    Pkcs8,
    /// The RFC 1421 format of older OpenSSL versions, encrypted with the only supported cipher
    /// (AES-128-CBC of an RSA key). Its key is derived with one round of MD5.
    Traditional,
    /// The RFC 1421 format, encrypted with another cipher.
    UnsupportedTraditional(String),
    /// A type of key that this daemon does not support.
    UnsupportedType(String),
    /// A key that is not encrypted.
    Plain,
}

/// The lines of exactly one key, so that no later parser can pick another text.
#[derive(Debug)]
pub(crate) struct EncodedKey {
    pub(super) format: KeyFormat,
    pub(super) lines: Zeroizing<String>,
    pub(super) has_end: bool,
}

/// A key derivation cost above the limit of this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KdfCostExceeded {
    pub(crate) unit: &'static str,
    pub(super) required: u64,
    pub(super) limit: u64,
}

impl EncodedKey {
    /// Returns the first private key in the text, or `None` if there is no key.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        // OpenSSL writes the name of the curve before an elliptic curve key.
        let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let begin = lines.find(|line| {
            line.starts_with("-----BEGIN ") && line.ends_with(" PRIVATE KEY-----")
                // Otherwise the line break after it is lost.
                && line.matches("-----").count() == 2
        })?;
        let mut key_lines = Zeroizing::new(String::with_capacity(text.len() + 1));
        key_lines.push_str(begin);
        let (mut cipher, mut has_end) = (None, false);
        for line in lines {
            if line.starts_with("-----") {
                has_end = line.starts_with("-----END ");
                break;
            }
            if let Some(info) = line.strip_prefix("DEK-Info:") {
                let name = info.split(',').next().unwrap_or_default().trim();
                cipher = Some(sanitize_line(name.as_bytes(), MAX_NAME_BYTES));
            }
            key_lines.push('\n');
            key_lines.push_str(line);
        }
        let label = begin.strip_prefix("-----BEGIN ").and_then(|b| b.strip_suffix("-----"));
        let format = match (label.unwrap_or_default(), cipher) {
            ("OPENSSH PRIVATE KEY", _) => KeyFormat::OpenSsh,
            ("ENCRYPTED PRIVATE KEY", _) => KeyFormat::Pkcs8,
            ("RSA PRIVATE KEY", Some(name)) if name == "AES-128-CBC" => KeyFormat::Traditional,
            ("RSA PRIVATE KEY", Some(name)) => KeyFormat::UnsupportedTraditional(name),
            ("EC PRIVATE KEY", Some(name)) => {
                KeyFormat::UnsupportedTraditional(format!("{name} of an EC key"))
            }
            ("RSA PRIVATE KEY" | "EC PRIVATE KEY" | "PRIVATE KEY", _) => KeyFormat::Plain,
            (label, _) => {
                let name = label.strip_suffix(" PRIVATE KEY").unwrap_or(label);
                KeyFormat::UnsupportedType(sanitize_line(name.as_bytes(), MAX_NAME_BYTES))
            }
        };
        Some(Self { format, lines: key_lines, has_end })
    }

    /// Checks that this daemon supports the type and the encryption of the key, as far as they are
    /// readable without a passphrase. A key that cannot be parsed passes.
    ///
    /// # Errors
    /// Returns the type or the cipher that is not supported.
    pub(super) fn check_support(&self) -> Result<(), KeyError> {
        match &self.format {
            KeyFormat::UnsupportedType(name) => Err(KeyError::UnsupportedType(name.clone())),
            KeyFormat::UnsupportedTraditional(name) => {
                Err(KeyError::UnsupportedCipher(name.clone()))
            }
            KeyFormat::OpenSsh => match self.decode_base64() {
                Some(bytes) => check_openssh_header(&bytes),
                None => Ok(()),
            },
            KeyFormat::Pkcs8 => match self.decode_base64() {
                Some(bytes) => check_pkcs8_encryption(&bytes),
                None => Ok(()),
            },
            KeyFormat::Traditional | KeyFormat::Plain => Ok(()),
        }
    }

    /// Returns true if the key is encrypted and its parts are complete, so that only the passphrase
    /// can be wrong.
    pub(super) fn is_encrypted_and_intact(&self) -> bool {
        let Some(bytes) = self.decode_base64() else { return false };
        match self.format {
            KeyFormat::OpenSsh => {
                PrivateKey::from_bytes(&bytes).is_ok_and(|key| key.is_encrypted())
            }
            KeyFormat::Pkcs8 => EncryptedPrivateKeyInfoRef::try_from(bytes.as_slice()).is_ok(),
            KeyFormat::Traditional => !bytes.is_empty() && bytes.len().is_multiple_of(AES_BLOCK),
            _ => false,
        }
    }

    /// Returns true if this is an RSA key of the format of PKCS#1, of a size or a number of primes
    /// that this daemon does not support.
    pub(super) fn is_unsupported_rsa(&self) -> bool {
        let bytes = self.decode_base64();
        bytes.and_then(|bytes| pkcs1_version_and_bits(&bytes)).is_some_and(|(version, bits)| {
            version != 0 || !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits)
        })
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
            _ => Ok(()),
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

/// Returns the name of an object identifier, or its number if the name is not known.
pub(super) fn oid_name(oid: &str) -> String {
    let known = OID_NAMES.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| format!("algorithm {oid}"), |(_, name)| (*name).to_owned())
}

/// Checks the names of the cipher and of the type in the header of the OpenSSH format. The public
/// key in it is not encrypted (PROTOCOL.key of OpenSSH).
fn check_openssh_header(bytes: &[u8]) -> Result<(), KeyError> {
    let Some((cipher, key_type)) = openssh_header(bytes) else { return Ok(()) };
    let name = |name: &[u8]| sanitize_line(name, MAX_NAME_BYTES);
    if !OPENSSH_TYPES.iter().any(|known| key_type.starts_with(known.as_bytes())) {
        return Err(KeyError::UnsupportedType(name(key_type)));
    }
    if !OPENSSH_CIPHERS.iter().any(|known| known.as_bytes() == cipher) {
        return Err(KeyError::UnsupportedCipher(name(cipher)));
    }
    Ok(())
}

/// Returns the names of the cipher and of the type.
fn openssh_header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let cipher = read_string(&mut rest)?;
    let _kdf = read_string(&mut rest)?;
    let _kdf_options = read_string(&mut rest)?;
    let (_count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut public_key = read_string(&mut rest)?;
    Some((cipher, read_string(&mut public_key)?))
}

/// Checks the encryption of a PKCS#8 key. One that the parser of keys does not know makes it fail
/// like a damaged key.
fn check_pkcs8_encryption(bytes: &[u8]) -> Result<(), KeyError> {
    if EncryptedPrivateKeyInfoRef::try_from(bytes)
        .is_ok_and(|info| info.encryption_algorithm.pbes2().is_some())
    {
        return Ok(());
    }
    match pkcs8_encryption(bytes) {
        Some(oid) => Err(KeyError::UnsupportedPkcs8Cipher(oid_name(&oid))),
        None => Ok(()),
    }
}

/// Returns the object identifier of the part that is not supported: the cipher, else the key
/// derivation; or that of the whole scheme if it is not PBES2.
fn pkcs8_encryption(bytes: &[u8]) -> Option<String> {
    let scheme = first_algorithm(AnyRef::from_der(bytes).ok()?)?;
    if scheme.oid.to_string() != PBES2 {
        return Some(scheme.oid.to_string());
    }
    let algorithms = AnyRef::sequence(scheme.parameters?, |reader| {
        Ok::<_, pkcs8::der::Error>((
            AlgorithmIdentifierRef::decode(reader)?,
            AlgorithmIdentifierRef::decode(reader)?,
        ))
    });
    let (kdf, cipher) = algorithms.ok()?;
    let cipher = cipher.oid.to_string();
    let is_supported = cipher.starts_with(AES_PREFIX) || cipher == DES_EDE3_CBC;
    Some(if is_supported { kdf.oid.to_string() } else { cipher })
}

/// Returns the version of the structure (1 for more than two primes) and the size of the modulus of
/// a key in the format of PKCS#1 (RFC 8017 appendix A.1.2).
fn pkcs1_version_and_bits(bytes: &[u8]) -> Option<(u8, usize)> {
    let numbers = AnyRef::from_der(bytes).ok()?.sequence(|reader| {
        let version = u8::decode(reader)?;
        let modulus = UintRef::decode(reader)?;
        reader.drain(reader.remaining_len())?;
        Ok::<_, pkcs8::der::Error>((version, modulus))
    });
    let (version, modulus) = numbers.ok()?;
    Some((version, bit_length(modulus.as_bytes()).unwrap_or(0)))
}

/// Returns the first element of a sequence.
fn first_algorithm(sequence: AnyRef<'_>) -> Option<AlgorithmIdentifierRef<'_>> {
    let first = sequence.sequence(|reader| {
        let first = AlgorithmIdentifierRef::decode(reader)?;
        reader.drain(reader.remaining_len())?;
        Ok::<_, pkcs8::der::Error>(first)
    });
    first.ok()
}
