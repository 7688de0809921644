//! The probe on real filesystems, with real worker processes.

mod claim;
pub(crate) mod containers;
mod errors;
mod fuse;
mod hazards;
mod quota;
mod shapes;
mod unmounts;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{
    Fact, Fault, ImageDir, MarkerId, MountLocation, NodeId, Reason, StoreUuid, WriteOutcome,
};
use imagestore_agent::probe::{
    AddLeftovers, DirectoryInspection, KnownStores, MarkerClaim, ProbeExpectation, ProbeOptions,
    ProbeResult, Prober, WorkerSlot,
};
use tokio::time::Instant;

use crate::support::failures::english_action;
use crate::support::filesystems::{BindMount, MountedFs};
use crate::support::requirements::needs_root;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_imagestore-agent");
pub(crate) const STORE: StoreUuid = StoreUuid::from_u128(10);
pub(crate) const MARKER: MarkerId = MarkerId::from_u128(20);

pub(crate) fn options(root: &Path) -> ProbeOptions {
    ProbeOptions {
        allowed_roots: vec![root.display().to_string()],
        allow_root_disk: false,
        node_id: NodeId::from_u128(1),
    }
}

pub(crate) fn prober(root: &Path) -> Prober {
    with_worker(options(root))
}

pub(crate) fn with_worker(options: ProbeOptions) -> Prober {
    Prober::new(options).with_program(AGENT.into(), vec!["probe-worker".to_owned()])
}

/// Returns a prober whose workers run as nobody. They need a copy of the program that nobody can
/// reach: it is in `folder`, beside the image directories.
pub(crate) fn as_nobody(options: ProbeOptions, folder: &Path) -> Prober {
    let program = folder.join("agent");
    fs::copy(AGENT, &program).unwrap();
    let mut args = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned).to_vec();
    args.extend([program.display().to_string(), "probe-worker".to_owned()]);
    Prober::new(options).with_program("/usr/bin/setpriv".into(), args)
}

pub(crate) fn image_dir(path: &Path) -> ImageDir {
    ImageDir::parse(path.to_str().unwrap()).unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

pub(crate) fn add() -> ProbeExpectation {
    ProbeExpectation::Add { store: STORE, known: KnownStores::new(|_| false), take_over: false }
}

pub(crate) fn serve(place: MountLocation, write: bool) -> ProbeExpectation {
    ProbeExpectation::Serve { store: STORE, marker: MARKER, place, had_registry: false, write }
}

pub(crate) async fn examine(
    prober: &Prober,
    path: &Path,
    purpose: &ProbeExpectation,
) -> Result<DirectoryInspection, Fault> {
    probed(prober, path, purpose).await.into_inspection()
}

pub(crate) async fn probed(
    prober: &Prober,
    path: &Path,
    purpose: &ProbeExpectation,
) -> ProbeResult {
    prober.examine(&mut WorkerSlot::new(), &image_dir(path), purpose, soon()).await
}

/// Returns the claim that the daemon makes after an examination.
pub(crate) fn claim(examined: &DirectoryInspection) -> MarkerClaim {
    MarkerClaim {
        store: STORE,
        marker: examined.marker.unwrap_or(MARKER),
        created: Timestamp(0),
        place: examined.place.clone(),
        previous_marker: examined.previous_marker.clone(),
    }
}

/// Adds a directory as the daemon does and returns its expectation.
pub(crate) async fn claimed(prober: &Prober, path: &Path) -> MountLocation {
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(path));
    let examined = prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    let claim = claim(&examined);
    prober.write_marker(slot, &dir, &add(), &claim, soon()).await.unwrap();
    examined.place
}

pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn text_fact(fault: &Fault, name: &str) -> String {
    match &fault.facts()[name] {
        Fact::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn capacity_is_what_the_filesystem_says_and_the_marker_survives_a_remount() {
    needs_root!();
    for disk in [
        MountedFs::of("ext4"),
        MountedFs::of("xfs"),
        MountedFs::of("btrfs"),
        MountedFs::tmpfs("size=16m,nr_inodes=64"),
    ] {
        let images = disk.path().join("images");
        fs::create_dir(&images).unwrap();
        let prober = prober(&disk.path());
        let seen = probed(&prober, &images, &add()).await;
        assert!(matches!(seen.write, Some(Ok(WriteOutcome::Succeeded(_)))));
        let examined = seen.inspection.unwrap();
        let raw = nix::sys::statvfs::statvfs(&images).unwrap();
        assert_eq!(examined.capacity.total(), raw.blocks() * raw.fragment_size());
        assert!(examined.capacity.available() <= examined.capacity.total());
        assert_eq!(examined.inodes.is_some(), disk.kind() != "btrfs");
        assert_eq!(examined.place.fs_type, disk.kind());
        assert_eq!(examined.place.mount_point, disk.path().to_str().unwrap());
        assert!(examined.created_folder && !examined.place.on_root_disk);

        let place = claimed(&prober, &images).await;
        if disk.kind() != "tmpfs" {
            assert!(disk.try_unmount());
            disk.mount();
        }
        let served = examine(&prober, &images, &serve(place, true)).await.unwrap();
        assert_eq!(served.marker, Some(MARKER));
        assert!(!served.created_folder);
        assert_eq!(names(&images.join(".imagestore-agent")), ["identity.json"]);
        assert_eq!(names(&images), [".imagestore-agent"]);
        let mode = fs::metadata(images.join(".imagestore-agent")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }
}

#[tokio::test]
async fn an_unmounted_disk_is_reported_and_nothing_is_written_under_it() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = prober(&disk.path());
    let inside = disk.path().join("images");
    fs::create_dir(&inside).unwrap();
    let of_the_mount_point = claimed(&prober, &disk.path()).await;
    let of_the_inside = claimed(&prober, &inside).await;
    assert!(disk.try_unmount());
    for (path, place) in [(disk.path(), of_the_mount_point), (inside, of_the_inside)] {
        let fault = examine(&prober, &path, &serve(place, true)).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::NotMounted, "{fault}");
        assert_eq!(text_fact(&fault, "expectedMountPoint"), disk.path().to_str().unwrap());
    }
    assert_eq!(names(&disk.path()), Vec::<String>::new());
    let fault = examine(&prober, &disk.path(), &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::OnRootDisk);
    assert_eq!(names(&disk.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_marker_on_the_right_disk_is_distinguished_from_a_missing_disk() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    fs::remove_file(disk.path().join(".imagestore-agent/identity.json")).unwrap();
    let fault = examine(&prober, &disk.path(), &serve(place, true)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::MarkerMissing);
    assert_eq!(names(&disk.path().join(".imagestore-agent")), Vec::<String>::new());
}

#[tokio::test]
async fn a_read_only_disk_is_distinguished_from_a_read_only_view_of_it() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let images = disk.path().join("images");
    fs::create_dir(&images).unwrap();
    let around = disk.path().parent().unwrap().to_owned();
    let prober = prober(&around);
    let place = claimed(&prober, &images).await;
    let view = BindMount::of(&images, &around.join("view"), true);
    let fault =
        examine(&prober, &around.join("view"), &serve(place.clone(), true)).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::NamespaceReadOnly, "{fault}");
    assert!(english_action(&fault).contains("ReadWritePaths="), "{}", english_action(&fault));
    drop(view);
    disk.remount("ro");
    // The superblock shows it, also without a write.
    for write in [true, false] {
        let fault = examine(&prober, &images, &serve(place.clone(), write)).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::ReadOnly, "{fault}");
        assert_eq!(text_fact(&fault, "mountPoint"), disk.path().to_str().unwrap());
    }
}

#[tokio::test]
async fn a_dying_disk_is_an_io_error_although_statvfs_still_answers() {
    needs_root!();
    for kind in ["ext4", "xfs"] {
        let disk = MountedFs::of(kind);
        let prober = prober(&disk.path());
        let place = claimed(&prober, &disk.path()).await;
        disk.shut_down();
        nix::sys::statvfs::statvfs(&disk.path()).expect("it still answers");
        let fault = examine(&prober, &disk.path(), &serve(place, true)).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::IoError, "{kind}: {fault}");
        assert_eq!(text_fact(&fault, "errno"), "EIO");
    }
}

