//! Floor 2. What the operator decided, valid by construction.
//!
//! Promises: a [`Settings`] value has passed every range and cross check; a file that has not is
//! answered with every fault it has, each with key, value and allowed range.
//! Never: lets an unknown key pass, opens a path of a store.

mod sections;

pub use sections::{
    Api, Auth, Callback, CallbackFormat, HostKeyPolicy, Monitor, ReplyMode, Server, Settings, Ssh,
    State, Storage, Tls,
};
