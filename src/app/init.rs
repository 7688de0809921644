//! The command `init PATH`: marks a directory as an image store and prints its place and capacity.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use serde_json::json;
use tokio::time::Instant;

use super::process::ExitStatus;
use crate::catalog::{Language, fault_action};
use crate::common::{
    Clock as _, Random as _, SystemClock, SystemRandom, mask_hidden, print_json, print_text,
    report_line,
};
use crate::model::{Fault, ImageDir, MarkerId, NodeId};
use crate::probe::{DirectoryInspection, DirectoryOwner, ProbeOptions, Prober, WorkerSlot};
use crate::settings::{DEFAULT_USER, Settings};
use crate::wire::{ErrorCode, ErrorResponse, InitResponse};

/// The node id in the name of the probe file. The marker that `init` writes names no node. The id
/// is constant, so that the next `init` replaces the file of one that was killed. No node has this
/// id, so a daemon that probes the directory at the same time writes to another file.
const INIT_NODE_ID: NodeId = NodeId::from_u128(0);
/// Time for the worker to mark the directory. An operator waits for it, and can interrupt it.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The directory could not be marked.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{path}: {why}")]
    Path { path: String, why: String },
    #[error("user {0} does not exist; name another user with --user")]
    NoUser(String),
    #[error("the lookup of user {0} failed: {1}")]
    Lookup(String, nix::Error),
    #[error("{0}")]
    Fault(Fault),
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
}

/// Marks the directory and prints the result. As root, it gives the created files to the daemon's
/// user.
pub fn init_directory(
    path: &str,
    user: Option<&str>,
    as_json: bool,
    settings: &Settings,
) -> ExitStatus {
    match mark_directory(path, user, settings) {
        Ok(inspection) if as_json => {
            ExitStatus::Ok.after_output(print_json(&to_json(path, &inspection)))
        }
        Ok(inspection) => ExitStatus::Ok.after_output(print_text(&to_text(path, &inspection))),
        Err(InitError::Fault(fault)) if as_json => {
            let error = &ErrorCode::from_fault("SYS.1006", &fault, Language::English);
            ExitStatus::Failed.after_output(print_json(&json!(ErrorResponse { error })))
        }
        Err(error) => {
            report_line(&error);
            if let InitError::Fault(fault) = &error {
                report_line(format_args!("  remedy: {}", fault_action(fault, Language::English)));
            }
            ExitStatus::Failed
        }
    }
}

fn mark_directory(
    path: &str,
    user: Option<&str>,
    settings: &Settings,
) -> Result<DirectoryInspection, InitError> {
    let path_error = |why: String| InitError::Path { path: path.to_owned(), why };
    let dir = ImageDir::parse(path).map_err(|error| path_error(error.to_string()))?;
    let roots = &settings.storage.allowed_roots;
    if !dir.is_within(roots.iter().map(String::as_str)) {
        return Err(path_error(format!(
            "the directory is not at or below one of storage.allowed_roots ({})",
            roots.join(", ")
        )));
    }
    let owner = resolve_owner(user, &settings.state.dir)?;
    let prober = Prober::new(ProbeOptions {
        allowed_roots: roots.clone(),
        allow_root_disk: settings.storage.allow_root_disk,
        node_id: INIT_NODE_ID,
    });
    let marker = MarkerId::from_u128(u128::from_be_bytes(SystemRandom::default().bytes16()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let deadline = Instant::now() + INIT_TIMEOUT;
        let now = SystemClock.now();
        prober.init_directory(&mut WorkerSlot::new(), &dir, marker, now, owner, deadline).await
    });
    result.map_err(InitError::Fault)
}

/// Returns the owner for the created files: the requested user, else the owner of the state
/// directory, else the packaged user. Returns `None` if the process is not root, because it cannot
/// change an owner then.
fn resolve_owner(
    user: Option<&str>,
    state_dir: &Path,
) -> Result<Option<DirectoryOwner>, InitError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    if user.is_none()
        && let Ok(metadata) = nix::sys::stat::stat(state_dir)
    {
        return Ok(Some(DirectoryOwner { uid: metadata.st_uid, gid: metadata.st_gid }));
    }
    let name = user.unwrap_or(DEFAULT_USER);
    match User::from_name(name) {
        Ok(Some(user)) => {
            Ok(Some(DirectoryOwner { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        }
        Ok(None) => Err(InitError::NoUser(name.to_owned())),
        Err(error) => Err(InitError::Lookup(name.to_owned(), error)),
    }
}

fn to_json(path: &str, inspection: &DirectoryInspection) -> serde_json::Value {
    let DirectoryInspection { marker, capacity, place, .. } = inspection;
    json!(InitResponse::new(path, *marker, *capacity, place))
}

fn to_text(path: &str, inspection: &DirectoryInspection) -> String {
    let size = |bytes| bytesize::ByteSize(bytes).display().iec().to_string();
    format!(
        "{} is marked as an image store\n  filesystem  {} on {}, mounted at {}\n  \
         space       {} of {} available\n",
        mask_hidden(path),
        inspection.place.fs_type,
        inspection.place.device,
        mask_hidden(&inspection.place.mount_point),
        size(inspection.capacity.available()),
        size(inspection.capacity.total()),
    )
}
