//! Layer 4. The redaction of a report that leaves the node: it decides which parts of a document
//! may be shown.
//!
//! # Guarantees
//!
//! - Everything that is shown is on a list: a field and an option of a mount by their names, a
//!   setting by its place, and a text by its words. A new field is hidden until it is on a list.
//! - A text is shown if it consists of the words of this program, of numbers, and of names that the
//!   report shows anyway, such as those of the stores. Any other part, and everything in quotes, is
//!   replaced by its length and a short keyed hash, such as `<12:1a2b3c4d>`.
//! - Equal texts have equal hashes within one report. The key is random for each report and is not
//!   part of it, so that a hash cannot be compared with that of a guess.
//!
//! # Never
//!
//! - It never shows a secret that it knows: it has none.
//! - It never reads a file, a clock or the environment.

mod diagnosis;
mod fields;
mod history;
mod mount;
mod redactor;
mod settings;
#[cfg(test)]
mod tests;
mod words;

pub use diagnosis::{redact_diagnosis, redact_store};
pub use history::redact_event;
pub use mount::mounts_of;
pub use redactor::Redactor;
pub use settings::settings_values;
