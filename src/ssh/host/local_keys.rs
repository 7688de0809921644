//! This node's own host keys, in the files of OpenSSH: `/etc/ssh/ssh_host_*_key.pub`.
//!
//! File access: only the public keys, which every user may read. They are read for each check, so
//! that new keys are used at once and removed keys no longer.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::common::run_blocking;
use crate::model::HostKey;

/// Directory in which `ssh-keygen -A` and every distribution's sshd store host keys.
const HOST_KEY_DIRECTORY: &str = "/etc/ssh";
/// Maximum time for reading all keys. A login takes longer than these few small files, and other
/// evidence exists without them.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of bytes read of a key file. An RSA key of 16,384 bits takes 2.8 KB.
const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;

/// The public keys of this node's own SSH servers.
#[derive(Debug, Default)]
pub(crate) struct LocalHostKeys(Vec<String>);

impl LocalHostKeys {
    /// Reads the keys. Returns an empty set if the directory cannot be read in time.
    pub(crate) async fn read_all(deadline: Instant) -> Self {
        let deadline = deadline.min(Instant::now() + READ_TIMEOUT);
        let reading = run_blocking(deadline, || Self(key_blobs(Path::new(HOST_KEY_DIRECTORY))));
        reading.await.unwrap_or_default()
    }

    /// Returns true if `key` is one of these keys.
    pub(crate) fn contains(&self, key: &HostKey) -> bool {
        self.0.iter().any(|own| own == &key.blob)
    }
}

#[expect(clippy::disallowed_methods, reason = "the files that the module comment names")]
fn key_blobs(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let public = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key.pub");
    let mut blobs = Vec::new();
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(public)) {
        let Ok(file) = File::open(entry.path()) else { continue };
        let mut text = String::new();
        if file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).is_ok() {
            blobs.extend(key_blob(&text));
        }
    }
    blobs
}

/// Returns the key of an OpenSSH public key line: type, base64, comment (sshd(8), AUTHORIZED_KEYS
/// FILE FORMAT).
pub(crate) fn key_blob(line: &str) -> Option<String> {
    line.split_whitespace().nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_host_keys_of_a_directory_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAone root@node\n");
        put("ssh_host_rsa_key.pub", "ssh-rsa AAAAtwo");
        put("ssh_host_rsa_key", "the private half");
        put("ssh_host_ecdsa_key.pub", "");
        put("moduli", "a b c");
        put("other_key.pub", "ssh-rsa AAAAthree x");
        let mut found = key_blobs(dir.path());
        found.sort();
        assert_eq!(found, ["AAAAone", "AAAAtwo"]);
        assert!(key_blobs(&dir.path().join("none")).is_empty());
    }
}
