//! Settings that are accepted and checked but have no effect yet, and settings that are doubtful
//! together.
//!
//! `serve` warns of them at start and `check-config` reports them, because a setting without the
//! expected effect is a trap. The change that implements a key removes it from this list.

use super::error::SettingFault;
use super::sections::{ReplyMode, Settings, SshSettings};

impl Settings {
    /// Returns the settings that are valid together, and that do not do what an operator is likely
    /// to expect.
    pub fn doubts(&self) -> Vec<SettingFault> {
        let SshSettings {
            resolve_timeout, connect_timeout, handshake_timeout, auth_timeout, ..
        } = self.ssh;
        let phases = resolve_timeout + connect_timeout + handshake_timeout + auth_timeout;
        let deadline = self.monitor.attempt_deadline;
        let doubt = SettingFault {
            key: "monitor.attempt_deadline".to_owned(),
            value: Some(format!("{deadline:?}")),
            problem: format!(
                "less than {phases:?}, the sum of the timeouts of [ssh]: an attempt ends before a \
                 login that uses its timeouts"
            ),
            allowed: Some(format!("{phases:?} or more, or shorter timeouts")),
            origin: None,
        };
        (deadline < phases).then_some(doubt).into_iter().collect()
    }

    /// Returns the keys whose value has no effect yet, in the order of `config/agent.toml`.
    pub fn not_yet(&self) -> Vec<&'static str> {
        let server = &self.server;
        [
            ("server.open_metrics", server.open_metrics),
            ("api.reply", self.api.reply != ReplyMode::Sync),
        ]
        .into_iter()
        .filter_map(|(key, idle)| idle.then_some(key))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_promise_nothing_that_has_no_effect() {
        assert_eq!(Settings::built_in().not_yet(), Vec::<&str>::new());
    }

    #[test]
    fn an_attempt_deadline_below_the_sum_of_the_phases_is_doubtful() {
        let mut settings = Settings::built_in();
        assert_eq!(settings.doubts(), []);
        settings.monitor.attempt_deadline = Duration::from_millis(29_999);
        let [doubt] = &settings.doubts()[..] else { panic!("{:?}", settings.doubts()) };
        assert!(doubt.to_string().contains("less than 30s"), "{doubt}");
    }

    #[test]
    fn what_has_no_effect_yet_is_named() {
        let mut settings = Settings::built_in();
        settings.api.reply = ReplyMode::Async;
        settings.server.open_metrics = true;
        assert_eq!(settings.not_yet(), ["server.open_metrics", "api.reply"]);
    }
}
