//! Errors of each call on an image directory: reason, remedy, and what the probe leaves behind.

use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{Reason, WriteOutcome};
use imagestore_agent::probe::{DirectoryOwner, WorkerSlot};
use nix::libc::{
    EBADE, EBADF, EBADMSG, EBUSY, ECONNABORTED, ECONNREFUSED, EDEADLK, EFBIG, EHOSTDOWN,
    EHOSTUNREACH, EINVAL, EIO, EISDIR, EKEYEXPIRED, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODATA,
    ENODEV, ENOKEY, ENOMEM, ENOTCONN, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM, ESHUTDOWN, ETIMEDOUT,
    ETXTBSY, EUCLEAN, EUSERS, EXDEV,
};

use crate::probe::{
    MARKER, add, claim, claimed, examine, image_dir, probed, prober, serve, soon, text_fact,
};
use crate::support::failures::english_action;
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::requirements::{needs_root, run};

#[tokio::test]
async fn each_errno_of_each_call_has_its_own_reason_and_remedy() {
    needs_root!();
    let fuse = Fuse::mounted();
    let prober = prober(&fuse.path());
    let place = claimed(&prober, &fuse.path()).await;
    for (op, errno, reason, word) in [
        (Op::Open, ENOTCONN, Reason::FilesystemServerGone, "umount -l"),
        (Op::Statfs, ENOTCONN, Reason::FilesystemServerGone, "mount it again"),
        (Op::Write, ECONNABORTED, Reason::FilesystemServerGone, "mount it again"),
        (Op::Sync, ESHUTDOWN, Reason::FilesystemServerGone, "mount it again"),
        (Op::Open, EHOSTDOWN, Reason::FilesystemServerUnreachable, "server"),
        (Op::Statfs, ETIMEDOUT, Reason::FilesystemServerUnreachable, "server"),
        (Op::Create, ECONNREFUSED, Reason::FilesystemServerUnreachable, "server"),
        (Op::Read, EHOSTUNREACH, Reason::FilesystemServerUnreachable, "server"),
        (Op::Open, ENODEV, Reason::DiskRemoved, "connect the disk"),
        (Op::Write, ENXIO, Reason::DiskRemoved, "connect the disk"),
        (Op::Read, EISDIR, Reason::IoError, "not documented"),
        (Op::Open, ETXTBSY, Reason::IoError, "occupies"),
        (Op::Read, EUCLEAN, Reason::FilesystemCorrupt, "fsck"),
        (Op::Lookup, EBADMSG, Reason::FilesystemCorrupt, "fsck"),
        (Op::Create, ENOKEY, Reason::FilesystemKeyMissing, "fscrypt unlock"),
        (Op::Open, EKEYEXPIRED, Reason::FilesystemKeyMissing, "kinit"),
        (Op::Open, ENAMETOOLONG, Reason::PathUnusable, "shorter"),
        (Op::Open, ELOOP, Reason::PathUnusable, "symbolic links"),
        (Op::Create, EBADF, Reason::StaleHandle, "mount it again"),
        (Op::Create, ENOMEM, Reason::AgentBusy, "memory"),
        (Op::Open, EMFILE, Reason::AgentBusy, "LimitNOFILE"),
        (Op::Create, ENFILE, Reason::AgentBusy, "fs.file-max"),
        (Op::Write, EFBIG, Reason::OperationUnsupported, "LimitFSIZE"),
        (Op::Create, EOPNOTSUPP, Reason::OperationUnsupported, "does not support create"),
        (Op::Statfs, EOVERFLOW, Reason::CapacityImplausible, "filesystem"),
        (Op::Unlink, EBUSY, Reason::NameInUse, "unmount"),
        (Op::Write, ENODATA, Reason::IoError, "replace the disk"),
        (Op::Write, EBADE, Reason::IoError, "reservation"),
        (Op::Create, EDEADLK, Reason::IoError, "wait for each other"),
        (Op::Statfs, EUSERS, Reason::IoError, "not documented"),
        (Op::Create, EPERM, Reason::PermissionDenied, "lsattr"),
        (Op::Sync, EIO, Reason::IoError, "dmesg"),
    ] {
        fuse.set(op, Behaviour::Fail(errno));
        let fault = examine(&prober, &fuse.path(), &serve(place.clone(), true)).await.unwrap_err();
        fuse.release();
        assert_eq!(fault.reason(), reason, "{op:?}: {fault}");
        assert!(
            english_action(&fault).contains(word),
            "{op:?} {fault}: {}",
            english_action(&fault)
        );
        let name = nix::errno::Errno::from_raw(errno);
        assert_eq!(text_fact(&fault, "errno"), format!("{name:?}"), "{op:?}");
        let left = crate::probe::names(&fuse.path().join(".imagestore-agent"));
        if op == Op::Unlink {
            // The next probe replaces the file that could not be removed.
            examine(&prober, &fuse.path(), &serve(place.clone(), true)).await.unwrap();
        } else {
            assert_eq!(left, ["identity.json"], "{op:?} {errno}");
        }
    }
    // A number that has no name.
    fuse.set(Op::Statfs, Behaviour::Fail(400));
    let fault = examine(&prober, &fuse.path(), &serve(place, true)).await.unwrap_err();
    assert_eq!(text_fact(&fault, "errno"), "400");
    assert!(fault.details().contains("400"), "{fault}");
}

