//! The output of `init --json`.

use serde::Serialize;

use crate::model::{Capacity, MarkerId, MountLocation};

/// The marked directory and its filesystem.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitResponse<'a> {
    available_capacity: u64,
    device: &'a str,
    fs_type: &'a str,
    marker: Option<String>,
    mount_point: &'a str,
    total_capacity: u64,
    url: &'a str,
}

impl<'a> InitResponse<'a> {
    /// Creates the output for the directory `url`.
    pub fn new(
        url: &'a str,
        marker: Option<MarkerId>,
        capacity: Capacity,
        place: &'a MountLocation,
    ) -> Self {
        Self {
            available_capacity: capacity.available(),
            device: &place.device,
            fs_type: &place.fs_type,
            marker: marker.map(|marker| marker.to_string()),
            mount_point: &place.mount_point,
            total_capacity: capacity.total(),
            url,
        }
    }
}
