//! Table of the errnos of the system, and the reason and the remedy of each. Sources: the pages of
//! `path_resolution(7)`, `open(2)`, `statfs(2)`, `write(2)`, `fsync(2)`, `rename(2)`, `chown(2)`
//! and `chmod(2)`, and the errors of the kernel's block layer (`blk_errors` in `blk-core.c`).

use nix::errno::Errno;

use crate::model::{Reason, Remedy};
use crate::probe::worker::protocol::WorkerOperation;

/// Kind of error: all errnos of a kind have the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrnoKind {
    /// The name does not exist.
    Missing,
    /// A part of the path is not a directory.
    NotADirectory,
    /// The process lacks the permission.
    Denied,
    /// The filesystem or its mount is read-only.
    ReadOnly,
    /// The filesystem or a quota has no space.
    NoSpace,
    /// The server of the filesystem no longer knows the file.
    StaleHandle,
    /// The process or client that serves the filesystem has ended.
    ServerGone,
    /// The server of the filesystem cannot be reached.
    ServerUnreachable,
    /// The block device is gone.
    DiskRemoved,
    /// The filesystem is damaged.
    Corrupt,
    /// A key for the encrypted directory, or a ticket for the server, is missing.
    KeyMissing,
    /// The path cannot be resolved on any disk.
    PathUnusable,
    /// Another object has the name that the daemon needs.
    NameInUse,
    /// The filesystem does not support the operation.
    Unsupported,
    /// The filesystem reports figures that do not fit into the result.
    Overflow,
    /// The daemon or its machine lacks a resource.
    Exhausted,
    /// The operation did not take place, and may succeed when it is repeated.
    Temporary,
    /// The disk returned an error.
    Disk,
    /// No page of the manual names this errno for these operations.
    Undocumented,
}

use ErrnoKind::{
    Corrupt, Denied, Disk, DiskRemoved, Exhausted, KeyMissing, Missing, NameInUse, NoSpace,
    NotADirectory, Overflow, PathUnusable, ReadOnly, ServerGone, ServerUnreachable, StaleHandle,
    Temporary, Undocumented, Unsupported,
};

