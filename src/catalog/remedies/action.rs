//! The action that helps with a fault.

use std::borrow::Cow;

use super::remedy_text;
use crate::catalog::{Language, reason_guidance};
use crate::model::{Fault, OwnRemedy, Remedy};

/// Returns the action that helps with a fault: its own, or the general one of its reason.
pub fn fault_action(fault: &Fault, language: Language) -> Cow<'_, str> {
    with_further(fault, own_action(fault, language), language)
}

/// Returns the action without the explanation of a general one. An action of this fault is not cut:
/// it may need a condition before its action, and `: ` between the two.
pub fn short_fault_action(fault: &Fault, language: Language) -> Cow<'_, str> {
    let has_own = fault.own_remedy().is_some() || fault.further_remedy().is_some();
    match has_own {
        true => fault_action(fault, language),
        false => reason_guidance(fault.reason()).short_action(language),
    }
}

/// Returns the commands in the action of a fault. They are the same in every language. A text that
/// another version has recorded has none, because it does not say where a command ends.
pub fn fault_commands(fault: &Fault) -> Vec<String> {
    let mut commands = match fault.own_remedy() {
        None => reason_guidance(fault.reason()).action.commands().map(str::to_owned).collect(),
        Some(OwnRemedy::Typed(remedy)) => remedy_commands(remedy),
        Some(OwnRemedy::Recorded(_)) => Vec::new(),
    };
    commands.extend(fault.further_remedy().into_iter().flat_map(remedy_commands));
    commands
}

fn own_action(fault: &Fault, language: Language) -> Cow<'_, str> {
    match fault.own_remedy() {
        None => reason_guidance(fault.reason()).action.plain(language),
        Some(OwnRemedy::Typed(remedy)) => remedy_action(remedy, language),
        Some(OwnRemedy::Recorded(text)) => Cow::Borrowed(text),
    }
}

fn with_further<'a>(fault: &Fault, own: Cow<'a, str>, language: Language) -> Cow<'a, str> {
    let Some(further) = fault.further_remedy() else { return own };
    let separator = match language {
        Language::English => "; ",
        Language::Chinese => "；",
    };
    Cow::Owned(format!("{own}{separator}{}", remedy_action(further, language)))
}

fn remedy_action(remedy: &Remedy, language: Language) -> Cow<'static, str> {
    remedy_text(remedy).filled(language, &remedy.operands())
}

fn remedy_commands(remedy: &Remedy) -> Vec<String> {
    remedy_text(remedy).filled_commands(&remedy.operands())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::text::spans;
    use crate::catalog::text::tests::{assert_text, names_in_braces};
    use crate::model::Reason;

    /// Returns every remedy, each operand a text that a shell needs quotes for.
    fn remedies() -> impl Iterator<Item = Remedy> {
        let operand = |name: &str| Some(format!("<{name}> x"));
        Remedy::WORDS.iter().map(move |word| Remedy::from_parts(word, operand).unwrap())
    }

    #[test]
    fn every_remedy_has_its_text_and_its_operands_in_both_languages() {
        for remedy in remedies() {
            let (word, text) = (remedy.word(), remedy_text(&remedy));
            assert_text(word, text);
            assert!(!text.en.ends_with('.') && !text.zh.ends_with('。'), "{word}");
            let operands: BTreeSet<&str> =
                remedy.operands().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names_in_braces(text.en), operands, "{word}");
            assert_eq!(names_in_braces(text.zh), operands, "{word}");
            let fault = Fault::new(Reason::IoError, "x").with_remedy(remedy.clone());
            let commands = fault_commands(&fault);
            assert_eq!(commands.len(), text.commands().count(), "{word}");
            for language in [Language::English, Language::Chinese] {
                let action = fault_action(&fault, language);
                assert_eq!(action, short_fault_action(&fault, language), "{word}");
                assert!(!action.contains(['`', '{', '}']), "{word}: {action}");
                for (_, operand) in remedy.operands() {
                    assert!(action.contains(operand), "{word}: {action}");
                }
                for command in &commands {
                    assert!(action.contains(command), "{word}: {command:?}: {action}");
                }
            }
            for span in spans(text.en) {
                assert!(names_in_braces(span).is_subset(&operands), "{word}: {span}");
            }
        }
    }

    #[test]
    fn a_further_remedy_follows_the_own_or_the_general_one() {
        let plain = Fault::new(Reason::CredentialsRefused, "x");
        let own = plain.clone().with_remedy(Remedy::CheckAccountRules);
        let recorded = plain.clone().with_recorded_remedy("do it");
        let update = "imagestore-agent update STORE";
        for (fault, commands) in [(plain, vec![update]), (own, vec![]), (recorded, vec![])] {
            let longer = fault.clone().with_further_remedy(Remedy::RetryWithForce);
            for (language, separator) in [(Language::English, "; "), (Language::Chinese, "；")] {
                let further = remedy_action(&Remedy::RetryWithForce, language);
                let expected = format!("{}{separator}{further}", fault_action(&fault, language));
                assert_eq!(fault_action(&longer, language), expected);
                assert_eq!(short_fault_action(&longer, language), expected);
            }
            assert_eq!(fault_commands(&longer), commands);
        }
        let listed = Fault::new(Reason::PermissionDenied, "x")
            .with_remedy(Remedy::InitDirectory { dir: "/a".to_owned(), uid: "7".to_owned() })
            .with_further_remedy(Remedy::ListAttributes { path: "/a b".to_owned() });
        assert_eq!(fault_commands(&listed), ["imagestore-agent init /a", "lsattr -d '/a b'"]);
    }
}
