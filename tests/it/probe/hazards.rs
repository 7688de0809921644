//! The probe while the mount or the directory changes, and on unusual machines.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use imagestore_agent::common::Timestamp;
use imagestore_agent::model::{MarkerId, Reason};
use imagestore_agent::probe::{ProbeOptions, WorkerSlot};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout};

use crate::probe::{
    AGENT, MARKER, add, as_nobody, claim, claimed, examine, image_dir, names, options, prober,
    serve, soon, text_fact, with_worker,
};
use crate::support::failures::english_action;
use crate::support::filesystems::{BindMount, MountedFs, UnservedMount};
use crate::support::requirements::{needs_root, run};

#[tokio::test]
async fn a_mount_with_an_odd_name_elsewhere_spoils_no_probe() {
    needs_root!();
    let disk = MountedFs::tmpfs("size=4m");
    let prober = prober(&disk.path());
    let inside = disk.path().join("images");
    fs::create_dir(&inside).unwrap();
    let place = claimed(&prober, &inside).await;
    // The kernel escapes blanks in the mount table and leaves bytes that are not UTF-8 as they are.
    let odd = tempfile::tempdir().unwrap();
    let latin = odd.path().join(OsStr::from_bytes(b"gr\xfc\xdfe"));
    fs::create_dir(&latin).unwrap();
    let bound = BindMount::of(odd.path(), &latin.join("bound"), false);
    let probed = examine(&prober, &inside, &serve(place.clone(), true)).await;
    assert!(disk.try_unmount());
    let unmounted = examine(&prober, &inside, &serve(place, true)).await;
    drop(bound);
    assert_eq!(probed.unwrap().marker, Some(MARKER));
    assert_eq!(unmounted.unwrap_err().reason(), Reason::NotMounted);
}

#[tokio::test]
async fn a_copy_left_below_the_mount_point_is_not_the_store() {
    needs_root!();
    let (parent, disk) = (MountedFs::tmpfs("size=4m"), MountedFs::tmpfs("size=4m"));
    let prober = prober(&parent.path());
    let mount_point = parent.path().join("disk");
    let images = mount_point.join("images");
    let bound = BindMount::of(&disk.path(), &mount_point, false);
    fs::create_dir(&images).unwrap();
    let place = claimed(&prober, &images).await;
    assert_eq!(place.mount_point, mount_point.to_str().unwrap());
    drop(bound);
    run("cp", &["-a".as_ref(), disk.path().join("images").as_os_str(), mount_point.as_os_str()]);
    for write in [false, true] {
        let purpose = serve(place.clone(), write);
        let fault = examine(&prober, &images, &purpose).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::NotMounted, "{fault}");
        assert_eq!(text_fact(&fault, "mountPoint"), parent.path().to_str().unwrap());
    }
    // After the next mount it is the store again.
    run("mount", &["--bind".as_ref(), disk.path().as_os_str(), mount_point.as_os_str()]);
    let again = examine(&prober, &images, &serve(place, true)).await;
    run("umount", &[&mount_point]);
    assert_eq!(again.unwrap().marker, Some(MARKER));
}

#[tokio::test]
async fn what_a_disk_says_reaches_no_terminal_as_it_is() {
    needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    fs::create_dir_all(images.join(".imagestore-agent")).unwrap();
    let field = format!("\u{1b}]0;x\u{7}{}", "y".repeat(3000));
    let marker = format!("{{\"version\":1,{}:1}}", serde_json::to_string(&field).unwrap());
    fs::write(images.join(".imagestore-agent/identity.json"), marker).unwrap();
    let of_the_marker = examine(&prober, &images, &add()).await.unwrap_err();
    assert_eq!(of_the_marker.reason(), Reason::MarkerUnreadable);
    assert!(!of_the_marker.details().contains("yyy"), "{of_the_marker}");
    assert!(of_the_marker.details().contains("expected a JSON object"), "{of_the_marker}");
    assert!(of_the_marker.details().len() < 400, "{of_the_marker}");

    let odd = folder.path().join("odd\u{1b}[2J");
    fs::create_dir(&odd).unwrap();
    std::os::unix::fs::symlink(&odd, folder.path().join("link")).unwrap();
    let elsewhere = ProbeOptions { allow_root_disk: true, ..options(&images) };
    let link = folder.path().join("link");
    let of_a_target = examine(&with_worker(elsewhere), &link, &add()).await.unwrap_err();
    assert_eq!(of_a_target.reason(), Reason::OutsideAllowedRoots);
    assert!(text_fact(&of_a_target, "target").ends_with("odd\\u{1b}[2J"), "{of_a_target}");

    let bound = BindMount::of(&images, &odd.join("mount"), true);
    fs::remove_dir_all(images.join(".imagestore-agent")).unwrap();
    std::os::unix::fs::symlink(odd.join("mount"), folder.path().join("view")).unwrap();
    let of_a_mount = examine(&prober, &folder.path().join("view"), &add()).await;
    drop(bound);
    let of_a_mount = of_a_mount.unwrap_err();
    assert_eq!(of_a_mount.reason(), Reason::NamespaceReadOnly);
    for fault in [of_the_marker, of_a_target, of_a_mount] {
        let texts = format!("{} {} {:?}", fault.details(), english_action(&fault), fault.facts());
        assert!(!texts.chars().any(char::is_control), "{texts:?}");
    }
}

