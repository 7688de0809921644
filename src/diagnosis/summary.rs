//! The summary of a finding: its observations, in any language.

use crate::catalog::{
    Language, Observation, SUMMARY_LABELS, annotated_phrase, condition_guidance, reason_guidance,
};
use crate::model::{Condition, Fault, Reason};

/// The observations of a finding, as one text in the language of its reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    is_last_known: bool,
    main: ObservedText,
    note: Option<SummaryNote>,
    /// Other observations of the same check.
    others: Vec<Summary>,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ObservedText {
    /// A sentence of the catalog.
    Typed(Observation),
    /// The English observation of a fault.
    OfFault(Reason, String),
    /// The English observation of a condition.
    OfCondition(Condition, String),
    /// The words of a program or of a peer.
    Quoted(String),
}

impl Default for ObservedText {
    fn default() -> Self {
        Self::Quoted(String::new())
    }
}

/// A note after the observation of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SummaryNote {
    /// The check is good by now.
    GoodAgain,
    /// The fault has not disconnected the store.
    StaysConnected,
}

impl Summary {
    /// Creates a summary of words that have no translation.
    pub fn quoted(text: impl Into<String>) -> Self {
        ObservedText::Quoted(text.into()).into()
    }

    /// Creates the summary of an English observation with this reason.
    pub fn of_reason(reason: Reason, details: impl Into<String>) -> Self {
        ObservedText::OfFault(reason, details.into()).into()
    }

    /// Creates the summary of a fault.
    pub(super) fn of_fault(fault: &Fault) -> Self {
        Self::of_reason(fault.reason(), fault.details())
    }

    /// Creates the summary of the observation behind a condition.
    pub(super) fn of_condition(condition: Condition, message: &str) -> Self {
        ObservedText::OfCondition(condition, message.to_owned()).into()
    }

    /// Marks the observation as one from the ledger, which is unchecked since the daemon ended.
    pub(super) fn mark_last_known(&mut self) {
        self.is_last_known = true;
    }

    /// Adds a note after the observation.
    pub(super) fn add_note(&mut self, note: SummaryNote) {
        self.note = Some(note);
    }

    /// Adds the observation of another finding, unless it is the same.
    pub(super) fn add_other(&mut self, other: Self) {
        let is_empty = other.main == ObservedText::default();
        if !is_empty && other != *self {
            self.others.push(other);
        }
    }

    /// Returns the summary in a language.
    pub fn text(&self, language: Language) -> String {
        let labels = SUMMARY_LABELS;
        let mut text = String::new();
        if self.is_last_known {
            text.push_str(labels.last_known.marked(language));
        }
        match &self.main {
            ObservedText::Typed(observation) => text.push_str(&observation.phrase(language)),
            ObservedText::OfFault(reason, details) => {
                let meaning = reason_guidance(*reason).meaning;
                text.push_str(&annotated_phrase(meaning, details, language));
            }
            ObservedText::OfCondition(condition, message) => {
                let meaning = condition_guidance(*condition).meaning;
                text.push_str(&annotated_phrase(meaning, message, language));
            }
            ObservedText::Quoted(words) => text.push_str(words),
        }
        text.push_str(match self.note {
            Some(SummaryNote::GoodAgain) => labels.good_again.marked(language),
            Some(SummaryNote::StaysConnected) => labels.stays_connected.marked(language),
            None => "",
        });
        for other in &self.others {
            text.push_str(labels.also.marked(language));
            text.push_str(&other.text(language));
        }
        text
    }
}

impl From<ObservedText> for Summary {
    fn from(main: ObservedText) -> Self {
        Self { main, ..Self::default() }
    }
}

impl From<Observation> for Summary {
    fn from(observation: Observation) -> Self {
        ObservedText::Typed(observation).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_its_observations_in_the_language_of_its_reader() {
        let mut summary = Summary::of_reason(Reason::NotMounted, "/data is not mounted");
        summary.add_note(SummaryNote::GoodAgain);
        summary.mark_last_known();
        summary.add_other(Observation::ProbeGood.into());
        summary.add_other(Summary::default());
        assert_eq!(
            summary.text(Language::English),
            "last known: /data is not mounted; the check is good again; also: the probe is good"
        );
        let meaning = reason_guidance(Reason::NotMounted).meaning.zh.trim_end_matches('。');
        assert_eq!(
            summary.text(Language::Chinese),
            format!(
                "最后已知：{meaning}（/data is not mounted）；该检查已恢复正常；另外：探测正常"
            )
        );
        let mut full = Summary::of_condition(Condition::Full, "0 of 9 bytes available");
        full.add_other(full.clone());
        full.add_note(SummaryNote::StaysConnected);
        let chinese = full.text(Language::Chinese);
        assert_eq!(
            chinese,
            "已没有空间保存镜像（0 of 9 bytes available）（再次出现之前，镜像服务器保持连接）"
        );
        assert_eq!(Summary::quoted("HTTP 502").text(Language::Chinese), "HTTP 502");
    }
}
