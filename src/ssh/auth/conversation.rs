//! The conversation of keyboard-interactive (RFC 4256): answers the prompt for the password, and
//! says why any other prompt ends the login.
//!
//! # Never
//! - The password never answers a prompt whose answer is shown, and never a second prompt.

use russh::client::{KeyboardInteractiveAuthResponse as Reply, Prompt};

use crate::model::{Fault, Reason, Remedy, Secret};

use super::server_words::ServerWords;
use super::{AuthMaterial, MethodOutcome, connection_lost};
use crate::ssh::session::SshSession;

/// Maximum number of rounds that are answered. PAM sends one round with a prompt and then one
/// without.
const MAX_PROMPT_ROUNDS: usize = 8;

/// Answers the server's prompts. The password answers one hidden prompt. A round without prompts
/// gets an empty answer. Any other prompt needs a user, so the login fails.
pub(super) async fn try_keyboard_interactive(
    session: &mut SshSession,
    material: &AuthMaterial<'_>,
    password: &Secret,
    words: &mut ServerWords<'_>,
) -> Result<MethodOutcome, Fault> {
    let mut answered_prompt: Option<String> = None;
    let mut reply =
        session.handle.authenticate_keyboard_interactive_start(material.username, None).await;
    // The texts of the server since the password. They refer to it.
    let mut text_since_answer = String::new();
    for round in 0.. {
        let prompts = match reply {
            Ok(Reply::Success) => return Ok(MethodOutcome::Accepted),
            Ok(Reply::Failure { remaining_methods: offered, partial_success }) => {
                return Ok(MethodOutcome::Rejected { offered, partial_success });
            }
            Ok(Reply::InfoRequest { name, instructions, prompts }) => {
                for text in [name, instructions] {
                    text_since_answer.push_str(&words.record_text(&text));
                    text_since_answer.push('\n');
                }
                prompts
            }
            Err(_) => return Err(connection_lost(session, material, words).await),
        };
        if round == MAX_PROMPT_ROUNDS {
            break;
        }
        let prompt_texts = words.record_prompts(&prompts);
        let answers = match prompts.as_slice() {
            [] => Vec::new(),
            [hidden] if !hidden.echo && answered_prompt.is_none() => {
                answered_prompt = Some(hidden.prompt.clone());
                text_since_answer.clear();
                vec![password.expose_secret().to_owned()]
            }
            other_prompts => {
                session.skip_disconnect();
                let reason = unanswerable_reason(
                    &text_since_answer,
                    &prompt_texts,
                    other_prompts,
                    answered_prompt.as_deref(),
                );
                let fault = unanswerable_fault(material.username, reason, &words.joined_texts());
                let fault = fault.with_detail("asked", prompt_texts);
                return Err(after_password(fault, answered_prompt.is_some()));
            }
        };
        reply = session.handle.authenticate_keyboard_interactive_respond(answers).await;
    }
    session.skip_disconnect();
    let details = format!(
        "the server sent more than {MAX_PROMPT_ROUNDS} rounds of prompts to {}, the maximum that \
         the daemon answers",
        material.username
    );
    let fault =
        Fault::new(Reason::SecondFactorMissing, details).with_detail("rounds", MAX_PROMPT_ROUNDS);
    Err(after_password(fault, answered_prompt.is_some()))
}

/// Records that the server may have rejected the password, if it received one. A server may ask for
/// a second factor also after a wrong password.
fn after_password(fault: Fault, is_password_sent: bool) -> Fault {
    if is_password_sent { fault.with_possible_rejection() } else { fault }
}

/// Reason why prompts cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnanswerablePrompts {
    /// The same prompt again: the password was wrong.
    WrongPassword,
    /// A prompt for a new password: the password has expired.
    ExpiredPassword,
    /// Any other prompt: the password alone is not sufficient.
    SecondFactor,
}

fn unanswerable_reason(
    text_since_answer: &str,
    prompt_texts: &[String],
    prompts: &[Prompt],
    answered_prompt: Option<&str>,
) -> UnanswerablePrompts {
    match (prompts, answered_prompt) {
        ([prompt], Some(answered)) if is_same_prompt(&prompt.prompt, answered) => {
            UnanswerablePrompts::WrongPassword
        }
        (_, Some(_)) if requires_new_password(text_since_answer, prompt_texts) => {
            UnanswerablePrompts::ExpiredPassword
        }
        _ => UnanswerablePrompts::SecondFactor,
    }
}

