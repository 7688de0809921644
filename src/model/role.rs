//! The roles of the callers of the API.

use crate::common::string_enum;

string_enum! {
    /// The permissions of a caller. Each role includes those before it. The text is the word in the
    /// files of callers and in the settings.
    pub Role {
        /// View the stores and their health.
        Read = "read",
        /// Add, reconnect, update and remove stores.
        Operate = "operate",
        /// Accept host keys and take stores over.
        Admin = "admin",
    }
}
