//! Events of stores: the notices to the management node, and the positions in the history.

mod history;
mod notice;

pub use history::{EventCursor, EventGap, EventKind, GapCause, InvalidCursor};
pub use notice::{Epoch, Notice, NoticeKind, Position, Seq};
