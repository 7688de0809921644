//! Strings and numbers in the encoding of the SSH protocol (RFC 4251 section 5), and the sizes of
//! the RSA keys that this build supports. Pure: it reads bytes of a peer or of a key.

/// Maximum size of an RSA key in bits: the limit of the `rsa` crate.
pub(super) const MAX_RSA_BITS: usize = 8192;
/// Maximum size of the public exponent of an RSA key in bits: the limit of the `rsa` crate.
pub(super) const MAX_RSA_EXPONENT_BITS: usize = 33;

/// Reads a string: a length and as many bytes. Returns `None` and reads nothing if it is
/// incomplete.
pub(super) fn read_string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let string = rest.get(..length)?;
    *bytes = rest.get(length..)?;
    Some(string)
}

/// Returns the size in bits of a positive number, also if it has leading zeros. Returns `None` for
/// zero.
pub(super) fn bit_length(number: &[u8]) -> Option<usize> {
    let start = number.iter().position(|&byte| byte != 0)?;
    let digits = number.get(start..)?;
    let unused = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    (digits.len() * 8).checked_sub(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_if_it_is_complete() {
        let mut bytes = &b"\0\0\0\x02ab\0\0\0\0\0\0\0\x02c"[..];
        assert_eq!(read_string(&mut bytes), Some(&b"ab"[..]));
        assert_eq!(read_string(&mut bytes), Some(&b""[..]));
        assert_eq!(read_string(&mut bytes), None);
        assert_eq!(bytes, b"\0\0\0\x02c");
        assert_eq!(read_string(&mut &b"\0\0\0"[..]), None);
        assert_eq!(read_string(&mut &b"\xff\xff\xff\xff"[..]), None);
    }

    #[test]
    fn the_size_of_a_number_has_no_leading_zeros() {
        for (number, bits) in [
            (&[][..], None),
            (&[0, 0], None),
            (&[1], Some(1)),
            (&[0, 0x7f, 0xff], Some(15)),
            (&[0, 0x80, 0], Some(16)),
        ] {
            assert_eq!(bit_length(number), bits, "{number:?}");
        }
    }
}
