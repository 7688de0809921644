//! The size of an RSA host key, read from the packets of a key exchange that failed. Pure: it reads
//! recorded bytes. The packets before `SSH_MSG_NEWKEYS` are not encrypted (RFC 4253 section 6).

/// Message numbers of a reply with the host key as its first field: the key exchanges with fixed
/// groups and elliptic curves (RFC 4253, RFC 5656), and the one with negotiated groups (RFC 4419).
const KEX_REPLIES: [u8; 2] = [31, 33];

/// Maximum size of an RSA key that this build verifies: the limit of the `rsa` crate.
pub(super) const MAX_RSA_BITS: usize = 8192;

/// Returns the size in bits of the RSA key that the server showed, or `None` if it showed another
/// type of key or none. `packets` are the bytes after the identification line.
pub(in crate::ssh) fn rsa_bits(mut packets: &[u8]) -> Option<usize> {
    loop {
        let packet = read_string(&mut packets)?;
        let (padding, payload) = packet.split_first()?;
        let mut payload = payload.get(..payload.len().checked_sub(usize::from(*padding))?)?;
        let (message, fields) = payload.split_first()?;
        payload = fields;
        if KEX_REPLIES.contains(message)
            && let Some(bits) = read_string(&mut payload).and_then(modulus_bits)
        {
            return Some(bits);
        }
    }
}

fn modulus_bits(mut key: &[u8]) -> Option<usize> {
    if read_string(&mut key)? != b"ssh-rsa" {
        return None;
    }
    let _exponent = read_string(&mut key)?;
    let modulus = read_string(&mut key)?;
    let start = modulus.iter().position(|&byte| byte != 0)?;
    let digits = modulus.get(start..)?;
    let unused = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    (digits.len() * 8).checked_sub(unused)
}

/// Reads a length and as many bytes.
fn read_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let string = rest.get(..length)?;
    *bytes = rest.get(length..)?;
    Some(string)
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
            assert_eq!(rsa_bits(&packets.concat()), bits);
        }
    }

    #[test]
    fn no_part_of_a_reply_makes_the_parser_panic() {
        let whole = packet(31, &rsa(&[0x80; 64]));
        for end in 0..whole.len() {
            assert_eq!(rsa_bits(&whole[..end]), None);
            let mut damaged = whole.clone();
            damaged[end] ^= 0xff;
            let _ = rsa_bits(&damaged);
        }
    }
}
