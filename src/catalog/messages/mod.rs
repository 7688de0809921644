//! ZStack's own messages about image stores, in its English and Chinese words, each with the
//! reasons that are behind it.

mod matching;
mod table;

pub(super) use matching::contains_sentence;
pub use matching::find_messages;
pub use table::{KNOWN_MESSAGES, KnownMessage};
