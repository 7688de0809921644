//! Floor 2. Every JSON shape and header name of the outside.
//!
//! Promises: names on the wire are ZStack's; what is read is valid or named as a fault with its JSON
//! path.
//! Never: decides anything, does I/O, shows a secret.

mod error;
mod event;
mod inventory;

pub use error::ErrorCode;
pub use event::{Event, EventFormat};
pub use inventory::{InventoryBody, zstack_date};
