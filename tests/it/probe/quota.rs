//! Directories whose figures are those of a quota and not of their filesystem.

use std::fs;
use std::path::Path;

use imagestore_agent::model::MountLocation;
use nix::libc::EIO;

use crate::probe::{claimed, examine, prober, serve};
use crate::support::filesystems::{BindMount, MountedFs};
use crate::support::fuse::{Behaviour, Figures, Fuse, Op};
use crate::support::requirements::{needs_root, run};

/// Returns the place of a served directory.
async fn place_of(root: &Path, dir: &Path, before: MountLocation) -> MountLocation {
    examine(&prober(root), dir, &serve(before, true)).await.unwrap().place
}

#[tokio::test]
async fn a_folder_with_a_quota_has_a_space_of_its_own() {
    needs_root!();
    let fuse = Fuse::mounted();
    for folder in ["blocks/images", "files/images", "plain/images", "blocks/other"] {
        fs::create_dir_all(fuse.path().join(folder)).unwrap();
    }
    let usual = Figures::default();
    fuse.set_quota("blocks", Figures { blocks: 100, bfree: 50, bavail: 50, ..usual });
    fuse.set_quota("files", Figures { files: 1000, ffree: 10, ..usual });
    for (dir, quota) in [
        ("", None),
        ("blocks", Some("/blocks")),
        // Both directories lie in one folder with one quota.
        ("blocks/images", Some("/blocks")),
        ("blocks/other", Some("/blocks")),
        ("files/images", Some("/files")),
        ("plain/images", None),
    ] {
        let dir = fuse.path().join(dir);
        let place = claimed(&prober(&fuse.path()), &dir).await;
        assert_eq!(place.quota_folder.as_deref(), quota, "{dir:?}");
    }
}

#[tokio::test]
async fn a_quota_that_is_set_or_removed_later_is_seen_by_the_next_probe() {
    needs_root!();
    let fuse = Fuse::mounted();
    let dir = fuse.path().join("images");
    fs::create_dir(&dir).unwrap();
    let plain = claimed(&prober(&fuse.path()), &dir).await;
    assert_eq!(plain.quota_folder, None);
    let usual = Figures::default();
    fuse.set_quota("images", Figures { blocks: 100, bfree: 50, bavail: 50, ..usual });
    let limited = place_of(&fuse.path(), &dir, plain.clone()).await;
    assert_eq!(limited.quota_folder.as_deref(), Some("/images"));
    assert!(limited.is_same_mount(&plain), "a quota moves no directory");
    fuse.set_quota("images", usual);
    assert_eq!(place_of(&fuse.path(), &dir, limited).await.quota_folder, None);
}

#[tokio::test]
async fn a_bind_mount_of_the_folder_has_the_same_quota() {
    needs_root!();
    let fuse = Fuse::mounted();
    let around = fuse.path().parent().unwrap().to_owned();
    fs::create_dir_all(fuse.path().join("limited/images")).unwrap();
    let usual = Figures::default();
    fuse.set_quota("limited", Figures { blocks: 100, bfree: 50, bavail: 50, ..usual });
    // As systemd binds the directories of `ReadWritePaths`.
    let bound = BindMount::of(&fuse.path().join("limited"), &around.join("bound"), false);
    for dir in [bound.path(), bound.path().join("images")] {
        let place = claimed(&prober(&around), &dir).await;
        assert_eq!(place.quota_folder.as_deref(), Some("/limited"), "{dir:?}");
    }
    // The kernel has no names for the rest of a filesystem of which it shows only a folder.
    drop(bound);
}

#[tokio::test]
async fn a_covered_mount_point_leaves_the_quota_as_it_was() {
    needs_root!();
    let fuse = Fuse::mounted();
    fs::create_dir(fuse.path().join("images")).unwrap();
    let usual = Figures::default();
    fuse.set_quota("images", Figures { blocks: 100, bfree: 50, bavail: 50, ..usual });
    let around = fuse.path().parent().unwrap().to_owned();
    let bound = BindMount::of(&fuse.path().join("images"), &around.join("bound"), false);
    let before = claimed(&prober(&around), &bound.path()).await;
    assert_eq!(before.quota_folder.as_deref(), Some("/images"));
    let cover = around.join("cover");
    fs::create_dir(&cover).unwrap();
    run("mount", &["--bind".as_ref(), cover.as_os_str(), fuse.path().as_os_str()]);
    let covered = place_of(&around, &bound.path(), before.clone()).await;
    run("umount", &[fuse.path()]);
    assert_eq!(covered.quota_folder, before.quota_folder);

    fuse.set(Op::Statfs, Behaviour::Fail(EIO));
    let fault = examine(&prober(&around), &bound.path(), &serve(before, true)).await.unwrap_err();
    fuse.release();
    assert_eq!(fault.reason(), imagestore_agent::model::Reason::IoError, "{fault}");
}

#[tokio::test]
async fn real_filesystems_without_a_quota_have_one_space() {
    needs_root!();
    for disk in [
        MountedFs::of("ext4"),
        MountedFs::of("xfs"),
        MountedFs::of("btrfs"),
        MountedFs::tmpfs("size=16m"),
    ] {
        let volume = disk.path().join("volume");
        match disk.kind() {
            "btrfs" => {
                run("btrfs", &["-q", "subvolume", "create", volume.to_str().unwrap()]);
            }
            _ => fs::create_dir(&volume).unwrap(),
        }
        let dir = volume.join("deep/images");
        fs::create_dir_all(&dir).unwrap();
        let place = claimed(&prober(&disk.path()), &dir).await;
        assert_eq!(place.quota_folder, None, "{}", disk.kind());
        assert_eq!(place.part, Some(imagestore_agent::model::MountedPart::Whole));
    }
}
