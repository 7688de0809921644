//! What a caller may do.

use crate::common::string_enum;

string_enum! {
    /// What a caller may do; each role includes those before it. The text is the word in the tokens file.
    pub(crate) Role {
        /// Look.
        Read = "read",
        /// Add, reconnect, update and remove stores.
        Operate = "operate",
        /// Accept host keys and take stores over.
        Admin = "admin",
    }
}