/// The kind of each errno. A test compares the table with all errnos that exist.
const KINDS: [(ErrnoKind, &[Errno]); 19] = [
    (Missing, &[Errno::ENOENT]),
    (NotADirectory, &[Errno::ENOTDIR]),
    (Denied, &[Errno::EACCES, Errno::EPERM]),
    (ReadOnly, &[Errno::EROFS]),
    (NoSpace, &[Errno::ENOSPC, Errno::EDQUOT]),
    // Clients of SMB and Gluster return EBADF and EBADFD for files of a lost session.
    (StaleHandle, &[Errno::ESTALE, Errno::EBADF, Errno::EBADFD]),
    // FUSE without its server, an aborted FUSE connection, and a Ceph client that was blocked.
    (ServerGone, &[Errno::ENOTCONN, Errno::ECONNABORTED, Errno::ESHUTDOWN]),
    (
        ServerUnreachable,
        &[
            Errno::EHOSTDOWN,
            Errno::EHOSTUNREACH,
            Errno::ENETDOWN,
            Errno::ENETUNREACH,
            Errno::ENETRESET,
            Errno::ENONET,
            Errno::ETIMEDOUT,
            Errno::ECONNREFUSED,
            Errno::ECONNRESET,
            Errno::EPIPE,
            Errno::ECOMM,
            Errno::ENOLINK,
            Errno::EREMOTE,
            Errno::EPROTO,
            Errno::EADDRNOTAVAIL,
        ],
    ),
    (DiskRemoved, &[Errno::ENODEV, Errno::ENXIO, Errno::ENOMEDIUM]),
    // EFSCORRUPTED is EUCLEAN, and EFSBADCRC is EBADMSG. EILSEQ is a wrong checksum of a block.
    (Corrupt, &[Errno::EUCLEAN, Errno::EBADMSG, Errno::EILSEQ]),
    (KeyMissing, &[Errno::ENOKEY, Errno::EKEYEXPIRED, Errno::EKEYREVOKED, Errno::EKEYREJECTED]),
    (PathUnusable, &[Errno::ENAMETOOLONG, Errno::ELOOP]),
    (NameInUse, &[Errno::EEXIST, Errno::EISDIR, Errno::ENOTEMPTY, Errno::ETXTBSY]),
    (
        Unsupported,
        &[
            Errno::EINVAL,
            Errno::EOPNOTSUPP,
            Errno::ENOSYS,
            Errno::ENOTTY,
            Errno::ESPIPE,
            Errno::EXDEV,
            Errno::EMLINK,
            Errno::EFBIG,
        ],
    ),
    (Overflow, &[Errno::EOVERFLOW]),
    (Exhausted, &[Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS]),
    (
        Temporary,
        &[
            Errno::EAGAIN,
            Errno::EINTR,
            Errno::ERESTART,
            Errno::EBUSY,
            Errno::EINPROGRESS,
            Errno::EALREADY,
            Errno::ECANCELED,
            Errno::EDEADLK,
            Errno::ENOLCK,
            Errno::ETIME,
        ],
    ),
    // ENODATA is a medium error, EBADE a reservation of another host.
    (
        Disk,
        &[
            Errno::EIO,
            Errno::EREMOTEIO,
            Errno::ENODATA,
            Errno::EBADE,
            Errno::EHWPOISON,
            Errno::EMEDIUMTYPE,
        ],
    ),
    (
        Undocumented,
        &[
            Errno::ESRCH,
            Errno::E2BIG,
            Errno::ENOEXEC,
            Errno::ECHILD,
            Errno::EFAULT,
            Errno::ENOTBLK,
            Errno::EDOM,
            Errno::ERANGE,
            Errno::ENOMSG,
            Errno::EIDRM,
            Errno::ECHRNG,
            Errno::EL2NSYNC,
            Errno::EL3HLT,
            Errno::EL3RST,
            Errno::ELNRNG,
            Errno::EUNATCH,
            Errno::ENOCSI,
            Errno::EL2HLT,
            Errno::EBADR,
            Errno::EXFULL,
            Errno::ENOANO,
            Errno::EBADRQC,
            Errno::EBADSLT,
            Errno::EBFONT,
            Errno::ENOSTR,
            Errno::ENOSR,
            Errno::ENOPKG,
            Errno::EADV,
            Errno::ESRMNT,
            Errno::EMULTIHOP,
            Errno::EDOTDOT,
            Errno::ENOTUNIQ,
            Errno::EREMCHG,
            Errno::ELIBACC,
            Errno::ELIBBAD,
            Errno::ELIBSCN,
            Errno::ELIBMAX,
            Errno::ELIBEXEC,
            Errno::ESTRPIPE,
            Errno::EUSERS,
            Errno::ENOTSOCK,
            Errno::EDESTADDRREQ,
            Errno::EMSGSIZE,
            Errno::EPROTOTYPE,
            Errno::ENOPROTOOPT,
            Errno::EPROTONOSUPPORT,
            Errno::ESOCKTNOSUPPORT,
            Errno::EPFNOSUPPORT,
            Errno::EAFNOSUPPORT,
            Errno::EADDRINUSE,
            Errno::EISCONN,
            Errno::ETOOMANYREFS,
            Errno::ENOTNAM,
            Errno::ENAVAIL,
            Errno::EISNAM,
            Errno::EOWNERDEAD,
            Errno::ENOTRECOVERABLE,
            Errno::ERFKILL,
        ],
    ),
];

impl ErrnoKind {
    /// Returns the kind of an errno of this operation. `on_local_disk` is true if the filesystem
    /// is known to be on a disk of this machine.
    pub(super) fn of(errno: Errno, step: WorkerOperation, on_local_disk: bool) -> Self {
        let is_row = |row: &&(ErrnoKind, &[Errno])| row.1.contains(&errno);
        // A server may return a number that no name exists for.
        let kind = KINDS.iter().find(is_row).map_or(Undocumented, |(kind, _)| *kind);
        match (kind, errno, step) {
            // A name that the filesystem cannot encode.
            (Corrupt, Errno::EILSEQ, WorkerOperation::Open) => PathUnusable,
            // A mount point cannot be removed or replaced.
            (
                Temporary,
                Errno::EBUSY,
                WorkerOperation::Unlink | WorkerOperation::Rename | WorkerOperation::Link,
            ) => NameInUse,
            // Only a call that makes or removes a name finds it in use. A file that is only read is
            // the daemon's own, and its remedy must not destroy it. A client of SMB returns ETXTBSY
            // while a program on the server has the file open.
            (NameInUse, Errno::ETXTBSY, step) if !changes_names(step) => Temporary,
            (NameInUse, _, step) if !changes_names(step) => Undocumented,
            (Overflow, _, step) if step != WorkerOperation::Statfs => Unsupported,
            // The disk did not answer, or the path to it was lost.
            (ServerUnreachable, _, _) if on_local_disk => Disk,
            (kind, _, _) => kind,
        }
    }

