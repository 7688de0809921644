//! The probe of a directory whose disk is unmounted with `umount -l` while the probe runs.

use std::fs;
use std::process::Command;

use imagestore_agent::model::{Fault, Reason};
use imagestore_agent::probe::WorkerSlot;

use crate::probe::{claimed, image_dir, prober, serve, soon, text_fact};
use crate::support::failures::english_action;
use crate::support::filesystems::MountedFs;
use crate::support::fuse::{Behaviour, Fuse, Op};
use crate::support::requirements::{needs_root, run};

/// Number of probes that race with an unmount.
const ROUNDS: usize = 40;

/// Checks that the fault names the loss of the disk, and that it does not blame the path.
fn assert_disk_lost(fault: &Fault) {
    assert_eq!(fault.reason(), Reason::NotMounted, "{fault}");
    assert!(!fault.facts().contains_key("target"), "{fault:?}");
    assert!(!english_action(fault).contains("allowed_roots"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_unmounted_while_it_is_opened_is_not_mounted() {
    needs_root!();
    for below in [true, false] {
        let fuse = Fuse::mounted();
        let images = if below { fuse.path().join("images") } else { fuse.path() };
        fs::create_dir_all(&images).unwrap();
        let prober = prober(&fuse.path());
        let place = claimed(&prober, &images).await;
        fuse.set(Op::Open, Behaviour::Hang);
        let dir = image_dir(&images);
        let probe = tokio::spawn(async move {
            let slot = &mut WorkerSlot::new();
            prober.examine(slot, &dir, &serve(place, true), soon()).await.into_inspection()
        });
        fuse.until_hanging(1);
        run("umount", &["-l".as_ref(), "-c".as_ref(), fuse.path().as_os_str()]);
        // The call that waits succeeds, on a directory that no path leads to any more.
        fuse.release();
        let fault = probe.await.unwrap().unwrap_err();
        assert_disk_lost(&fault);
        // The path lies on the disk of the folder that held the mount.
        assert_ne!(text_fact(&fault, "fsType"), "fuse", "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lazy_unmount_at_any_time_of_a_probe_is_not_mounted_or_too_late() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let images = disk.path().join("images");
    fs::create_dir(&images).unwrap();
    let prober = prober(&disk.path());
    let place = claimed(&prober, &images).await;
    for round in 0..ROUNDS {
        let (prober, purpose, dir) =
            (prober.clone(), serve(place.clone(), true), image_dir(&images));
        let probe = tokio::spawn(async move {
            let slot = &mut WorkerSlot::new();
            prober.examine(slot, &dir, &purpose, soon()).await.into_inspection()
        });
        let unmounted = Command::new("umount").arg("-l").arg(disk.path()).output().unwrap();
        assert!(unmounted.status.success(), "round {round}: {unmounted:?}");
        if let Err(fault) = probe.await.unwrap() {
            assert_disk_lost(&fault);
        }
        disk.mount();
    }
}