/// Returns true if both prompts ask for the same thing. A server may put a message or the number of
/// the attempt into the second one.
fn is_same_prompt(prompt: &str, answered: &str) -> bool {
    let words = |prompt: &str| -> String {
        let question = prompt.trim_end().lines().last().unwrap_or_default();
        question.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
    };
    let (words, answered_words) = (words(prompt), words(answered));
    prompt == answered || (!words.is_empty() && words == answered_words)
}

fn unanswerable_fault(username: &str, reason: UnanswerablePrompts, texts: &str) -> Fault {
    let quoted = if texts.is_empty() { String::new() } else { format!(": \"{texts}\"") };
    match reason {
        UnanswerablePrompts::WrongPassword => Fault::new(
            Reason::CredentialsRefused,
            format!("the server rejected the login of {username}{quoted}"),
        ),
        UnanswerablePrompts::ExpiredPassword => {
            let details =
                format!("the server accepts {username}'s password but requires a new one first");
            Fault::new(Reason::CredentialsRefused, details)
                .with_remedy(Remedy::ChangeExpiredPassword)
        }
        UnanswerablePrompts::SecondFactor => {
            let details = format!("the server asks {username} for more than the password");
            Fault::new(Reason::SecondFactorMissing, details)
        }
    }
}

/// Returns true if a text or a prompt requires a new password, in the words of pam_unix(8) and
/// similar modules.
fn requires_new_password(server_text: &str, prompt_texts: &[String]) -> bool {
    const EXPIRED_PASSWORD_TEXTS: [&str; 4] =
        ["change your password", "password has expired", "password expired", "changing password"];
    const NEW_PASSWORD_PROMPTS: [&str; 3] =
        ["new password", "current password", "current unix password"];
    let contains_any = |text: &str, words: &[&str]| {
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    contains_any(server_text, &EXPIRED_PASSWORD_TEXTS)
        || prompt_texts.iter().any(|prompt| contains_any(prompt, &NEW_PASSWORD_PROMPTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};

    use UnanswerablePrompts::{ExpiredPassword, SecondFactor, WrongPassword};

    fn reason(
        text_since_answer: &str,
        prompts: &[&str],
        answered: Option<&str>,
    ) -> UnanswerablePrompts {
        let texts: Vec<String> = prompts.iter().map(|&text| text.to_owned()).collect();
        let prompts: Vec<Prompt> =
            texts.iter().map(|text| Prompt { prompt: text.clone(), echo: false }).collect();
        unanswerable_reason(text_since_answer, &texts, &prompts, answered)
    }

    #[test]
    fn a_repeated_prompt_is_a_rejection_and_another_one_a_second_factor() {
        let answered = Some("Password: ");
        for (text, prompts, answered, expected) in [
            ("", &["Password: "][..], answered, WrongPassword),
            ("", &["Sorry, try again.\r\npassword: "], answered, WrongPassword),
            ("", &["Password (2/3): "], answered, WrongPassword),
            ("", &["\u{5bc6}\u{7801}: "], Some("\u{5bc6}\u{7801}(1):"), WrongPassword),
            ("", &["Code: "], answered, SecondFactor),
            ("", &["2: "], Some("1: "), SecondFactor),
            ("", &["a", "b"], None, SecondFactor),
            (
                "You are required to change your password immediately",
                &["Code: "],
                answered,
                ExpiredPassword,
            ),
            ("", &["Current password: "], answered, ExpiredPassword),
            ("", &["New password: "], answered, ExpiredPassword),
            // Asked before anything was given, it is a question like others.
            ("", &["New password: ", "Again: "], None, SecondFactor),
        ] {
            assert_eq!(reason(text, prompts, answered), expected, "{text} {prompts:?}");
        }
    }

    #[test]
    fn each_reason_has_its_fault() {
        let fault = |reason| unanswerable_fault("u", reason, "Konto gesperrt");
        let expired = fault(ExpiredPassword);
        assert_eq!(expired.reason(), Reason::CredentialsRefused);
        assert!(
            fault_action(&expired, Language::English).starts_with("change the user's password"),
            "{expired:?}"
        );
        assert!(fault(WrongPassword).details().contains("Konto gesperrt"));
        assert_eq!(fault(SecondFactor).reason(), Reason::SecondFactorMissing);
    }
}
