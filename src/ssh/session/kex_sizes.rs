//! The sizes in a key exchange that failed, and the faults of those that the daemon does not
//! support: of an RSA host key, and of a Diffie-Hellman group. Also the message of a disconnect in
//! it. Pure: it reads recorded bytes. The packets before `SSH_MSG_NEWKEYS` are not encrypted
//! (RFC 4253 section 6).

use std::ops::RangeInclusive;

use russh::Error;

use crate::model::{Fault, Reason, Remedy};
use crate::ssh::encoding::{MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS, bit_length, read_string};

/// Message numbers of a reply with the host key as its first field: the key exchanges with fixed
/// groups and elliptic curves (RFC 4253, RFC 5656), and the one with negotiated groups (RFC 4419).
const KEX_REPLIES: [u8; 2] = [31, 33];

/// Message number of a negotiated group (RFC 4419).
const KEX_GROUP: u8 = 31;

/// Message numbers of a disconnect and of the last message that is not encrypted (RFC 4253).
const DISCONNECT: u8 = 1;
const NEW_KEYS: u8 = 21;

/// Sizes in bits of the Diffie-Hellman groups that the daemon accepts.
pub(super) const GROUP_BITS: RangeInclusive<usize> = 2048..=8192;

/// Sizes of an RSA key in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ssh) struct RsaKeySize {
    pub(in crate::ssh) modulus: usize,
    pub(in crate::ssh) exponent: usize,
}

/// Returns the fault for a limit of this daemon that the key exchange exceeded. russh reports it as
/// a mistake of the server.
pub(super) fn exceeded_limit(error: &Error, packets: &[u8]) -> Option<Fault> {
    match error {
        Error::WrongServerSig => {
            let RsaKeySize { modulus, exponent } = rsa_key_size(packets)?;
            if modulus > MAX_RSA_BITS {
                let bits = MAX_RSA_BITS.to_string();
                let fault = rsa_key_too_large("", modulus, MAX_RSA_BITS);
                Some(fault.with_remedy(Remedy::UseSmallerRsaKey { bits }))
            } else if exponent > MAX_RSA_EXPONENT_BITS {
                let (number, bits) = ("a public exponent of ", MAX_RSA_EXPONENT_BITS.to_string());
                let fault = rsa_key_too_large(number, exponent, MAX_RSA_EXPONENT_BITS);
                Some(fault.with_remedy(Remedy::UseSmallerRsaExponent { bits }))
            } else {
                None
            }
        }
        Error::KexInit => {
            group_bits(packets).filter(|bits| !GROUP_BITS.contains(bits)).map(group_size_fault)
        }
        _ => None,
    }
}

fn rsa_key_too_large(number: &str, bits: usize, max_bits: usize) -> Fault {
    let of = if number.is_empty() { "of" } else { "with" };
    let details = format!(
        "the RSA host key of the server has {number}{bits} bits; this daemon verifies RSA keys {of} \
         {number}at most {max_bits} bits"
    );
    Fault::new(Reason::NoCommonAlgorithm, details)
        .with_detail("kind", "host key")
        .with_detail("bits", bits)
        .with_detail("maxBits", max_bits)
}

fn group_size_fault(bits: usize) -> Fault {
    let (min, max) = (GROUP_BITS.start(), GROUP_BITS.end());
    let details = format!(
        "the server chose a Diffie-Hellman group of {bits} bits; this daemon accepts groups of \
         {min} to {max} bits"
    );
    Fault::new(Reason::NoCommonAlgorithm, details)
        .with_detail("kind", "key exchange")
        .with_detail("bits", bits)
        .with_remedy(Remedy::UseOtherGroups { min: min.to_string(), max: max.to_string() })
}

/// Returns the size of the RSA key that the server showed, or `None` if it showed another type of
/// key or none. `packets` are the bytes after the identification line.
pub(in crate::ssh) fn rsa_key_size(packets: &[u8]) -> Option<RsaKeySize> {
    find_in_messages(packets, |message, mut fields| {
        let is_reply = KEX_REPLIES.contains(&message);
        is_reply.then(|| read_string(&mut fields).and_then(read_rsa_key)).flatten()
    })
}

