//! Status and state of a store. Status is health, and state is the administrator's switch.

use crate::common::string_enum;

string_enum! {
    /// A store's health (`BackupStorageStatus`).
    pub Status {
        /// An attempt is running.
        Connecting = "Connecting",
        /// The last attempt succeeded and no fault has disconnected the store since.
        Connected = "Connected",
        /// An attempt failed, or a fault disconnected the store.
        Disconnected = "Disconnected",
    }
}

string_enum! {
    /// The administrator's switch (`BackupStorageState`). It stops neither probes nor reconnects.
    pub State {
        /// New images may be placed here.
        Enabled = "Enabled",
        /// No new images may be placed here.
        Disabled = "Disabled",
    }
}
