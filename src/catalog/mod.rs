//! Layer 2. The catalog: the texts of every reason, remedy, condition, check, exit code, error
//! code, message, runbook and other word of the output, in English and in Chinese, in one place.
//!
//! # Guarantees
//!
//! - A text that is missing in one language does not compile.
//! - The commands, settings and paths in a text are the same in both languages.
//!
//! # Never
//!
//! - It never decides anything.

mod advice;
mod conditions;
mod doctor_check;
mod error_code;
mod exit_code;
mod guidance;
mod language;
mod messages;
mod phrases;
mod reasons;
mod remedies;
mod runbook;
mod text;
mod topic;

pub use advice::Advice;
pub use conditions::condition_guidance;
pub use doctor_check::{CheckCase, DoctorCheck};
pub use error_code::ZstackCode;
pub use exit_code::ExitCause;
pub use guidance::Guidance;
pub use language::Language;
pub use messages::{KNOWN_MESSAGES, KnownMessage, find_messages};
pub use phrases::{
    FINDING_LABELS, FindingLabels, Observation, ROUND_LABELS, RoundLabels, SUMMARY_LABELS,
    SummaryLabels, annotated_phrase, duration_phrase, forecast_phrase, last_known_phrase,
    status_phrase, total_phrase, unchecked_phrase, unmade_phrase,
};
pub use reasons::reason_guidance;
pub use remedies::{fault_action, fault_commands, remedy_text, short_fault_action};
pub use runbook::{Runbook, RunbookText};
pub use text::{PROGRAMS, Text};
pub use topic::{Term, TermKind, Topic, closest_words, find_topics};