    /// Returns the reason of the fault. That of [`ErrnoKind::ReadOnly`] depends on the superblock.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Missing => Reason::DirectoryMissing,
            NotADirectory => Reason::NotADirectory,
            Denied => Reason::PermissionDenied,
            ReadOnly => Reason::ReadOnly,
            StaleHandle => Reason::StaleHandle,
            ServerGone => Reason::FilesystemServerGone,
            ServerUnreachable => Reason::FilesystemServerUnreachable,
            DiskRemoved => Reason::DiskRemoved,
            Corrupt => Reason::FilesystemCorrupt,
            KeyMissing => Reason::FilesystemKeyMissing,
            PathUnusable => Reason::PathUnusable,
            NameInUse => Reason::NameInUse,
            Unsupported => Reason::OperationUnsupported,
            Overflow => Reason::CapacityImplausible,
            Exhausted => Reason::AgentBusy,
            NoSpace | Temporary | Disk | Undocumented => Reason::IoError,
        }
    }
}

/// Returns true if the operation makes or removes a name in the directory.
const fn changes_names(step: WorkerOperation) -> bool {
    use WorkerOperation::{Create, Folder, Link, Rename, Unlink};
    matches!(step, Folder | Create | Link | Rename | Unlink)
}

/// Returns the remedy for an errno that has a better one than its reason has. `path` is that of the
/// failed operation.
pub(super) fn errno_remedy(
    kind: ErrnoKind,
    errno: Errno,
    step: WorkerOperation,
    path: &str,
) -> Option<Remedy> {
    let (path, operation) = (|| path.to_owned(), || step.as_str().to_owned());
    let name = || format!("{errno:?}");
    Some(match (kind, errno) {
        (NoSpace, _) => Remedy::FreeSpaceForMarker,
        (ServerGone, _) => Remedy::MountServedAgain { path: path() },
        (DiskRemoved, Errno::ENOMEDIUM) => Remedy::InsertMedium,
        (Corrupt, Errno::EILSEQ) => Remedy::CheckBlockSums,
        (KeyMissing, Errno::EKEYEXPIRED) => Remedy::RenewTicket,
        (KeyMissing, Errno::EKEYREVOKED | Errno::EKEYREJECTED) => Remedy::GiveValidKey,
        (PathUnusable, Errno::ELOOP) => Remedy::CorrectLinks { path: path() },
        (PathUnusable, Errno::ENAMETOOLONG) => Remedy::ShortenPath { path: path() },
        (NameInUse, Errno::EBUSY) => Remedy::UnmountName { path: path() },
        (NameInUse, _) => Remedy::MoveNameAway { path: path() },
        (Unsupported, Errno::EMLINK) if changes_names(step) => Remedy::RemoveFolders,
        (Unsupported, Errno::EFBIG) => Remedy::RaiseFileSize,
        (Unsupported, _) => Remedy::UseOtherFilesystem { operation: operation(), errno: name() },
        (Exhausted, Errno::EMFILE) => Remedy::RaiseOpenFiles,
        (Exhausted, Errno::ENFILE) => Remedy::RaiseMachineFiles,
        (Exhausted, _) => Remedy::FreeMemory,
        (Temporary, Errno::ENOLCK) => Remedy::RestartLockService,
        (Temporary, Errno::EDEADLK) => Remedy::CheckDeadlock,
        (Temporary, _) => Remedy::FindInterruption { path: path() },
        (Disk, Errno::EBADE) => Remedy::ReleaseReservation,
        (Disk, Errno::ENODATA) => Remedy::ReplaceDisk,
        (Disk, Errno::EHWPOISON) => Remedy::ReplaceMemory,
        (Disk, Errno::EMEDIUMTYPE) => Remedy::MakePrimary,
        (Disk, errno) if !matches!(errno, Errno::EIO | Errno::EREMOTEIO) => {
            Remedy::CheckDiskPath { errno: name() }
        }
        (Undocumented, _) => Remedy::CheckFilesystemLog { operation: operation() },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::{Language, fault_action};
    use crate::model::Fault;

    /// Returns all errnos that have a name. The kernel's numbers end at 4095 (`MAX_ERRNO`).
    fn named_errnos() -> impl Iterator<Item = Errno> {
        (1..=4095).map(Errno::from_raw).filter(|errno| *errno != Errno::UnknownErrno)
    }

    #[test]
    fn every_errno_has_exactly_one_row() {
        let mut seen = 0;
        for errno in named_errnos() {
            let rows = KINDS.iter().flat_map(|(_, errnos)| errnos.iter());
            assert_eq!(rows.filter(|row| **row == errno).count(), 1, "{errno:?}");
            seen += 1;
        }
        assert!(seen > 120, "{seen}");
        let rows: usize = KINDS.iter().map(|(_, errnos)| errnos.len()).sum();
        assert_eq!(rows, seen, "each row is an errno that exists");
        let kinds: BTreeMap<String, ()> =
            KINDS.iter().map(|(kind, _)| (format!("{kind:?}"), ())).collect();
        assert_eq!(kinds.len(), KINDS.len(), "each kind has one row");
    }

    #[test]
    fn every_errno_of_every_operation_has_a_remedy_of_its_own_or_that_of_its_reason() {
        for step in WorkerOperation::ALL {
            for errno in named_errnos() {
                for on_local_disk in [false, true] {
                    let kind = ErrnoKind::of(errno, *step, on_local_disk);
                    // The kernel log is the remedy for an error of the disk alone.
                    let of_disk = matches!(errno, Errno::EIO | Errno::EREMOTEIO);
                    if kind.reason() == Reason::IoError && !of_disk {
                        assert!(
                            errno_remedy(kind, errno, *step, "/srv/x").is_some(),
                            "{errno:?} {step:?}"
                        );
                    }
                }
            }
        }
    }

    /// The marker identifies the disk, so that no remedy of a read moves it away.
    #[test]
    fn no_remedy_of_a_read_removes_the_file() {
        use WorkerOperation::{Contents, Marker, Open, Resolve, Statfs};
        for step in [Open, Resolve, Statfs, Marker, Contents] {
            for errno in named_errnos() {
                let kind = ErrnoKind::of(errno, step, false);
                let fault = Fault::new(kind.reason(), "x");
                let fault = match errno_remedy(kind, errno, step, "/srv/x") {
                    Some(remedy) => fault.with_remedy(remedy),
                    None => fault,
                };
                let remedy = fault_action(&fault, Language::English);
                for word in ["move ", "remove ", "delete "] {
                    assert!(!remedy.contains(word), "{step:?} {errno:?}: {remedy}");
                }
            }
        }
    }

    #[test]
    fn the_operation_and_the_disk_decide_about_some_errnos() {
        use WorkerOperation::{
            Contents, Create, Folder, Link, Marker, Open, Rename, Statfs, Sync, Unlink, Write,
        };
        for (errno, step, on_local_disk, kind) in [
            (Errno::EILSEQ, Open, false, PathUnusable),
            (Errno::EILSEQ, Sync, true, Corrupt),
            (Errno::EBUSY, Unlink, false, NameInUse),
            (Errno::EBUSY, Rename, false, NameInUse),
            (Errno::EBUSY, Create, false, Temporary),
            (Errno::ETXTBSY, Create, false, NameInUse),
            (Errno::EISDIR, Create, false, NameInUse),
            (Errno::EEXIST, Folder, false, NameInUse),
            (Errno::EEXIST, Link, false, NameInUse),
            (Errno::ENOTEMPTY, Rename, false, NameInUse),
            (Errno::ETXTBSY, Marker, false, Temporary),
            (Errno::ETXTBSY, Open, false, Temporary),
            (Errno::ETXTBSY, Write, false, Temporary),
            (Errno::EISDIR, Marker, false, Undocumented),
            (Errno::EEXIST, Contents, true, Undocumented),
            (Errno::EOVERFLOW, Statfs, false, Overflow),
            (Errno::EOVERFLOW, Open, false, Unsupported),
            (Errno::ETIMEDOUT, Sync, true, Disk),
            (Errno::ETIMEDOUT, Sync, false, ServerUnreachable),
            (Errno::ENOLINK, Create, true, Disk),
            (Errno::ENODEV, Create, true, DiskRemoved),
            (Errno::UnknownErrno, Open, false, Undocumented),
        ] {
            assert_eq!(ErrnoKind::of(errno, step, on_local_disk), kind, "{errno:?} {step:?}");
        }
    }
}