#[tokio::test]
async fn a_full_disk_stays_good_for_reading_but_takes_no_marker() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=1m");
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let filler = disk.path().join("filler");
    assert!(fs::write(&filler, vec![1; 2 << 20]).is_err(), "the disk is full");
    let served = probed(&prober, &disk.path(), &serve(place, true)).await;
    assert_eq!(served.write, Some(Ok(WriteOutcome::Full)));
    assert_eq!(served.inspection.unwrap().capacity.available(), 0);
    assert_eq!(names(&disk.path().join(".imagestore-agent")), ["identity.json"]);

    fs::remove_dir_all(disk.path().join(".imagestore-agent")).unwrap();
    assert!(fs::write(&filler, vec![1; 2 << 20]).is_err());
    let fault = examine(&prober, &disk.path(), &add()).await.unwrap_err();
    assert_eq!((fault.reason(), text_fact(&fault, "errno")), (Reason::IoError, "ENOSPC".into()));
    assert_eq!(names(&disk.path()), ["filler"], "the folder made for nothing is gone");
}

#[tokio::test]
async fn paths_that_are_no_image_directory_have_reasons_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("inside")).unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(root.join("file"), "x").unwrap();
    symlink(folder.path().join("outside"), root.join("out")).unwrap();
    symlink(root.join("inside"), root.join("in")).unwrap();
    symlink(root.join("loop"), root.join("loop")).unwrap();
    let anywhere = ProbeOptions { allow_root_disk: true, ..options(&root) };
    let prober = with_worker(anywhere);
    for (name, expected) in [
        ("missing", Reason::DirectoryMissing),
        ("file", Reason::NotADirectory),
        ("out", Reason::OutsideAllowedRoots),
        ("loop", Reason::PathUnusable),
    ] {
        let fault = examine(&prober, &root.join(name), &add()).await.unwrap_err();
        assert_eq!(fault.reason(), expected, "{fault}");
        assert_eq!(text_fact(&fault, "path"), root.join(name).to_str().unwrap());
    }
    assert_eq!(names(&folder.path().join("outside")), Vec::<String>::new());
    examine(&prober, &root.join("in"), &add()).await.expect("a link that stays inside");
}

#[tokio::test]
async fn what_is_planted_in_the_marker_folder_is_neither_followed_nor_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    let dir = folder.path().join("images");
    let marker_dir = dir.join(".imagestore-agent");
    let marker = marker_dir.join("identity.json");
    let victim = folder.path().join("victim");
    let plants: [&dyn Fn(); 5] = [
        &|| symlink("/etc/passwd", &marker).unwrap(),
        &|| nix::unistd::mkfifo(&marker, nix::sys::stat::Mode::S_IRUSR).unwrap(),
        &|| fs::create_dir(&marker).unwrap(),
        &|| fs::write(&marker, vec![b' '; 5000]).unwrap(),
        &|| fs::write(&marker, b"\xff\xfe").unwrap(),
    ];
    for plant in plants {
        fs::create_dir_all(&marker_dir).unwrap();
        plant();
        let fault = examine(&prober, &dir, &add()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::MarkerUnreadable, "{fault}");
        fs::remove_dir_all(&dir).unwrap();
    }
    // A link in the place of the probe file is replaced; its target is not touched.
    fs::create_dir_all(&marker_dir).unwrap();
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, marker_dir.join(format!("probe.{}", NodeId::from_u128(1)))).unwrap();
    examine(&prober, &dir, &add()).await.unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(names(&marker_dir), Vec::<String>::new());
    // A link in the place of the folder.
    fs::remove_dir(&marker_dir).unwrap();
    symlink(folder.path(), &marker_dir).unwrap();
    let fault = examine(&prober, &dir, &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::MarkerUnreadable, "{fault}");
}

#[tokio::test]
async fn a_marker_corrupted_byte_by_byte_is_never_a_crash_and_never_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    let place = claimed(&prober, folder.path()).await;
    let marker = folder.path().join(".imagestore-agent/identity.json");
    let whole = fs::read(&marker).unwrap();
    let allowed = [Reason::MarkerUnreadable, Reason::WrongStore, Reason::TakenOver];
    for at in (0..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        fs::write(&marker, &bytes).unwrap();
        match examine(&prober, folder.path(), &serve(place.clone(), true)).await {
            // The text of `created` is for operators.
            Ok(examined) => assert_eq!(examined.marker, Some(MARKER)),
            Err(fault) => assert!(allowed.contains(&fault.reason()), "byte {at}: {fault}"),
        }
        assert_eq!(fs::read(&marker).unwrap(), bytes);
    }
}

