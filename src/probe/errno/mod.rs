//! Conversion of worker errors to faults: reason, evidence and remedy.

mod table;

use nix::errno::Errno;

use self::table::{ErrnoKind, errno_remedy};
use super::worker::protocol::{
    AccessModes, AttributeState, ErrorKind, FilesystemStats, MountState, WorkerError,
};
use crate::model::{Fault, Reason, Remedy, WriteOutcome};

/// Converts a failed request to a fault. `mount` is the mount of the directory, if it has been
/// observed.
pub(super) fn to_fault(error: &WorkerError, mount: Option<&MountState>) -> Fault {
    let path = error.path.as_str();
    let fault = match &error.why {
        ErrorKind::OutsideRoots { target } => {
            let details = format!("{path} resolves to {target}, outside the allowed roots");
            Fault::new(Reason::OutsideAllowedRoots, details).with_detail("target", target.as_str())
        }
        ErrorKind::NoFolder => {
            let details = format!("{path} no longer exists or is no longer a directory");
            Fault::new(Reason::MarkerMissing, details)
        }
        ErrorKind::NotHandedOver { why, uid, gid, mode, owner } => {
            Fault::new(Reason::PermissionDenied, format!("{path} {why}"))
                .with_detail("owner", *uid)
                .with_detail("group", *gid)
                .with_detail("mode", format!("{mode:04o}"))
                .with_remedy(Remedy::ReturnDirectory {
                    path: path.to_owned(),
                    uid: owner.uid.to_string(),
                    gid: owner.gid.to_string(),
                })
        }
        ErrorKind::NotUtf8 => {
            Fault::new(Reason::PathUnusable, format!("{path}: its real path is not UTF-8"))
                .with_remedy(Remedy::RenameToUtf8)
        }
        ErrorKind::MountChanged => {
            let details = format!("{path} led to another mount after each look at the directory");
            Fault::new(Reason::NotMounted, details).with_remedy(Remedy::FindRepeatedMounts)
        }
        ErrorKind::Unexpected(what) => {
            Fault::new(Reason::IoError, format!("{path}: {what}")).with_remedy(Remedy::CheckProc)
        }
        ErrorKind::Errno(number) => from_errno(error, *number, mount),
    };
    fault.with_detail("path", path).with_detail("step", error.step.as_str())
}

/// Returns the outcome of a write that found no space. It is a condition and not a fault, because
/// images must still be readable.
pub(super) fn out_of_space(error: &WorkerError, statfs: &FilesystemStats) -> Option<WriteOutcome> {
    let ErrorKind::Errno(errno) = error.why else { return None };
    match Errno::from_raw(errno) {
        Errno::EDQUOT => Some(WriteOutcome::QuotaExceeded),
        Errno::ENOSPC if statfs.files > 0 && statfs.files_available == 0 => {
            Some(WriteOutcome::InodesFull)
        }
        Errno::ENOSPC => Some(WriteOutcome::Full),
        _ => None,
    }
}

/// Returns the fault of a filesystem whose superblock is read-only. It is found before a write is
/// tried, and also if the probe writes nothing.
pub(super) fn read_only_fault(mount: &MountState) -> Fault {
    let details = format!("the filesystem at {} is mounted read-only", mount.mount_point);
    Fault::new(Reason::ReadOnly, details)
        .with_detail("superblock", "ro")
        .with_detail("mountPoint", mount.mount_point.as_str())
        .with_detail("fsType", mount.fs_type.as_str())
        .with_detail("device", mount.device.as_str())
}

fn from_errno(error: &WorkerError, number: i32, mount: Option<&MountState>) -> Fault {
    let path = error.path.as_str();
    let errno = Errno::from_raw(number);
    // A filesystem in user space may return a number that has no name.
    let name = match errno {
        Errno::UnknownErrno => number.to_string(),
        errno => format!("{errno:?}"),
    };
    let text = match errno {
        Errno::UnknownErrno => format!("unknown error {number}"),
        errno => errno.desc().to_owned(),
    };
    let on_local_disk = mount.is_some_and(MountState::is_on_local_disk);
    let kind = ErrnoKind::of(errno, error.step, on_local_disk);
    let reason = match kind {
        ErrnoKind::ReadOnly => erofs_reason(mount),
        kind => kind.reason(),
    };
    let details = format!("{} {path}: {text}", error.step.as_str());
    let fault = Fault::new(reason, details).with_detail("errno", name);
    match reason {
        Reason::PermissionDenied => permission_denied(fault, error, errno),
        Reason::NamespaceReadOnly => namespace_read_only(fault, path, mount),
        _ => match errno_remedy(kind, errno, error.step, path) {
            Some(remedy) => fault.with_remedy(remedy),
            None => fault,
        },
    }
}

