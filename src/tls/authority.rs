//! The kinds of keys of authorities whose certificates the daemon can verify. Pure.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::alg_id;

/// Sizes in bits of the RSA keys whose signatures ring verifies (`RSA_PKCS1_2048_8192_SHA256`).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The problem of a certificate of an authority whose key cannot verify another one.
pub(super) const UNSUPPORTED_AUTHORITY: &str = "has a key of a kind that is not supported, so that \
     what it has signed cannot be verified: use an authority with an ECDSA key with P-256 or \
     P-384, an Ed25519 key, or an RSA key with 2048 to 8192 bits";

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// Returns true if certificates that were signed with this public key can be verified. `key_info`
/// is the content of the `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
pub(super) fn is_supported(key_info: &[u8], provider: &CryptoProvider) -> bool {
    let Some((algorithm, key)) = read_element(key_info, SEQUENCE) else { return false };
    let mut supported = provider.signature_verification_algorithms.all.iter();
    supported.any(|known| known.public_key_alg_id().as_ref() == algorithm)
        && (algorithm != alg_id::RSA_ENCRYPTION.as_ref()
            || rsa_bits(key).is_some_and(|bits| RSA_BITS.contains(&bits)))
}

/// Returns the size of an RSA key, or `None` if it is not one.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (bits, _) = read_element(key, BIT_STRING)?;
    // The first byte is the number of unused bits.
    let (key, _) = read_element(bits.get(1..)?, SEQUENCE)?;
    let (modulus, _) = read_element(key, INTEGER)?;
    let start = modulus.iter().position(|&byte| byte != 0)?;
    let digits = modulus.get(start..)?;
    let unused = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    (digits.len() * 8).checked_sub(unused)
}

/// Reads an element with this tag. Returns its content and the bytes after it.
fn read_element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}
