//! The three texts of a problem: its meaning, its impact, and the action that helps.

use std::borrow::Cow;

use super::text::unmark;
use super::{Language, Text};

/// The texts of a reason, a condition or another word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guidance {
    /// One sentence about the problem.
    pub meaning: Text,
    /// The effect on the images and on the management node.
    pub impact: Text,
    /// An action, which an explanation may follow after a colon.
    pub action: Text,
}

impl Guidance {
    /// Returns the action without its explanation and without backticks.
    pub fn short_action(&self, language: Language) -> Cow<'static, str> {
        let action = self.action.marked(language);
        let colon = match language {
            Language::English => ": ",
            Language::Chinese => "：",
        };
        unmark(action.split_once(colon).map_or(action, |(short, _)| short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::text::tests::assert_text;
    use crate::catalog::{CheckCase, DoctorCheck, condition_guidance, reason_guidance};
    use crate::model::{Condition, Reason};

    #[test]
    fn every_reason_condition_and_check_has_its_texts_in_both_languages() {
        let reasons = Reason::ALL.iter().map(|it| (it.as_str(), reason_guidance(*it)));
        let conditions = Condition::ALL.iter().map(|it| (it.as_str(), condition_guidance(*it)));
        let checks = DoctorCheck::ALL.iter().map(|it| (it.as_str(), it.guidance()));
        let cases = CheckCase::ALL.iter().map(|it| (it.as_str(), it.guidance()));
        for (word, guidance) in reasons.chain(conditions).chain(checks).chain(cases) {
            let Guidance { meaning, impact, action } = guidance;
            for text in [meaning, impact] {
                assert_text(word, text);
                assert!(text.en.ends_with('.') && text.zh.ends_with('。'), "{word}");
            }
            assert_text(word, action);
            assert!(!action.en.ends_with('.') && !action.zh.ends_with('。'), "{word}");
            // Both languages explain the action, or none does.
            assert_eq!(action.en.contains(": "), action.zh.contains('：'), "{word}");
            for (language, shortest) in [(Language::English, 10), (Language::Chinese, 4)] {
                let (plain, short) = (action.plain(language), guidance.short_action(language));
                assert!(plain.starts_with(short.as_ref()), "{word}: {short}");
                assert!(short.chars().count() >= shortest, "{word}: {short}");
                assert!(!short.ends_with([':', ',', ';', '，', '；']), "{word}: {short}");
                assert!(!plain.contains('`'), "{word}: {plain}");
            }
        }
        let english = |reason| reason_guidance(reason).short_action(Language::English);
        assert_eq!(english(Reason::WrongStore), "mount the right disk");
        assert_eq!(english(Reason::IoError), "check the kernel log (dmesg) and the disk");
    }
}
