//! A temporary directory for the demo.
#![expect(clippy::disallowed_methods, reason = "the demo's own files")]

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::common::report_line;

/// A directory of mode 0700 in the system's temporary directory. Dropping it removes it with its
/// contents.
#[derive(Debug)]
pub(super) struct TempDir(PathBuf);

impl TempDir {
    /// Creates the directory. `tail` makes its name unique.
    pub(super) fn new(tail: &str) -> io::Result<Self> {
        // The daemon compares canonical paths, and `/tmp` may be a symbolic link.
        let path = fs::canonicalize(std::env::temp_dir())?.join(format!("imagestore-demo-{tail}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates a directory in it.
    pub(crate) fn create_dir(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes a file in it that only its owner can read.
    pub(super) fn write_file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            report_line(format_args!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
