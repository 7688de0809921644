//! Status is health, state is the administrator's switch; the two are never swapped.

use crate::common::string_enum;

string_enum! {
    /// A store's health (`BackupStorageStatus`).
    pub Status {
        /// An attempt is running.
        Connecting = "Connecting",
        /// The last attempt succeeded and no fault has been decided since.
        Connected = "Connected",
        /// An attempt failed or a fault was decided.
        Disconnected = "Disconnected",
    }
}

string_enum! {
    /// The administrator's switch (`BackupStorageState`). It stops neither probing nor reconnects.
    pub State {
        /// New images may be placed here.
        Enabled = "Enabled",
        /// No new images.
        Disabled = "Disabled",
    }
}
