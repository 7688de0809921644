//! The reasons why a text is unusable as a private key: one sentence and one remedy for each. A
//! limit of this daemon says that it is one.

use crate::model::{Fault, Reason, Remedy};

use super::key_format::KdfCostExceeded;
use crate::ssh::encoding::{MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS};

/// Minimum size of an RSA key. OpenSSH accepts no smaller one.
pub(super) const MIN_RSA_BITS: usize = 1024;

/// Reason why a text is unusable as a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the private key is encrypted and the store has no passphrase for it")]
    NoPassphrase,
    #[error("the passphrase does not decrypt the private key")]
    WrongPassphrase,
    #[error("the text is not a private key in OpenSSH or PEM format")]
    NotAKey,
    #[error("the text is a public key, not a private key")]
    PublicKey,
    #[error("the text is a certificate, not a private key")]
    Certificate,
    #[error("the private key is in PuTTY's format, which this daemon does not read")]
    Putty,
    #[error("the private key is in the format of SSH.com, which this daemon does not read")]
    SshCom,
    #[error("the text is a PKCS#12 file, which this daemon does not read")]
    Pkcs12,
    #[error("the text has no BEGIN line: it may be a key in DER or PKCS#12")]
    NoArmor,
    #[error("the private key is truncated: its BEGIN line is missing")]
    NoBegin,
    #[error("the line breaks of the private key are lost")]
    NoLineBreaks,
    #[error("the private key is truncated: its END line is missing")]
    Truncated,
    #[error("the private key is damaged")]
    Damaged,
    #[error("the type of the private key ({0}) is not supported by this daemon")]
    UnsupportedType(String),
    #[error(
        "the RSA key is not supported by this daemon: it uses RSA keys of {} to {} bits with two \
         primes and a public exponent of at most {} bits",
        MIN_RSA_BITS,
        MAX_RSA_BITS,
        MAX_RSA_EXPONENT_BITS
    )]
    UnsupportedRsa,
    #[error("the private key is encrypted with {0}, which this daemon does not support")]
    UnsupportedCipher(String),
    #[error("the private key is encrypted with {0}, which this daemon does not support")]
    UnsupportedPkcs8Cipher(String),
    #[error("the private key was not opened in time")]
    TooSlow,
    #[error(
        "the encryption of the private key requires {} {}, more than the limit of {}",
        .0.required, .0.unit, .0.limit
    )]
    TooExpensive(KdfCostExceeded),
}

impl KeyError {
    /// Returns the remedy of this error, or `None` if the general one of the reason applies.
    fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::NoPassphrase => Remedy::GivePassphrase,
            Self::WrongPassphrase => Remedy::CorrectPassphrase,
            Self::NotAKey | Self::Damaged => return None,
            Self::PublicKey | Self::Certificate => Remedy::GivePrivatePart,
            Self::Putty => Remedy::ConvertPuttyKey,
            Self::SshCom => Remedy::ConvertSshComKey,
            Self::Pkcs12 | Self::NoArmor => Remedy::ConvertBinaryKey,
            Self::NoLineBreaks => Remedy::KeepLineBreaks,
            Self::Truncated | Self::NoBegin => Remedy::GiveWholeKey,
            Self::UnsupportedType(_) | Self::UnsupportedRsa => Remedy::UseOtherKeyType,
            Self::UnsupportedCipher(_) => Remedy::ReencryptKey,
            Self::UnsupportedPkcs8Cipher(_) => Remedy::ReencryptPkcs8Key,
            Self::TooSlow | Self::TooExpensive(_) => Remedy::UseFewerRounds,
        })
    }

    pub(super) fn into_fault(self) -> Fault {
        let mut fault = Fault::new(Reason::KeyUnusable, self.to_string());
        if let Self::TooExpensive(cost) = &self {
            fault = fault.with_detail(cost.unit, cost.required);
        }
        match self.remedy() {
            Some(remedy) => fault.with_remedy(remedy),
            None => fault,
        }
    }
}

/// Returns the error for a text without a private key of a supported format.
pub(super) fn unrecognized_text(text: &str) -> KeyError {
    const PUBLIC_KEY_TYPES: [&str; 3] = ["ssh-", "ecdsa-sha2-", "sk-"];
    let text = text.trim();
    let contains = |words: &str| text.contains(words);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=\r\n".contains(c);
    if text.starts_with("PuTTY-User-Key-File-") {
        KeyError::Putty
    } else if contains("BEGIN SSH2 ENCRYPTED PRIVATE KEY") {
        KeyError::SshCom
    } else if contains("-----BEGIN ") && contains(" PRIVATE KEY-----") {
        KeyError::NoLineBreaks
    } else if contains("-----END ") && contains(" PRIVATE KEY-----") {
        KeyError::NoBegin
    } else if contains("-----BEGIN PKCS12") {
        KeyError::Pkcs12
    } else if contains("-cert-v01@openssh.com ") || contains("-----BEGIN CERTIFICATE") {
        KeyError::Certificate
    } else if contains("BEGIN PUBLIC KEY")
        || contains("BEGIN RSA PUBLIC KEY")
        || contains("BEGIN SSH2 PUBLIC KEY")
        || (PUBLIC_KEY_TYPES.iter().any(|kind| text.starts_with(kind)) && contains(" AAAA"))
    {
        KeyError::PublicKey
    } else if (text.starts_with("MI") && text.len() > 64 && text.chars().all(is_base64))
        || text.starts_with('0') && text.contains('\u{fffd}')
    {
        KeyError::NoArmor
    } else {
        KeyError::NotAKey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_other_text_is_named() {
        for (text, error) in [
            ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", KeyError::Putty),
            ("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56\n", KeyError::SshCom),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", KeyError::PublicKey),
            ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----", KeyError::PublicKey),
            ("\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@here\n", KeyError::PublicKey),
            ("sk-ssh-ed25519@openssh.com AAAAGnNr me", KeyError::PublicKey),
            ("ssh-rsa-cert-v01@openssh.com AAAAHHNz me", KeyError::Certificate),
            ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", KeyError::Certificate),
            ("-----BEGIN PKCS12-----\nMIIB", KeyError::Pkcs12),
            (&format!("MIIE{}", "Ab+/".repeat(99)), KeyError::NoArmor),
            (
                "-----BEGIN PRIVATE KEY----- MC4CAQAw -----END PRIVATE KEY-----",
                KeyError::NoLineBreaks,
            ),
            ("MC4CAQAw\n-----END PRIVATE KEY-----\n", KeyError::NoBegin),
            ("", KeyError::NotAKey),
            ("hunter2", KeyError::NotAKey),
            ("ssh-agent", KeyError::NotAKey),
        ] {
            assert_eq!(unrecognized_text(text), error, "{text}");
        }
    }
}