#[tokio::test]
async fn without_permission_the_command_that_mends_it_is_named() {
    needs_root!();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = ProbeOptions { allow_root_disk: true, ..options(folder.path()) };
    let nobody = as_nobody(options, folder.path());
    let fault = examine(&nobody, folder.path(), &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::PermissionDenied, "{fault}");
    assert_eq!(text_fact(&fault, "mode"), "0755");
    assert!(
        english_action(&fault).contains("imagestore-agent init "),
        "{}",
        english_action(&fault)
    );
    assert_eq!(names(folder.path()), ["agent"], "the program alone");
}

#[tokio::test]
async fn an_init_prepares_a_directory_for_the_daemons_user() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = prober(&disk.path());
    let (dir, slot) = (image_dir(&disk.path()), &mut WorkerSlot::new());
    let owner = Some(imagestore_agent::probe::DirectoryOwner { uid: 65_534, gid: 65_534 });
    for _ in 0..2 {
        let made =
            prober.init_directory(slot, &dir, MARKER, Timestamp(0), owner, soon()).await.unwrap();
        assert_eq!(made.marker, Some(MARKER));
    }
    for name in [".imagestore-agent", ".imagestore-agent/identity.json", "registry", "export"] {
        let seen = fs::metadata(disk.path().join(name)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&seen), 65_534, "{name}");
    }
    let adopted = examine(&prober, &disk.path(), &add()).await.unwrap();
    assert_eq!(adopted.marker, Some(MARKER), "the marker of init is adopted");
    assert!(adopted.has_registry && !adopted.created_folder);
}

#[tokio::test]
async fn every_fault_says_where_and_how_long_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let anywhere = ProbeOptions { allow_root_disk: true, ..options(folder.path()) };
    let prober = with_worker(anywhere.clone());
    let claim = claim(&examine(&prober, folder.path(), &add()).await.unwrap());
    let place = claimed(&prober, folder.path()).await;
    let missing = folder.path().join("missing");
    let another = ProbeExpectation::Serve {
        store: StoreUuid::from_u128(99),
        marker: MARKER,
        place,
        had_registry: false,
        write: true,
    };
    let no_program = Prober::new(anywhere).with_program("/nonexistent".into(), vec![]);
    let (slot, gone) = (&mut WorkerSlot::new(), image_dir(&missing));
    for (path, failed) in [
        (folder.path(), examine(&prober, folder.path(), &another).await.map(drop)),
        (folder.path(), examine(&no_program, folder.path(), &add()).await.map(drop)),
        (&missing, examine(&prober, &missing, &add()).await.map(drop)),
        (&missing, prober.write_marker(slot, &gone, &add(), &claim, soon()).await),
        (&missing, prober.clean_up(slot, &gone, &AddLeftovers::default(), soon()).await),
    ] {
        let fault = failed.unwrap_err();
        assert_eq!(text_fact(&fault, "path"), path.to_str().unwrap(), "{fault}");
        assert!(matches!(fault.facts()["milliseconds"], Fact::Number(0..10_000)), "{fault}");
    }
}

#[tokio::test]
async fn a_release_takes_away_an_empty_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    let (dir, slot) = (image_dir(folder.path()), &mut WorkerSlot::new());
    assert!(examine(&prober, folder.path(), &add()).await.unwrap().created_folder);
    let made = AddLeftovers { folder: true, claim: None };
    prober.clean_up(slot, &dir, &made, soon()).await.unwrap();
    assert_eq!(names(folder.path()), Vec::<String>::new());
    prober.clean_up(slot, &dir, &made, soon()).await.expect("there is nothing to remove");

    claimed(&prober, folder.path()).await;
    prober.clean_up(slot, &dir, &made, soon()).await.unwrap();
    assert_eq!(names(&folder.path().join(".imagestore-agent")), ["identity.json"]);
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_at_the_deadline_and_its_place_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    // It reports that it opens the directory, and then hangs.
    let hang = "echo '{\"At\":\"Open\"}'; exec sleep 600";
    let sleeper = Prober::new(options(folder.path()))
        .with_program("/bin/sh".into(), vec!["-c".into(), hang.into()]);
    let (dir, slot) = (image_dir(folder.path()), &mut WorkerSlot::new());
    let deadline = Instant::now() + Duration::from_millis(200);
    let fault = sleeper.examine(slot, &dir, &add(), deadline).await.into_inspection().unwrap_err();
    assert_eq!(fault.reason(), Reason::ProbeTimeout, "{fault}");
    assert_eq!(slot.stuck_worker(), None);

    // A probe whose caller gives up leaves nothing behind either.
    let purpose = add();
    let abandoned = sleeper.examine(slot, &dir, &purpose, soon());
    assert!(tokio::time::timeout(Duration::from_millis(50), abandoned).await.is_err());
    let able = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    able.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    assert_eq!(slot.stuck_worker(), None);
}