/// Returns the size of the negotiated group that the server sent, or `None` if it sent none.
pub(in crate::ssh) fn group_bits(packets: &[u8]) -> Option<usize> {
    find_in_messages(packets, |message, mut fields| {
        let prime = read_string(&mut fields)?;
        let _generator = read_string(&mut fields)?;
        // A reply of another key exchange has the same number and three fields.
        (message == KEX_GROUP && fields.is_empty()).then(|| bit_length(prime)).flatten()
    })
}

/// Returns the code and the message of a disconnect before the encryption, or `None` if there is
/// none.
pub(in crate::ssh) fn disconnect_message(packets: &[u8]) -> Option<(u32, Vec<u8>)> {
    let found = find_in_messages(packets, |message, fields| match message {
        NEW_KEYS => Some(None),
        DISCONNECT => {
            let (code, mut fields) = fields.split_first_chunk::<4>()?;
            let message = read_string(&mut fields)?.to_vec();
            Some(Some((u32::from_be_bytes(*code), message)))
        }
        _ => None,
    });
    found.flatten()
}

/// Returns the first result for a message and its fields.
fn find_in_messages<T>(mut packets: &[u8], read: impl Fn(u8, &[u8]) -> Option<T>) -> Option<T> {
    loop {
        let packet = read_string(&mut packets)?;
        let (padding, payload) = packet.split_first()?;
        let payload = payload.get(..payload.len().checked_sub(usize::from(*padding))?)?;
        let (message, fields) = payload.split_first()?;
        if let Some(found) = read(*message, fields) {
            return Some(found);
        }
    }
}

fn read_rsa_key(mut key: &[u8]) -> Option<RsaKeySize> {
    if read_string(&mut key)? != b"ssh-rsa" {
        return None;
    }
    let exponent = bit_length(read_string(&mut key)?)?;
    let modulus = bit_length(read_string(&mut key)?)?;
    Some(RsaKeySize { modulus, exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn packet(message: u8, fields: &[u8]) -> Vec<u8> {
        string(&[&[4, message], fields, &[0; 4]].concat())
    }

    fn rsa(modulus: &[u8]) -> Vec<u8> {
        string(&[string(b"ssh-rsa"), string(&[1, 0, 1]), string(modulus)].concat())
    }

    #[test]
    fn the_size_is_that_of_the_modulus_in_the_reply() {
        let modulus = [&[0, 0x80][..], &[0; 2047]].concat();
        let group = packet(31, &[string(&[5; 256]), string(&[2])].concat());
        for (packets, bits) in [
            (vec![packet(20, &[0; 100]), packet(31, &rsa(&modulus))], Some(16384)),
            (vec![packet(20, &[]), group.clone(), packet(33, &rsa(&[0x7f, 0xff]))], Some(15)),
            (vec![packet(31, &string(&string(b"ssh-ed25519")))], None),
            (vec![packet(20, &rsa(&modulus))], None),
            (vec![packet(31, &rsa(&[]))], None),
            (vec![group], None),
            (vec![], None),
        ] {
            assert_eq!(rsa_key_size(&packets.concat()).map(|size| size.modulus), bits);
        }
    }

    #[test]
    fn a_group_is_distinguished_from_the_reply_of_another_key_exchange() {
        let group = |prime: &[u8]| packet(31, &[string(prime), string(&[2])].concat());
        let reply = packet(31, &[string(&[1; 51]), string(&[2; 32]), string(&[3; 83])].concat());
        for (packets, bits) in [
            (vec![packet(20, &[0; 100]), group(&[&[0, 0x80][..], &[1; 127]].concat())], Some(1024)),
            (vec![packet(20, &[0; 100]), reply.clone()], None),
            (vec![], None),
        ] {
            assert_eq!(group_bits(&packets.concat()), bits);
        }
        assert_eq!(rsa_key_size(&packet(33, &rsa(&[0x80]))).unwrap().exponent, 17);
    }

    #[test]
    fn no_part_of_a_reply_makes_the_parser_panic() {
        let whole = packet(31, &rsa(&[0x80; 64]));
        for end in 0..whole.len() {
            assert_eq!(rsa_key_size(&whole[..end]), None);
            let mut damaged = whole.clone();
            damaged[end] ^= 0xff;
            let _ = (rsa_key_size(&damaged), group_bits(&damaged));
        }
    }
}
