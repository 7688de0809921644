//! The action that helps with a fault.

use std::borrow::Cow;

use super::{Language, reason_guidance};
use crate::model::Fault;

/// Returns the action that helps with a fault: its own, or the general one of its reason.
pub fn fault_action(fault: &Fault, language: Language) -> Cow<'_, str> {
    match fault.custom_remedy() {
        Some(remedy) => Cow::Borrowed(remedy),
        None => reason_guidance(fault.reason()).action.plain(language),
    }
}

/// Returns the action without the explanation of a general one. An action of this fault is not cut:
/// it may need a condition before its action, and `: ` between the two.
pub fn short_fault_action(fault: &Fault, language: Language) -> Cow<'_, str> {
    match fault.custom_remedy() {
        Some(remedy) => Cow::Borrowed(remedy),
        None => reason_guidance(fault.reason()).short_action(language),
    }
}
