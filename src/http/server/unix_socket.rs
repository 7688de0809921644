//! The Unix socket. A process may call the daemon if it may open the socket file.
//!
//! # Guarantees
//!
//! - The socket never listens with a mode other than 0660.
//! - A file at its path is removed only if it is a socket that no process answers on.
//!
//! # Never
//!
//! - It never removes a file that is not a socket, or a socket that is not its own.
#![expect(
    clippy::disallowed_methods,
    reason = "the socket's own file, beside the state and never in a store"
)]

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use super::listeners::BindError;

/// Mode of the socket file: read and write for owner and group. Connecting requires write
/// permission (unix(7)).
const SOCKET_MODE: u32 = 0o660;
/// Maximum number of connections that wait to be accepted.
const LISTEN_BACKLOG: i32 = 128;

/// The file of a listening socket. It is removed when this value is dropped, unless another file
/// has replaced it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if socket_identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), error = %error, "socket file removal failed");
        }
    }
}

/// Listens at `path`. The directory must exist.
pub(super) fn open_socket(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    remove_stale_socket(path)?;
    let to_error = |source: io::Error| BindError::Socket { path: path.to_owned(), source };
    let bind_file = || -> io::Result<_> {
        let fd = new_socket()?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        // Between bind and listen the kernel refuses a connect. The mode is therefore in force
        // before the first caller, whatever the umask is.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        listen(&fd, Backlog::new(LISTEN_BACKLOG)?)?;
        let file = SocketFile { path: path.to_owned(), identity: socket_identity(path)? };
        Ok((UnixListener::from(fd), file))
    };
    bind_file().map_err(to_error)
}

/// Removes the socket file that an earlier run left behind.
fn remove_stale_socket(path: &Path) -> Result<(), BindError> {
    let to_error = |source: io::Error| BindError::Socket { path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(to_error(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    let fd = new_socket().map_err(to_error)?;
    let address = UnixAddr::new(path).map_err(|errno| to_error(errno.into()))?;
    match connect(fd.as_raw_fd(), &address) {
        // EAGAIN: a process listens and its backlog is full (connect(2)).
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::AddressInUse { path: path.to_owned() }),
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(to_error),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(to_error(errno.into())),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

fn socket_identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_open_to_owner_and_group_and_removed_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let (_listener, file) = open_socket(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let stale = UnixListener::bind(&path).unwrap();
        let error = open_socket(&path).unwrap_err();
        assert!(matches!(error, BindError::AddressInUse { .. }), "{error}");
        drop(stale);
        let (_listener, own_file) = open_socket(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        // Another's socket in the same place is not removed.
        fs::remove_file(&path).unwrap();
        let _other_listener = UnixListener::bind(&path).unwrap();
        drop(own_file);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_file_at_the_path_is_named_and_left_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        fs::write(&path, "precious").unwrap();
        assert!(
            matches!(open_socket(&path).unwrap_err(), BindError::NotASocket { path: found } if found == path)
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let long = dir.path().join("x".repeat(120));
        let error = open_socket(&long).unwrap_err();
        assert!(error.to_string().contains(&long.display().to_string()), "{error}");
    }
}