/// Returns the reason for `EROFS`, which only says "not writable". The state of the superblock
/// distinguishes a read-only disk from a read-only view of it.
fn erofs_reason(mount: Option<&MountState>) -> Reason {
    match mount {
        Some(mount) if !mount.superblock_read_only => Reason::NamespaceReadOnly,
        _ => Reason::ReadOnly,
    }
}

fn namespace_read_only(fault: Fault, path: &str, mount: Option<&MountState>) -> Fault {
    let place = mount.map_or(path, |mount| mount.mount_point.as_str());
    fault
        .with_detail("mountPoint", place)
        .with_remedy(Remedy::PermitWrites { place: place.to_owned() })
}

fn permission_denied(fault: Fault, error: &WorkerError, errno: Errno) -> Fault {
    let uid = nix::unistd::geteuid();
    let fault = fault.with_detail("uid", uid.as_raw());
    let fault = match error.access.as_deref() {
        Some(AccessModes { uid, gid, mode, .. }) => fault
            .with_detail("owner", *uid)
            .with_detail("group", *gid)
            .with_detail("mode", format!("{mode:04o}")),
        None => fault,
    };
    let access = error.access.as_deref();
    // An attribute forbids changes to every user, so that no owner or mode helps.
    if errno == Errno::EPERM
        && let Some(AttributeState::Set { path, attribute }) =
            access.map(|access| &access.attribute)
    {
        return fault
            .with_detail("attribute", attribute.as_str())
            .with_detail("attributePath", path.as_str())
            .with_remedy(Remedy::ClearAttribute {
                flag: attribute.chattr_flag().to_string(),
                path: path.clone(),
                attribute: attribute.as_str().to_owned(),
            });
    }
    if let Some(blocked) = access.and_then(|access| access.blocked.as_deref()) {
        // `init` creates and assigns only objects inside the directory. The way to it may belong to
        // another owner, so the daemon does not suggest a change of ownership. Traversal needs `x`;
        // opening the directory itself also needs `r`.
        let rights = if blocked == error.dir { "rx" } else { "x" };
        return fault.with_detail("barred", blocked).with_remedy(Remedy::GrantWay {
            uid: uid.to_string(),
            rights: rights.to_owned(),
            path: blocked.to_owned(),
        });
    }
    let unknown_attribute = errno == Errno::EPERM
        && access.is_none_or(|access| access.attribute == AttributeState::Unknown);
    let init = Remedy::InitDirectory { dir: error.dir.clone(), uid: uid.to_string() };
    let fault = fault.with_remedy(init);
    match unknown_attribute {
        true => fault.with_further_remedy(Remedy::ListAttributes { path: error.path.clone() }),
        false => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};
    use crate::model::Fact;
    use crate::probe::root_disk::RootRelation;
    use crate::probe::worker::protocol::{FileAttribute, WorkerOperation};

    fn mount(superblock_read_only: bool) -> MountState {
        MountState {
            mount_point: "/srv".to_owned(),
            fs_type: "ext4".to_owned(),
            device: "8:1".to_owned(),
            folder: None,
            root_relation: RootRelation::Separate,
            superblock_read_only,
        }
    }

    fn of(step: WorkerOperation, errno: Errno, mount: Option<&MountState>) -> Fault {
        at("/.imagestore-agent/probe.1", step, errno, mount)
    }

    fn at(below: &str, step: WorkerOperation, errno: Errno, mount: Option<&MountState>) -> Fault {
        with_attribute(below, step, errno as i32, mount, AttributeState::NotSet)
    }

    fn with_attribute(
        below: &str,
        step: WorkerOperation,
        number: i32,
        mount: Option<&MountState>,
        attribute: AttributeState,
    ) -> Fault {
        let access = AccessModes { uid: 0, gid: 0, mode: 0o755, blocked: None, attribute };
        let dir = "/srv/images".to_owned();
        let path = format!("{dir}{below}");
        let why = ErrorKind::Errno(number);
        to_fault(&WorkerError { step, dir, path, why, access: Some(Box::new(access)) }, mount)
    }

    #[test]
    fn each_errno_has_its_reason() {
        let (writable, read_only) = (mount(false), mount(true));
        for (step, errno, mount, reason) in [
            (WorkerOperation::Open, Errno::ENOENT, None, Reason::DirectoryMissing),
            (WorkerOperation::Open, Errno::ENOTDIR, None, Reason::NotADirectory),
            (WorkerOperation::Open, Errno::EACCES, None, Reason::PermissionDenied),
            (WorkerOperation::Create, Errno::EPERM, None, Reason::PermissionDenied),
            (WorkerOperation::Statfs, Errno::EIO, None, Reason::IoError),
            (WorkerOperation::Statfs, Errno::ENOTCONN, None, Reason::FilesystemServerGone),
            (WorkerOperation::Open, Errno::ELOOP, None, Reason::PathUnusable),
            (WorkerOperation::Open, Errno::ENAMETOOLONG, None, Reason::PathUnusable),
            (WorkerOperation::Sync, Errno::ETIMEDOUT, Some(&writable), Reason::IoError),
            (WorkerOperation::Open, Errno::ETIMEDOUT, None, Reason::FilesystemServerUnreachable),
            (WorkerOperation::Create, Errno::ENOKEY, None, Reason::FilesystemKeyMissing),
            (WorkerOperation::Statfs, Errno::EOVERFLOW, None, Reason::CapacityImplausible),
            (WorkerOperation::Open, Errno::ENFILE, None, Reason::AgentBusy),
            (WorkerOperation::Statfs, Errno::ESTALE, None, Reason::StaleHandle),
            (WorkerOperation::Create, Errno::EROFS, Some(&read_only), Reason::ReadOnly),
            (WorkerOperation::Create, Errno::EROFS, Some(&writable), Reason::NamespaceReadOnly),
            (WorkerOperation::Folder, Errno::ENOSPC, Some(&writable), Reason::IoError),
        ] {
            let fault = of(step, errno, mount);
            assert_eq!(fault.reason(), reason, "{step:?} {errno}");
            assert_eq!(fault.facts()["errno"], Fact::Text(format!("{errno:?}")));
            assert_eq!(fault.facts()["step"], Fact::Text(step.as_str().to_owned()));
        }
    }

    #[test]
    fn a_denied_access_names_owner_mode_and_remedy() {
        for below in ["", "/registry", "/export", "/.imagestore-agent/probe.1"] {
            let fault = at(below, WorkerOperation::Create, Errno::EACCES, None);
            assert_eq!(fault.facts()["mode"], Fact::Text("0755".to_owned()));
            assert_eq!(fault.facts()["owner"], Fact::Number(0));
            let remedy = fault_action(&fault, Language::English);
            assert!(remedy.contains("imagestore-agent init /srv/images "), "{remedy}");
        }
    }

    #[test]
    fn a_read_only_namespace_has_a_drop_in_as_its_remedy() {
        let fault = of(WorkerOperation::Create, Errno::EROFS, Some(&mount(false)));
        assert!(
            fault_action(&fault, Language::English).contains("ReadWritePaths=-/srv"),
            "{}",
            fault_action(&fault, Language::English)
        );
    }

    #[test]
    fn an_attribute_that_forbids_a_change_is_named_with_its_object() {
        let set = |attribute| AttributeState::Set { path: "/srv/images/x".to_owned(), attribute };
        let remedy_of = |errno: Errno, attribute| {
            let step = WorkerOperation::Create;
            let fault = with_attribute("/x", step, errno as i32, None, attribute);
            fault_action(&fault, Language::English).into_owned()
        };
        let immutable = remedy_of(Errno::EPERM, set(FileAttribute::Immutable));
        assert!(immutable.contains("chattr -i /srv/images/x"), "{immutable}");
        let append_only = remedy_of(Errno::EPERM, set(FileAttribute::AppendOnly));
        assert!(append_only.contains("chattr -a /srv/images/x"), "{append_only}");
        let unknown = remedy_of(Errno::EPERM, AttributeState::Unknown);
        assert!(unknown.contains("init /srv/images") && unknown.contains("lsattr"), "{unknown}");
        for (errno, attribute) in [
            (Errno::EPERM, AttributeState::NotSet),
            (Errno::EACCES, AttributeState::Unknown),
            (Errno::EACCES, set(FileAttribute::Immutable)),
        ] {
            let remedy = remedy_of(errno, attribute);
            assert!(!remedy.contains("attr"), "{errno}: {remedy}");
        }
    }

    #[test]
    fn a_number_without_a_name_is_shown_as_it_is() {
        let step = WorkerOperation::Open;
        let fault = with_attribute("", step, 511, None, AttributeState::Unknown);
        assert_eq!(fault.reason(), Reason::IoError);
        assert_eq!(fault.facts()["errno"], Fact::Text("511".to_owned()));
        assert!(fault.details().contains("511"), "{fault}");
        assert!(
            fault_action(&fault, Language::English).contains("not documented"),
            "{}",
            fault_action(&fault, Language::English)
        );
    }
}
