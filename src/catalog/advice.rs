//! The two texts of a word that is no problem of a store.

use super::Text;

/// The texts of an exit code or an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// One or two sentences.
    pub meaning: Text,
    /// The action that helps.
    pub action: Text,
}

#[cfg(test)]
mod tests {
    use crate::catalog::text::tests::assert_text;
    use crate::catalog::{ExitCause, Runbook, ZstackCode};

    #[test]
    fn every_code_and_runbook_has_its_texts_in_both_languages() {
        let exits = ExitCause::ALL.iter().map(|it| (it.as_str(), it.advice()));
        let codes = ZstackCode::ALL.iter().map(|it| (it.as_str(), it.advice()));
        for (word, advice) in exits.chain(codes) {
            assert_text(word, advice.meaning);
            assert_text(word, advice.action);
            assert!(
                advice.meaning.en.ends_with('.') && advice.meaning.zh.ends_with('。'),
                "{word}"
            );
            assert!(
                !advice.action.en.ends_with('.') && !advice.action.zh.ends_with('。'),
                "{word}"
            );
        }
        for runbook in Runbook::ALL {
            let text = runbook.text();
            assert_text(runbook.as_str(), text.title);
            assert_text(runbook.as_str(), text.situation);
            assert!(text.steps.len() > 2, "{runbook}");
            for step in text.steps {
                assert_text(runbook.as_str(), *step);
            }
        }
    }
}