#[tokio::test]
async fn a_filesystem_without_a_server_names_its_remedy() {
    needs_root!();
    let fuse = Fuse::mounted();
    let prober = prober(&fuse.path());
    let place = claimed(&prober, &fuse.path()).await;
    fuse.abort();
    let fault = examine(&prober, &fuse.path(), &serve(place, true)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::FilesystemServerGone, "{fault}");
    assert!(english_action(&fault).contains(&format!("findmnt -T {}", fuse.path().display())));
}

#[tokio::test]
async fn a_directory_that_cannot_be_synced_is_usable() {
    needs_root!();
    for errno in [EINVAL, EOPNOTSUPP] {
        let fuse = Fuse::mounted();
        fuse.set(Op::SyncFolder, Behaviour::Fail(errno));
        let prober = prober(&fuse.path());
        let place = claimed(&prober, &fuse.path()).await;
        let seen = probed(&prober, &fuse.path(), &serve(place, true)).await;
        assert!(matches!(seen.write, Some(Ok(WriteOutcome::Succeeded(_)))), "{:?}", seen.write);
    }
    // Any other error of the same call is a fault of the claim.
    let fuse = Fuse::mounted();
    let prober = prober(&fuse.path());
    let examined = examine(&prober, &fuse.path(), &add()).await.unwrap();
    fuse.set(Op::SyncFolder, Behaviour::Fail(EIO));
    let claim = claim(&examined);
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(&fuse.path()));
    let fault = prober.write_marker(slot, &dir, &add(), &claim, soon()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::IoError, "{fault}");
    assert_eq!(text_fact(&fault, "step"), "fdatasync");
}

#[tokio::test]
async fn a_file_that_cannot_be_synced_is_no_fault_and_is_reported() {
    needs_root!();
    for errno in [EINVAL, EOPNOTSUPP] {
        let fuse = Fuse::mounted();
        fuse.set(Op::Sync, Behaviour::Fail(errno));
        let prober = prober(&fuse.path());
        let place = claimed(&prober, &fuse.path()).await;
        let seen = probed(&prober, &fuse.path(), &serve(place.clone(), true)).await;
        seen.inspection.unwrap();
        assert!(matches!(seen.write, Some(Ok(WriteOutcome::Unsynced(_)))), "{:?}", seen.write);
        fuse.release();
        let seen = probed(&prober, &fuse.path(), &serve(place, true)).await;
        assert!(matches!(seen.write, Some(Ok(WriteOutcome::Succeeded(_)))), "{:?}", seen.write);
    }
}

#[tokio::test]
async fn the_rename_of_a_marker_that_fails_has_the_reason_of_its_errno() {
    needs_root!();
    // This filesystem has no hard links, so that the marker is renamed.
    for (errno, reason) in [
        (EHOSTDOWN, Reason::FilesystemServerUnreachable),
        (EXDEV, Reason::OperationUnsupported),
        (EISDIR, Reason::NameInUse),
        (EUCLEAN, Reason::FilesystemCorrupt),
        // A number that has no name.
        (400, Reason::IoError),
    ] {
        let fuse = Fuse::mounted();
        let prober = prober(&fuse.path());
        let claim = claim(&examine(&prober, &fuse.path(), &add()).await.unwrap());
        fuse.set(Op::Rename, Behaviour::Fail(errno));
        let (slot, dir) = (&mut WorkerSlot::new(), image_dir(&fuse.path()));
        let fault = prober.write_marker(slot, &dir, &add(), &claim, soon()).await.unwrap_err();
        assert_eq!(fault.reason(), reason, "{fault}");
        assert_eq!(text_fact(&fault, "step"), "rename", "{fault}");
        if errno == 400 {
            assert_eq!(text_fact(&fault, "errno"), "400", "{fault}");
        }
        let left = crate::probe::names(&fuse.path().join(".imagestore-agent"));
        assert_eq!(left, Vec::<String>::new(), "{errno}");
    }
}

