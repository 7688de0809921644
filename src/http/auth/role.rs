//! The roles of callers.

use crate::common::string_enum;

string_enum! {
    /// The permissions of a caller. Each role includes those before it. The text is the word in the
    /// tokens file.
    pub(crate) Role {
        /// View the stores and their health.
        Read = "read",
        /// Add, reconnect, update and remove stores.
        Operate = "operate",
        /// Accept host keys and take stores over.
        Admin = "admin",
    }
}
