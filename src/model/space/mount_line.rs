//! One line of a mount table, as described in `proc_pid_mountinfo(5)`.

/// The fields of a line. Those in which the kernel escapes characters are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// The id of the mount.
    pub id: u64,
    /// The id of the mount that the mount point lies in.
    pub parent: u64,
    /// The number of the device as `major:minor`.
    pub device: &'a str,
    /// The path in the filesystem that is visible at the mount point.
    pub root: String,
    /// The mount point.
    pub mount_point: String,
    /// The options of the mount.
    pub options: &'a str,
    /// The type of the filesystem.
    pub fs_type: &'a str,
    /// The device, or a text of the filesystem.
    pub source: String,
    /// The options of the filesystem.
    pub super_options: &'a str,
}

impl<'a> MountLine<'a> {
    /// Parses a line. Returns `None` if a field is missing or no number.
    pub fn parse(text: &'a str) -> Option<Self> {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (left, right) = text.split_once(" - ")?;
        let (mut left, mut right) = (left.split(' '), right.split(' '));
        Some(Self {
            id: left.next()?.parse().ok()?,
            parent: left.next()?.parse().ok()?,
            device: left.next()?,
            root: unescape_mount_path(left.next()?),
            mount_point: unescape_mount_path(left.next()?),
            options: left.next()?,
            fs_type: right.next()?,
            source: unescape_mount_path(right.next()?),
            super_options: right.next().unwrap_or_default(),
        })
    }
}

/// Decodes a path in which space, tab, newline and backslash are written as `\` and three octal
/// digits.
pub fn unescape_mount_path(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\'
            && let Some((digits, rest_after_digits)) = after.split_first_chunk::<3>()
            && let Some(code) = parse_octal(*digits)
        {
            bytes.push(code);
            rest = rest_after_digits;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_octal(digits: [u8; 3]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |code, digit| match digit {
        b'0'..=b'7' => code.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_a_line_is_read_and_each_escape_is_decoded_once() {
        let text = concat!(
            r"36 22 98:0 /a\040b /srv/\134040\011\012\043 rw,nosuid shared:1 ",
            r"master:2 - xfs /dev/\303\251 rw,attr2",
        );
        let line = MountLine::parse(text).unwrap();
        assert_eq!((line.id, line.parent, line.device), (36, 22, "98:0"));
        assert_eq!((line.root.as_str(), line.mount_point.as_str()), ("/a b", "/srv/\\040\t\n#"));
        assert_eq!((line.options, line.fs_type), ("rw,nosuid", "xfs"));
        assert_eq!((line.source.as_str(), line.super_options), ("/dev/é", "rw,attr2"));
        for text in ["", "36", "36 22 98:0 / /srv rw - xfs", "x 22 98:0 / /srv rw - xfs a rw"] {
            assert_eq!(MountLine::parse(text), None, "{text}");
        }
    }
}
