//! The facts of a round of `doctor` that only its report needs.

use crate::app::doctor::state_files::StateView;
use crate::cli::DaemonAddress;
use crate::settings::Settings;

/// The facts of a round that only a report needs.
#[derive(Debug)]
pub(in crate::app::doctor) struct Background {
    /// The settings, or `None` if they are invalid.
    pub(in crate::app::doctor) settings: Option<Settings>,
    /// The address of the daemon.
    pub(in crate::app::doctor) daemon: DaemonAddress,
    /// The prefix of the paths of its questions.
    pub(in crate::app::doctor) prefix: String,
    /// True if the daemon is on this host, as far as is known.
    pub(in crate::app::doctor) is_local: bool,
    /// The state directory, if it was looked at.
    pub(in crate::app::doctor) state: Option<StateView>,
    /// True if the daemon answers.
    pub(in crate::app::doctor) is_answered: bool,
    /// The version of the daemon.
    pub(in crate::app::doctor) daemon_version: Option<String>,
}
