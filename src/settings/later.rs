//! Settings that are accepted and checked but have no effect yet.
//!
//! `serve` warns of them at start and `check-config` reports them, because a setting without any
//! effect is a trap. The change that implements a key removes it from this list.

use super::sections::{ReplyMode, Settings};

impl Settings {
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
    use super::*;

    #[test]
    fn the_defaults_promise_nothing_that_has_no_effect() {
        assert_eq!(Settings::built_in().not_yet(), Vec::<&str>::new());
    }

    #[test]
    fn what_has_no_effect_yet_is_named() {
        let mut settings = Settings::built_in();
        settings.api.reply = ReplyMode::Async;
        settings.server.open_metrics = true;
        assert_eq!(settings.not_yet(), ["server.open_metrics", "api.reply"]);
    }
}
