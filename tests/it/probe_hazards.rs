//! The probe when things change under it, or when the machine is odd.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use imagestore_agent::model::Reason;

use crate::probe::{MARKER, claimed, examine, prober, serve};
use crate::support::filesystems::{Bound, Mounted};
use crate::support::needs::needs_root;

#[tokio::test]
async fn a_mount_with_an_odd_name_elsewhere_spoils_no_probe() {
    needs_root!();
    let disk = Mounted::tmpfs("size=4m");
    let prober = prober(&disk.path());
    let inside = disk.path().join("images");
    fs::create_dir(&inside).unwrap();
    let place = claimed(&prober, &inside).await;
    // The kernel escapes blanks in the mount table and leaves bytes that are not UTF-8 as they are.
    let odd = tempfile::tempdir().unwrap();
    let latin = odd.path().join(OsStr::from_bytes(b"gr\xfc\xdfe"));
    fs::create_dir(&latin).unwrap();
    let bound = Bound::of(odd.path(), &latin.join("bound"), false);
    let probed = examine(&prober, &inside, &serve(place.clone(), true)).await;
    assert!(disk.try_unmount());
    let unmounted = examine(&prober, &inside, &serve(place, true)).await;
    drop(bound);
    assert_eq!(probed.unwrap().marker, Some(MARKER));
    assert_eq!(unmounted.unwrap_err().reason(), Reason::NotMounted);
}
