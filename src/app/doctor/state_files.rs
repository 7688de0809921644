//! The state directory, as a process of its own sees it, and the copy of the ledger.
#![expect(clippy::disallowed_methods, reason = "the folder of the copy, and no image directory")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::child::{ChildError, run_worker};
use super::path_worker::create_temporary_folder;
use super::state_report::{CopyState, KeyState, LockState, StateReport, StateRequest};
use crate::common::SystemUser;
use crate::diagnosis::{KeyFact, StateDirFacts, StateDirProblem, StateDiskFact};
use crate::model::{InodeCounts, NodeId, Reason};
use crate::settings::StateSettings;

/// The word that makes this program the worker. It is not a command for users.
pub const STATE_WORKER: &str = "state-worker";
/// Maximum time for the look at the state directory, with the copy of the ledger. The copy of
/// 256 MiB takes about a second on a local disk.
const STATE_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum time to create or to remove the folder of the copy.
const FOLDER_TIMEOUT: Duration = Duration::from_secs(5);

/// A private folder that is removed at the end.
#[derive(Debug)]
pub(super) struct CopyFolder(PathBuf);

impl CopyFolder {
    /// Creates the folder. There is none if its disk denies it or hangs.
    async fn create() -> Option<Self> {
        create_temporary_folder(FOLDER_TIMEOUT).await.map(Self)
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CopyFolder {
    fn drop(&mut self) {
        let path = self.0.clone();
        let (done, ended) = mpsc::sync_channel(1);
        // A copy that cannot be removed is still private, and its disk does not hold this process.
        let remove = move || {
            let _ = std::fs::remove_dir_all(&path);
            let _ = done.send(());
        };
        match thread::Builder::new().spawn(remove) {
            Ok(_) => drop(ended.recv_timeout(FOLDER_TIMEOUT)),
            Err(_) => drop(std::fs::remove_dir_all(&self.0)),
        }
    }
}

/// The state directory as its process has seen it.
#[derive(Debug)]
pub(super) struct StateView {
    /// The report, or the reason why there is none.
    report: Result<StateReport, String>,
    is_key_configured: bool,
    /// The folder with the copy of the ledger.
    pub(super) copy: Option<CopyFolder>,
}

impl StateView {
    /// Looks at the state directory, and copies the ledger if no daemon uses it.
    pub(super) async fn look(state: &StateSettings) -> Self {
        let folder = CopyFolder::create().await;
        let request = StateRequest {
            dir: state.dir.clone(),
            key_file: state.master_key_file.clone(),
            trust_file_modes: state.trust_file_modes,
            copy_to: folder.as_ref().map(|folder| folder.path().to_owned()),
        };
        let report = ask_worker(&request).await;
        let is_copied = report.as_ref().is_ok_and(|report| report.ledger == CopyState::Copied);
        let copy = folder.filter(|_| is_copied);
        Self { report, is_key_configured: state.master_key_file.is_some(), copy }
    }

    /// Returns the reason why nothing is known about the directory.
    pub(super) fn problem(&self) -> Option<&str> {
        self.report.as_ref().err().map(String::as_str)
    }

    /// Returns the lock, or `None` if it is not known.
    pub(super) fn lock(&self) -> Option<&LockState> {
        self.report.as_ref().ok().map(|report| &report.lock)
    }

    /// Returns the process that holds the lock, if there is one.
    pub(super) fn daemon_pid(&self) -> Option<u32> {
        match self.lock() {
            Some(LockState::Held(pid)) => *pid,
            _ => None,
        }
    }

    /// Returns true if this process is neither root nor the daemon's user, and cannot tell what
    /// that user may do.
    pub(super) fn lacks_account(&self) -> bool {
        self.report.as_ref().is_ok_and(|report| !report.knows_access)
    }

    /// Returns true if the id of this installation is not known because only this process may not
    /// read it.
    pub(super) fn is_node_denied(&self) -> bool {
        let node = self.report.as_ref().map(|report| &report.node_id);
        node.is_ok_and(|node| node.as_ref().is_err_and(|problem| problem.is_denied))
    }

    /// Returns the id of this installation, or `None` before its first start or if it is not known.
    ///
    /// # Errors
    /// Returns the reason why the daemon cannot use the id.
    pub(super) fn node(&self) -> Result<Option<NodeId>, &str> {
        match self.report.as_ref().map(|report| &report.node_id) {
            Ok(Ok(id)) => Ok(id.as_ref().and_then(|id| id.parse().ok())),
            Ok(Err(problem)) if !problem.is_denied => Err(&problem.text),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Returns the daemon's user, if this process is root and the daemon is not.
    pub(super) fn daemon_user(&self) -> Option<SystemUser> {
        let (user, groups) = self.report.as_ref().ok()?.daemon.clone()?;
        Some(SystemUser { user, groups })
    }

    /// Returns what the ledger needs to be read, or `None` if it was copied or does not exist.
    pub(super) fn ledger_need(&self) -> Option<String> {
        match &self.report {
            Err(problem) => Some(format!("a look at state.dir: {problem}")),
            Ok(StateReport { ledger: CopyState::Skipped(_), knows_access: false, .. }) => {
                Some("root, or the daemon's user".to_owned())
            }
            Ok(StateReport { ledger: CopyState::Skipped(need), .. }) => Some(need.clone()),
            Ok(StateReport { ledger: CopyState::Copied | CopyState::Absent, .. }) => None,
        }
    }

    /// Returns the facts for the diagnosis. `has_secrets` is what the ledger says, if it was read.
    /// `answer` are the findings of the daemon, if it answers.
    pub(super) fn facts(
        &self,
        has_secrets: Option<bool>,
        answer: Option<&[Value]>,
    ) -> StateDirFacts {
        let locked_stores = answer.map(count_locked_stores);
        let report = match &self.report {
            Ok(report) => report,
            Err(problem) => {
                return StateDirFacts {
                    disk: Err(StateDirProblem::Trouble(problem.clone())),
                    knows_access: false,
                    write_problem: None,
                    key: KeyFact::Unreadable(problem.clone()),
                    has_secrets,
                    locked_stores,
                };
            }
        };
        let disk = report.disk.as_ref().map_err(Clone::clone).map(|disk| StateDiskFact {
            total: disk.total_bytes,
            available: disk.available_bytes,
            inodes: (disk.total_inodes > 0).then_some(InodeCounts {
                total: disk.total_inodes,
                available: disk.available_inodes,
            }),
        });
        let is_first_start = report.ledger == CopyState::Absent && report.node_id == Ok(None);
        StateDirFacts {
            disk,
            knows_access: report.knows_access,
            write_problem: report.write_problem.clone(),
            key: match &report.key {
                KeyState::Usable { opened } => KeyFact::Usable { opened: *opened },
                KeyState::Useless(problem) => KeyFact::Useless {
                    problem: problem.clone(),
                    is_configured: self.is_key_configured,
                },
                KeyState::Missing => KeyFact::Missing { is_configured: self.is_key_configured },
                KeyState::Unreadable(problem) => KeyFact::Unreadable(problem.clone()),
            },
            has_secrets: if is_first_start { Some(false) } else { has_secrets },
            locked_stores,
        }
    }
}

/// Returns the number of stores whose secret the daemon cannot open, as its findings say.
fn count_locked_stores(checks: &[Value]) -> usize {
    let word = Reason::SecretUnreadable.as_str();
    let is_locked = |check: &&Value| {
        check["reason"] == word
            || check["also"].as_array().is_some_and(|also| also.iter().any(|it| it == word))
    };
    let stores =
        checks.iter().filter(is_locked).filter_map(|it| it.pointer("/store/uuid")?.as_str());
    stores.collect::<BTreeSet<_>>().len()
}

async fn ask_worker(request: &StateRequest) -> Result<StateReport, String> {
    let dir = request.dir.display();
    let request = serde_json::to_string(request).map_err(|error| error.to_string())?;
    match run_worker(STATE_WORKER, request, STATE_TIMEOUT).await {
        Ok(output) => serde_json::from_str(&output.stdout).map_err(|_| {
            format!("the process that looks at {dir} ended early ({})", output.status)
        }),
        Err(ChildError::TimedOut) => Err(format!("the disk of {dir} does not respond")),
        Err(ChildError::NotStarted(error)) => Err(format!("a process of its own: {error}")),
    }
}