#[tokio::test]
async fn a_mount_without_a_server_is_named_with_the_call_that_waits() {
    needs_root!();
    let dead = UnservedMount::new();
    let prober = prober(&dead.path());
    for path in [dead.path(), dead.path().join("images")] {
        let (slot, dir, purpose) = (&mut WorkerSlot::new(), image_dir(&path), add());
        let deadline = Instant::now() + Duration::from_millis(200);
        let probed = prober.examine(slot, &dir, &purpose, deadline);
        let fault =
            timeout(Duration::from_secs(5), probed).await.unwrap().into_inspection().unwrap_err();
        assert_eq!(fault.reason(), Reason::ProbeTimeout, "{fault}");
        assert_eq!(text_fact(&fault, "step"), "open");
        assert_eq!(slot.stuck_worker(), None, "the worker is not stuck");
    }
}

#[tokio::test]
async fn a_worker_in_the_middle_of_its_work_ends_with_its_stdin() {
    needs_root!();
    let dead = UnservedMount::new();
    let mut worker = tokio::process::Command::new(AGENT)
        .arg("probe-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let root = dead.path().display().to_string();
    let order = format!("{{\"Open\":{{\"dir\":\"{root}\",\"roots\":[\"{root}\"]}}}}\n");
    let mut stdin = worker.stdin.take().unwrap();
    stdin.write_all(order.as_bytes()).await.unwrap();
    // The worker reports each step before it takes it: now it waits for the mount.
    let mut reports = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert_eq!(reports.next_line().await.unwrap().unwrap(), "{\"At\":\"Open\"}");
    drop(stdin);
    timeout(Duration::from_secs(5), worker.wait()).await.expect("the worker does not end").unwrap();
}

#[tokio::test]
async fn a_disk_unmounted_in_the_middle_of_an_add_leaves_no_marker_under_it() {
    needs_root!();
    let disk = MountedFs::of("ext4");
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(&disk.path()) });
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(&disk.path()));
    let examined = prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    assert!(disk.try_unmount());
    let claimed = prober.write_marker(slot, &dir, &add(), &claim(&examined), soon()).await;
    assert_eq!(names(&disk.path()), Vec::<String>::new());
    assert_eq!(claimed.unwrap_err().reason(), Reason::NotMounted);
}

#[tokio::test]
async fn a_directory_that_was_marked_meanwhile_keeps_its_marker() {
    let folder = tempfile::tempdir().unwrap();
    let prober = with_worker(ProbeOptions { allow_root_disk: true, ..options(folder.path()) });
    let (slot, dir) = (&mut WorkerSlot::new(), image_dir(folder.path()));
    let before = prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    let other_marker = MarkerId::from_u128(99);
    prober.init_directory(slot, &dir, other_marker, Timestamp(0), None, soon()).await.unwrap();
    let fault = prober.write_marker(slot, &dir, &add(), &claim(&before), soon()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::WrongStore, "{fault}");
    let examined = prober.examine(slot, &dir, &add(), soon()).await.into_inspection().unwrap();
    assert_eq!(examined.marker, Some(other_marker));
}

#[tokio::test]
async fn a_directory_above_that_bars_the_way_is_named_with_what_opens_it() {
    needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("closed/images");
    fs::create_dir_all(&images).unwrap();
    let closed = folder.path().join("closed");
    for (path, mode) in [(folder.path(), 0o755), (&closed, 0o700), (&images, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let options = ProbeOptions { allow_root_disk: true, ..options(folder.path()) };
    let fault = examine(&as_nobody(options, folder.path()), &images, &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::PermissionDenied, "{fault}");
    assert_eq!(text_fact(&fault, "barred"), closed.display().to_string());
    assert_eq!(text_fact(&fault, "mode"), "0700");
    // The fault names the user of this process, as which the workers of a daemon run.
    let command = format!("setfacl -m u:0:x {}", closed.display());
    assert!(english_action(&fault).contains(&command), "{}", english_action(&fault));
    assert!(
        !english_action(&fault).contains("init"),
        "init opens no directory above: {}",
        english_action(&fault)
    );
}

#[tokio::test]
async fn a_directory_that_bars_the_way_itself_is_named_with_what_opens_it() {
    needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&images, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let options = ProbeOptions { allow_root_disk: true, ..options(folder.path()) };
    let fault = examine(&as_nobody(options, folder.path()), &images, &add()).await.unwrap_err();
    assert_eq!(fault.reason(), Reason::PermissionDenied, "{fault}");
    assert_eq!(text_fact(&fault, "barred"), images.display().to_string());
    let command = format!("setfacl -m u:0:rx {}", images.display());
    assert!(english_action(&fault).contains(&command), "{}", english_action(&fault));
}
