//! Filesystems with unusual block and inode counts: the figures are those of `statvfs(3)`.

use std::fs;

use nix::sys::statvfs::statvfs;

use crate::probe::{MARKER, claimed, examine, prober, serve};
use crate::support::filesystems::{BindMount, MountedFs};
use crate::support::requirements::needs_root;

#[tokio::test]
async fn small_blocks_count_as_what_they_are() {
    needs_root!();
    let disk = MountedFs::with("ext4", &["-b", "1024"]);
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let raw = statvfs(&disk.path()).unwrap();
    assert_eq!(raw.fragment_size(), 1024);
    let seen = examine(&prober, &disk.path(), &serve(place, false)).await.unwrap();
    assert_eq!(seen.capacity.total(), raw.blocks() * 1024);
}

#[tokio::test]
async fn what_is_reserved_for_root_is_not_available() {
    needs_root!();
    // Half of it is reserved for root.
    let disk = MountedFs::with("ext4", &["-m", "50"]);
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let raw = statvfs(&disk.path()).unwrap();
    assert!(raw.blocks_free() > raw.blocks_available() + raw.blocks() / 3);
    let seen = examine(&prober, &disk.path(), &serve(place, false)).await.unwrap();
    assert_eq!(seen.capacity.available(), raw.blocks_available() * raw.fragment_size());
}

#[tokio::test]
async fn an_overlay_and_a_bind_mount_serve_as_well_as_a_disk() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=16m");
    let at = |name: &str| disk.path().join(name);
    fs::create_dir(at("images")).unwrap();
    let overlay = BindMount::overlay(&disk.path());
    let bound = BindMount::of(&at("images"), &at("bound"), false);
    let prober = prober(&disk.path());
    let mut places = Vec::new();
    for path in [overlay.path(), at("bound")] {
        let place = claimed(&prober, &path).await;
        let seen = examine(&prober, &path, &serve(place.clone(), true)).await.unwrap();
        assert_eq!(seen.marker, Some(MARKER));
        assert_eq!(seen.place.mount_point, path.to_str().unwrap());
        places.push(place);
    }
    assert_eq!(places[0].fs_type, "overlay");
    assert_eq!(places[1].fs_type, "tmpfs");
    drop((bound, overlay));
}
