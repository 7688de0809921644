//! Events of a store, as they are delivered.

mod notice;

pub use notice::{Epoch, Notice, NoticeKind, Position, Seq};
