//! The probe on a filesystem on which one call at a time hangs, fails or is slow.

use std::time::Duration;

use imagestore_agent::model::{Reason, WriteOutcome};
use imagestore_agent::probe::{ProbeResult, WorkerSlot};
use nix::libc::{EDQUOT, EIO, ENOSPC, EROFS, ESTALE};
use tokio::time::Instant;

use crate::probe::{claimed, examine, image_dir, probed, prober, serve, soon, text_fact};
use crate::support::fuse::{Behaviour, Figures, Fuse, Op};
use crate::support::requirements::needs_root;

#[tokio::test]
async fn whatever_hangs_holds_one_worker_which_is_named_with_the_call_and_gone_when_it_is_answered()
{
    needs_root!();
    for (op, step, in_write) in [
        (Op::Open, "open", false),
        (Op::Statfs, "fstatvfs", false),
        (Op::Lookup, "read the marker", false),
        (Op::Create, "create", true),
        (Op::Write, "write", true),
        (Op::Sync, "fdatasync", true),
        (Op::Unlink, "unlink", true),
    ] {
        let fuse = Fuse::mounted();
        let prober = prober(&fuse.path());
        let place = claimed(&prober, &fuse.path()).await;
        fuse.set(op, Behaviour::Hang);
        let (slot, dir) = (&mut WorkerSlot::new(), image_dir(&fuse.path()));
        let purpose = serve(place.clone(), true);
        // Long enough for a busy machine to reach the call that hangs.
        let deadline = Instant::now() + Duration::from_secs(2);
        let seen = prober.examine(slot, &dir, &purpose, deadline).await;
        let fault = match (seen.inspection, seen.write) {
            (Err(fault), None) if !in_write => fault,
            (Ok(_), Some(Err(fault))) if in_write => fault,
            other => panic!("{op:?}: {other:?}"),
        };
        assert_eq!(fault.reason(), Reason::ProbeStuck, "{op:?}: {fault}");
        assert_eq!(text_fact(&fault, "step"), step, "{op:?}");
        let stuck_worker = slot.stuck_worker().expect("the worker is not stuck");
        // The next probe does not wait for the worker and starts no other one.
        let again =
            prober.examine(slot, &dir, &purpose, soon()).await.into_inspection().unwrap_err();
        assert_eq!(again.reason(), Reason::ProbeStuck);
        assert_eq!(slot.stuck_worker(), Some(stuck_worker));
        fuse.release();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match prober.examine(slot, &dir, &purpose, soon()).await.into_inspection() {
                Ok(_) => break,
                Err(fault) => {
                    let waits = fault.reason() == Reason::ProbeStuck && Instant::now() < deadline;
                    assert!(waits, "{op:?}: {fault}");
                    tokio::task::yield_now().await;
                }
            }
        }
        assert_eq!(slot.stuck_worker(), None);
    }
}

#[tokio::test]
async fn each_error_of_a_disk_has_its_reason_or_its_condition() {
    needs_root!();
    let fuse = Fuse::mounted();
    let prober = prober(&fuse.path());
    let place = claimed(&prober, &fuse.path()).await;
    for (op, errno, reason) in [
        (Op::Open, EIO, Reason::IoError),
        (Op::Statfs, EIO, Reason::IoError),
        (Op::Statfs, ESTALE, Reason::StaleHandle),
        (Op::Read, EIO, Reason::IoError),
        (Op::Create, EROFS, Reason::NamespaceReadOnly),
        (Op::Write, EIO, Reason::IoError),
        (Op::Write, ESTALE, Reason::StaleHandle),
        (Op::Sync, EIO, Reason::IoError),
    ] {
        fuse.set(op, Behaviour::Fail(errno));
        let fault = examine(&prober, &fuse.path(), &serve(place.clone(), true)).await.unwrap_err();
        fuse.release();
        assert_eq!(fault.reason(), reason, "{op:?}: {fault}");
        let name = nix::errno::Errno::from_raw(errno);
        assert_eq!(text_fact(&fault, "errno"), format!("{name:?}"), "{op:?}");
    }
    for (op, errno, written) in [
        (Op::Create, ENOSPC, WriteOutcome::Full),
        (Op::Write, ENOSPC, WriteOutcome::Full),
        (Op::Sync, ENOSPC, WriteOutcome::Full),
        (Op::Write, EDQUOT, WriteOutcome::QuotaExceeded),
        (Op::Sync, EDQUOT, WriteOutcome::QuotaExceeded),
    ] {
        fuse.set(op, Behaviour::Fail(errno));
        let ProbeResult { inspection, write: seen, .. } =
            probed(&prober, &fuse.path(), &serve(place.clone(), true)).await;
        fuse.release();
        inspection.expect("a full disk has no figures");
        assert_eq!(seen, Some(Ok(written)), "{op:?}");
        // A probe that could not write leaves no file behind.
        let left = crate::probe::names(&fuse.path().join(".imagestore-agent"));
        assert_eq!(left, ["identity.json"], "{op:?}");
    }
}

#[tokio::test]
async fn figures_that_cannot_be_true_are_a_fault_and_odd_ones_are_not() {
    needs_root!();
    let fuse = Fuse::mounted();
    let prober = prober(&fuse.path());
    let place = claimed(&prober, &fuse.path()).await;
    let usual = Figures::default();
    let whole = usual.blocks;
    for (figures, good) in [
        (usual, true),
        // Reserved blocks: none are available to the daemon, although some are free.
        (Figures { bavail: 0, ..usual }, true),
        // As on btrfs: more available than free, and no inodes.
        (Figures { bfree: 10, bavail: 20, files: 0, ffree: 0, ..usual }, true),
        (Figures { bfree: whole + 1, ..usual }, true),
        (Figures { ffree: usual.files + 1, ..usual }, true),
        (Figures { blocks: 0, bfree: 0, bavail: 0, ..usual }, false),
        (Figures { bavail: whole + 1, ..usual }, false),
        (Figures { blocks: u64::MAX, ..usual }, false),
        (Figures { bavail: u64::MAX, ..usual }, false),
    ] {
        fuse.set_figures(figures);
        let seen = examine(&prober, &fuse.path(), &serve(place.clone(), true)).await;
        match seen {
            Ok(examined) => {
                assert!(good, "{figures:?}: {examined:?}");
                assert!(examined.capacity.available() <= examined.capacity.total());
                let inodes = examined.inodes.map(|inodes| inodes.available <= inodes.total);
                assert_ne!(inodes, Some(false));
                assert_eq!(examined.inodes.is_none(), figures.files == 0);
            }
            Err(fault) => {
                assert!(!good, "{figures:?}: {fault}");
                assert_eq!(fault.reason(), Reason::CapacityImplausible);
            }
        }
    }
}
