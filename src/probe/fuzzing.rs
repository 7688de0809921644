//! Entry points of the fuzzer to the parsers of the mount table, markers and worker messages.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::marker::IdentityMarker;
use super::mountinfo::{mount_id, parse_mountinfo, root_device};
use super::worker::protocol::{WorkerRequest, WorkerResponse};
use crate::common::Timestamp;

/// Parses a mount table.
pub fn fuzz_mountinfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mounts = parse_mountinfo(&text);
    assert!(mounts.len() <= text.lines().count());
    assert_eq!(root_device(&mounts).is_some(), mounts.iter().any(|mount| mount.mount_point == "/"));
    for mount in &mounts {
        let _ = (mount.part(), mount.superblock_is_read_only());
    }
    let _ = mount_id(&text);
}

/// Parses the text of a marker.
pub fn fuzz_marker(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(marker) = IdentityMarker::parse_marker(&text) {
        let written = marker.to_text(Timestamp(0));
        assert_eq!(IdentityMarker::parse_marker(&written), Ok(marker));
    }
}

/// Parses a line from the worker, and one to it.
pub fn fuzz_worker_frame(bytes: &[u8]) {
    check_frame::<WorkerResponse>(bytes);
    check_frame::<WorkerRequest>(bytes);
}

fn check_frame<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(frame) = serde_json::from_slice::<T>(bytes) else { return };
    let line = serde_json::to_string(&frame);
    let again = line.and_then(|line| serde_json::from_str::<T>(&line));
    assert_eq!(again.ok().map(|frame| format!("{frame:?}")), Some(format!("{frame:?}")));
}