#[tokio::test]
async fn a_worker_that_is_no_worker_is_an_error_and_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    // Each fault is the daemon's, not the disk's.
    for (program, args) in [
        ("/bin/true", vec![]),
        ("/bin/echo", vec!["{\"Observed\":1}".to_owned()]),
        ("/bin/cat", vec!["/dev/zero".to_owned()]),
        ("/bin/sh", vec!["-c".to_owned(), "kill -9 $$".to_owned()]),
        ("/nonexistent", vec![]),
    ] {
        let prober = Prober::new(options(folder.path())).with_program(program.into(), args);
        let fault = examine(&prober, folder.path(), &add()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy, "{program}: {fault}");
    }
    // A worker that never runs has not touched the disk either.
    let sleeper =
        Prober::new(options(folder.path())).with_program("/bin/sleep".into(), vec!["600".into()]);
    let (dir, slot) = (image_dir(folder.path()), &mut WorkerSlot::new());
    let deadline = Instant::now() + Duration::from_millis(200);
    let fault = sleeper.examine(slot, &dir, &add(), deadline).await.into_inspection().unwrap_err();
    assert_eq!(fault.reason(), Reason::AgentBusy, "{fault}");
}

#[tokio::test]
async fn a_frozen_disk_holds_one_worker_which_is_remembered_until_it_is_freed() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let (dir, slot) = (image_dir(&disk.path()), &mut WorkerSlot::new());
    disk.freeze("-f");
    // Long enough for a worker to reach the disk on a busy machine.
    let deadline = Instant::now() + Duration::from_secs(5);
    let fault = prober.examine(slot, &dir, &serve(place.clone(), true), deadline).await;
    let fault = fault.into_inspection().unwrap_err();
    let stuck = slot.stuck_worker();
    let again =
        prober.examine(slot, &dir, &serve(place.clone(), false), soon()).await.into_inspection();
    let after_restart = {
        let process = stuck.expect("a writer on a frozen disk cannot be killed");
        let mut slot = WorkerSlot::with_stuck(process);
        prober
            .examine(&mut slot, &dir, &serve(place.clone(), false), soon())
            .await
            .into_inspection()
    };
    disk.freeze("-u");
    assert_eq!(fault.reason(), Reason::ProbeStuck, "{fault}");
    assert_eq!(again.unwrap_err().reason(), Reason::ProbeStuck);
    assert_eq!(after_restart.unwrap_err().reason(), Reason::ProbeStuck);
    // The killed worker dies as soon as the disk answers.
    let deadline = Instant::now() + Duration::from_secs(10);
    let good = loop {
        match prober
            .examine(slot, &dir, &serve(place.clone(), true), soon())
            .await
            .into_inspection()
        {
            Err(fault) if fault.reason() == Reason::ProbeStuck && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            other => break other.unwrap(),
        }
    };
    assert_eq!(good.marker, Some(MARKER));
    assert_eq!(slot.stuck_worker(), None);
}

#[tokio::test]
async fn an_operators_umount_succeeds_a_hundred_times_between_probes() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = prober(&disk.path());
    let place = claimed(&prober, &disk.path()).await;
    let (dir, slot) = (image_dir(&disk.path()), &mut WorkerSlot::new());
    for round in 0..100 {
        let probed = prober.examine(slot, &dir, &serve(place.clone(), true), soon()).await;
        probed.into_inspection().unwrap_or_else(|fault| panic!("round {round}: {fault}"));
        assert!(disk.try_unmount() || disk.try_unmount(), "round {round}: the mount is pinned");
        disk.mount();
    }
}
