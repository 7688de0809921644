//! The words that a server said to the user during a login: banners, and the names, instructions
//! and prompts of keyboard-interactive. They tell why an account is refused, so a failed login
//! shows them.
//!
//! # Never
//! - A quoted text never contains the password, even if the server repeats it.

use std::collections::VecDeque;

use russh::client::Prompt;

use crate::common::MAX_QUOTED;
use crate::model::{Fault, Secret};
use crate::ssh::mask::quote_masked;

/// Maximum number of prompts in a fault. A password and a code are two.
const MAX_PROMPTS: usize = 4;

/// The words of the server in one login.
#[derive(Debug)]
pub(super) struct ServerWords<'a> {
    password: Option<&'a Secret>,
    /// The last texts, at most [`MAX_QUOTED`] characters together.
    texts: VecDeque<String>,
    asked: VecDeque<String>,
}

impl<'a> ServerWords<'a> {
    pub(super) fn new(password: Option<&'a Secret>) -> Self {
        Self { password, texts: VecDeque::new(), asked: VecDeque::new() }
    }

    /// Returns the text as one line that is safe to display.
    pub(super) fn quote(&self, text: &str) -> String {
        quote_masked(text, self.password)
    }

    /// Returns the last of several texts as one line.
    pub(super) fn quote_all(&self, texts: &[String]) -> String {
        let mut words = Self::new(self.password);
        words.record_texts(texts);
        words.joined_texts()
    }

    /// Records several texts.
    pub(super) fn record_texts(&mut self, texts: &[String]) {
        for text in texts {
            self.record_text(text);
        }
    }

    /// Records a text and returns it quoted. The last texts explain a rejection best, so the oldest
    /// ones are dropped.
    pub(super) fn record_text(&mut self, text: &str) -> String {
        let text = self.quote(text);
        if !text.is_empty() && self.texts.back() != Some(&text) {
            self.texts.push_back(text.clone());
            let length = |texts: &VecDeque<String>| -> usize {
                texts.iter().map(|text| text.chars().count() + 1).sum()
            };
            while self.texts.len() > 1 && length(&self.texts) > MAX_QUOTED {
                self.texts.pop_front();
            }
        }
        text
    }

    /// Records the prompts of a round and returns them quoted. sshd puts the messages of PAM before
    /// the prompt itself, on lines of their own.
    pub(super) fn record_prompts(&mut self, prompts: &[Prompt]) -> Vec<String> {
        for prompt in prompts.iter().take(MAX_PROMPTS) {
            if let Some((message, _)) = prompt.prompt.trim_end().rsplit_once('\n') {
                self.record_text(message);
            }
        }
        let texts: Vec<String> =
            prompts.iter().take(MAX_PROMPTS).map(|prompt| self.quote(&prompt.prompt)).collect();
        self.asked.extend(texts.iter().cloned());
        while self.asked.len() > MAX_PROMPTS {
            self.asked.pop_front();
        }
        texts
    }

    /// Returns the texts in order, as one line.
    pub(super) fn joined_texts(&self) -> String {
        self.texts.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Adds the words to a fault as the facts `told` and `asked`.
    pub(super) fn add_to(&self, fault: Fault) -> Fault {
        let texts = self.joined_texts();
        let fault = if texts.is_empty() { fault } else { fault.default_fact("told", texts) };
        if self.asked.is_empty() {
            return fault;
        }
        fault.default_fact("asked", self.asked.iter().cloned().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    fn prompt(text: &str) -> Prompt {
        Prompt { prompt: text.into(), echo: false }
    }

    #[test]
    fn the_last_words_stay_and_the_password_does_not() {
        let password = Secret::new("hunter2 \u{e4}".into());
        let mut words = ServerWords::new(Some(&password));
        assert_eq!(words.joined_texts(), "");
        words.record_text(&"legal notice ".repeat(99));
        words.record_text("hunter2 \u{e4} ist falsch\r\n");
        assert_eq!(words.joined_texts(), "*** ist falsch");
        words.record_text("Konto gesperrt");
        words.record_text("Konto gesperrt");
        words.record_text("  ");
        assert_eq!(words.joined_texts(), "*** ist falsch Konto gesperrt");
        assert_eq!(
            words.record_prompts(&[prompt("Code f\u{fc}r hunter2 \u{e4}:")]),
            ["Code f\u{fc}r ***:"]
        );
    }

    #[test]
    fn hidden_characters_do_not_unmask_the_password() {
        let password = Secret::new("hunter2".into());
        let words = ServerWords::new(Some(&password));
        for text in ["no hunter2", "no hun\u{200b}ter2", "no \u{202e}h\u{2060}unter\u{feff}2"] {
            assert_eq!(words.quote(text), "no ***", "{text:?}");
        }
        let split = format!("{}hun\u{200b}ter2", "x".repeat(MAX_QUOTED - 4));
        assert!(!words.quote(&split).contains("hunt"), "{}", words.quote(&split));
    }

    #[test]
    fn the_lines_before_a_prompt_are_a_message() {
        let mut words = ServerWords::new(None);
        words.record_prompts(&[prompt("Konto gesperrt\r\nnoch 10 Minuten\nKennwort: ")]);
        assert_eq!(words.joined_texts(), "Konto gesperrt noch 10 Minuten");
        words.record_prompts(&[prompt("Password: \n")]);
        assert_eq!(words.joined_texts(), "Konto gesperrt noch 10 Minuten");
    }

    #[test]
    fn the_words_of_endless_rounds_are_bounded() {
        let mut words = ServerWords::new(None);
        for round in 0..1000 {
            words.record_text(&format!("round {round} {}", "x".repeat(150)));
            words.record_prompts(&[prompt(&"y".repeat(1000)), prompt("z")]);
        }
        let fault = words.add_to(Fault::new(Reason::CredentialsRefused, "x"));
        let crate::model::Fact::List(asked) = &fault.facts()["asked"] else { panic!("no list") };
        assert_eq!(asked.len(), MAX_PROMPTS);
        assert!(
            words.joined_texts().starts_with("round 999")
                && words.joined_texts().len() <= MAX_QUOTED
        );
        assert!(asked.iter().all(|text| text.len() <= MAX_QUOTED + 3));
    }
}
