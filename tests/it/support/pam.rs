//! A PAM service for one sshd of a test. Needs root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// A PAM service of its own, so that its rules apply to no other server of this machine. sshd takes
/// the name of its program as the name of the service. Removed when dropped.
#[derive(Clone, Debug)]
pub(crate) struct PamService(Arc<PamFiles>);

#[derive(Debug)]
struct PamFiles {
    rules: PathBuf,
    dir: TempDir,
}

impl PamService {
    /// Creates a service with these lines of pam.d(5). In a line, `{dir}` stands for a folder of
    /// the service.
    pub(crate) fn create(lines: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("isat-sshd-{}-{number}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let rules = lines.join("\n").replace("{dir}", dir.path().to_str().unwrap());
        let file = Path::new("/etc/pam.d").join(&name);
        symlink("/usr/sbin/sshd", dir.path().join(&name)).unwrap();
        fs::write(&file, rules + "\n").unwrap();
        Self(Arc::new(PamFiles { rules: file, dir }))
    }

    /// Writes a file into the folder of the service.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.dir.path().join(name), text).unwrap();
    }

    /// Returns the program to start.
    pub(crate) fn program(&self) -> PathBuf {
        self.0.dir.path().join(self.0.rules.file_name().unwrap())
    }
}

impl Drop for PamFiles {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.rules);
    }
}
