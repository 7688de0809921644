//! Lexical rules for the path of an image directory. They do not access the disk.

use std::fmt;
use std::path::Path;

/// The reason why a text is not a valid image directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageDir {
    /// The path is empty, or does not start with `/`.
    #[error("not an absolute path")]
    NotAbsolute,
    /// The path is longer than [`ImageDir::MAX_CHARS`].
    #[error("longer than {max} characters", max = ImageDir::MAX_CHARS)]
    TooLong,
    /// The path has a control character.
    #[error("contains a control character")]
    ControlCharacter,
    /// The path has a `.` or `..` part.
    #[error("contains a `.` or `..` part")]
    DotPart,
    /// The path is the root directory.
    #[error("the root directory cannot be an image directory")]
    Root,
    /// The path is `/dev`, `/proc` or `/sys`, or below one of them.
    #[error("lies in /dev, /proc or /sys")]
    KernelTree,
}

/// The absolute path of an image directory, at most 2048 characters. It has no `.` or `..` part and
/// no control character, and is not in a kernel tree. Repeated and trailing slashes are removed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDir(String);

impl ImageDir {
    /// Maximum length of a path, in characters. It is the limit of `ImageStoreBackupStorage.url`
    /// upstream.
    pub const MAX_CHARS: usize = 2048;

    /// Parses a path without access to the disk.
    ///
    /// # Errors
    /// Returns [`InvalidImageDir`] with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidImageDir> {
        if !text.starts_with('/') {
            return Err(InvalidImageDir::NotAbsolute);
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(InvalidImageDir::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidImageDir::ControlCharacter);
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        if parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(InvalidImageDir::DotPart);
        }
        match parts.first() {
            None => Err(InvalidImageDir::Root),
            Some(&("dev" | "proc" | "sys")) => Err(InvalidImageDir::KernelTree),
            Some(_) => Ok(Self(format!("/{}", parts.join("/")))),
        }
    }

    /// Returns true if an add takes the text as this directory.
    pub fn is_named(&self, text: &str) -> bool {
        Self::parse(text).is_ok_and(|named| named == *self)
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Returns true if this is one of the roots or below one. The paths are compared part by part
    /// as text.
    pub fn is_within<'a>(&self, roots: impl IntoIterator<Item = &'a str>) -> bool {
        roots.into_iter().any(|root| self.as_path().starts_with(root))
    }
}

impl fmt::Display for ImageDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_validated_as_text() {
        let long = format!("/{}", "a".repeat(2048));
        for (text, expected) in [
            ("/srv/images", Ok("/srv/images")),
            ("//srv///images//", Ok("/srv/images")),
            ("/srv/..images/.hidden", Ok("/srv/..images/.hidden")),
            ("/system", Ok("/system")),
            ("", Err(InvalidImageDir::NotAbsolute)),
            ("srv/images", Err(InvalidImageDir::NotAbsolute)),
            ("file:/srv", Err(InvalidImageDir::NotAbsolute)),
            ("/srv/../etc", Err(InvalidImageDir::DotPart)),
            ("/srv/./x", Err(InvalidImageDir::DotPart)),
            ("/srv/a\nb", Err(InvalidImageDir::ControlCharacter)),
            ("/srv/a\0", Err(InvalidImageDir::ControlCharacter)),
            ("/", Err(InvalidImageDir::Root)),
            ("///", Err(InvalidImageDir::Root)),
            ("/dev", Err(InvalidImageDir::KernelTree)),
            ("/proc/1/root", Err(InvalidImageDir::KernelTree)),
            ("//sys/fs", Err(InvalidImageDir::KernelTree)),
            (long.as_str(), Err(InvalidImageDir::TooLong)),
        ] {
            assert_eq!(
                ImageDir::parse(text).as_ref().map(ImageDir::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn roots_are_compared_part_by_part() {
        let dir = ImageDir::parse("/srv/images-2/a").unwrap();
        assert!(dir.is_within(["/srv/images-2"]));
        assert!(dir.is_within(["/other", "/srv/images-2/a"]));
        assert!(!dir.is_within(["/srv/images"]));
        assert!(!dir.is_within([]));
    }
}