#[tokio::test]
async fn an_immutable_file_is_named_with_its_attribute() {
    needs_root!();
    for (object, flag, attribute) in [
        (".imagestore-agent", "i", "immutable"),
        (".imagestore-agent", "a", "append-only"),
        ("", "i", "immutable"),
    ] {
        let disk = MountedFs::of("ext4");
        let prober = prober(&disk.path());
        // The first two forbid the probe of a store, the last one an add.
        let expectation = match object {
            "" => add(),
            _ => serve(claimed(&prober, &disk.path()).await, true),
        };
        let path = disk.path().join(object);
        let path = path.to_str().unwrap().trim_end_matches('/');
        run("chattr", &[&format!("+{flag}"), path]);
        let fault = examine(&prober, &disk.path(), &expectation).await.unwrap_err();
        run("chattr", &[&format!("-{flag}"), path]);
        assert_eq!(fault.reason(), Reason::PermissionDenied, "{fault}");
        assert_eq!(text_fact(&fault, "attribute"), attribute);
        let command = format!("chattr -{flag} {path} ");
        assert!(english_action(&fault).contains(&command), "{command}: {}", english_action(&fault));
        examine(&prober, &disk.path(), &expectation).await.expect("the remedy helps");
    }
}

#[tokio::test]
async fn the_path_itself_is_the_fault_of_a_loop_and_of_a_long_name() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let at_loop = disk.path().join("loop");
    std::os::unix::fs::symlink("loop", &at_loop).unwrap();
    let long = disk.path().join("n".repeat(256));
    for (dir, errno, word) in
        [(at_loop, "ELOOP", "symbolic links"), (long, "ENAMETOOLONG", "shorter")]
    {
        let fault = examine(&prober(&disk.path()), &dir, &add()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::PathUnusable, "{fault}");
        assert!(!fault.reason().is_soft());
        assert_eq!(text_fact(&fault, "errno"), errno);
        assert!(english_action(&fault).contains(word), "{}", english_action(&fault));
    }
}

#[tokio::test]
async fn a_folder_with_the_name_of_the_probe_file_is_moved_away() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let folder = disk.path().join(".imagestore-agent");
    // The probe file is named after the node.
    let name = format!("probe.{}", imagestore_agent::model::NodeId::from_u128(1));
    std::fs::create_dir(folder.join(&name)).unwrap();
    let fault = examine(&prober, &disk.path(), &serve(place, true)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::NameInUse, "{fault}");
    assert!(english_action(&fault).contains(&name), "{}", english_action(&fault));
    assert_eq!(crate::probe::names(&folder), ["identity.json".to_owned(), name]);
}

#[tokio::test]
async fn a_change_of_the_owner_that_fails_has_the_reason_of_its_errno() {
    needs_root!();
    for (errno, reason) in [
        (EOPNOTSUPP, Reason::OperationUnsupported),
        (EKEYEXPIRED, Reason::FilesystemKeyMissing),
        (EPERM, Reason::PermissionDenied),
    ] {
        let fuse = Fuse::mounted();
        fuse.set(Op::SetAttr, Behaviour::Fail(errno));
        let owner = Some(DirectoryOwner { uid: 12_345, gid: 12_345 });
        let (slot, dir) = (&mut WorkerSlot::new(), image_dir(&fuse.path()));
        let prober = prober(&fuse.path());
        let init = prober.init_directory(slot, &dir, MARKER, Timestamp(0), owner, soon()).await;
        let fault = init.unwrap_err();
        assert_eq!(fault.reason(), reason, "{fault}");
        assert_eq!(text_fact(&fault, "step"), "chown");
    }
}
