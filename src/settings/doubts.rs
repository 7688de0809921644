//! Doubts about settings that are valid, and do not do what an operator is likely to expect.
//!
//! `serve` warns of them at start and `check-config` reports them, because a setting without the
//! expected effect is a trap.

use std::net::SocketAddr;

use super::error::SettingFault;
use super::own_address::{host_and_port, is_loopback};
use super::sections::{AuthSettings, Settings, SshSettings};
use crate::model::Role;

impl Settings {
    /// Returns the doubts about these settings. `addresses` are those that the daemon listens on,
    /// which may be inherited sockets in place of `server.listen`.
    pub fn doubts(&self, addresses: &[SocketAddr]) -> Vec<SettingFault> {
        let doubts = [
            self.doubtful_deadline(),
            self.doubtful_session_check(),
            self.unsigned_content(addresses),
        ];
        doubts.into_iter().flatten().collect()
    }

    fn doubtful_deadline(&self) -> Option<SettingFault> {
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
        (deadline < phases).then_some(doubt)
    }

    /// Returns the doubt about sessions that cross a network unencrypted, or about a role without
    /// effect.
    fn doubtful_session_check(&self) -> Option<SettingFault> {
        let AuthSettings { session_check_url, session_check_role, .. } = &self.auth;
        let doubt = |key: &str, value: &str, problem: &str, allowed: &str| SettingFault {
            key: key.to_owned(),
            value: Some(format!("{value:?}")),
            problem: problem.to_owned(),
            allowed: Some(allowed.to_owned()),
            origin: None,
        };
        let Some(url) = session_check_url else {
            return (*session_check_role != Role::Read).then(|| {
                doubt(
                    "auth.session_check_role",
                    session_check_role.as_str(),
                    "has no effect without auth.session_check_url",
                    "with the URL of the management node, or no role",
                )
            });
        };
        let is_remote = host_and_port(url).is_none_or(|(host, _)| !is_loopback(&host));
        (url.starts_with("http://") && is_remote).then(|| {
            doubt(
                "auth.session_check_url",
                url,
                "plain HTTP to another host: sessions of the management node, with the rights of \
                 their accounts in the whole cloud, cross the network unencrypted, and whoever \
                 answers instead of the management node decides which ones are valid",
                "an https URL, or a network that no other host can read or write",
            )
        })
    }

    /// Returns the doubt about signed requests that others can read and change on their way.
    fn unsigned_content(&self, addresses: &[SocketAddr]) -> Option<SettingFault> {
        let file = self.auth.access_keys_file.as_ref()?;
        let is_exposed = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        let exposed = addresses.iter().find(is_exposed)?;
        let problem = format!(
            "{exposed} is served over plain HTTP, and a signature covers neither the body nor the \
             query: anyone on the way can read and change a request, and repeat it for 15 minutes"
        );
        let fault = SettingFault {
            allowed: Some("server.tls, or only loopback addresses to listen on".to_owned()),
            ..SettingFault::in_file("auth.access_keys_file", file, problem)
        };
        self.server.tls.is_none().then_some(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::TlsSettings;

    fn doubts(settings: &Settings) -> Vec<SettingFault> {
        settings.doubts(&settings.server.listen)
    }

    #[test]
    fn an_attempt_deadline_below_the_sum_of_the_phases_is_doubtful() {
        let mut settings = Settings::built_in();
        assert_eq!(doubts(&settings), []);
        settings.monitor.attempt_deadline = Duration::from_millis(29_999);
        let [doubt] = &doubts(&settings)[..] else { panic!("{:?}", doubts(&settings)) };
        assert!(doubt.to_string().contains("less than 30s"), "{doubt}");
    }

    #[test]
    fn a_session_check_over_plain_http_to_another_host_is_doubtful() {
        let path = "/zstack/v1/accounts/sessions/{uuid}/valid";
        for (host, expected) in [
            ("http://mn:8080", true),
            ("http://10.0.0.1:8080", true),
            ("https://mn:8080", false),
            ("http://localhost:8080", false),
            ("http://127.0.0.1:8080", false),
            ("http://[::1]:8080", false),
        ] {
            let mut settings = Settings::built_in();
            settings.auth.session_check_url = Some(format!("{host}{path}"));
            settings.auth.session_check_role = Role::Operate;
            assert_eq!(doubts(&settings).len(), usize::from(expected), "{host}");
        }
        let mut settings = Settings::built_in();
        settings.auth.session_check_role = Role::Operate;
        let [doubt] = &doubts(&settings)[..] else { panic!("{:?}", doubts(&settings)) };
        assert!(doubt.to_string().contains("no effect without auth.session_check_url"), "{doubt}");
    }

    #[test]
    fn access_keys_over_plain_http_off_loopback_are_doubtful() {
        let mut settings = Settings::built_in();
        settings.server.listen =
            ["127.0.0.1:7811", "[::1]:7811"].map(|at| at.parse().unwrap()).into();
        settings.auth.access_keys_file = Some("/keys".into());
        assert_eq!(doubts(&settings), []);
        // Inherited sockets are judged in place of the addresses of the settings.
        let inherited = |address: &str| settings.doubts(&[address.parse().unwrap()]).len();
        assert_eq!(inherited("[::ffff:127.0.0.1]:7811"), 0);
        assert_eq!(inherited("192.0.2.2:7811"), 1);
        settings.server.listen.push("192.0.2.1:7811".parse().unwrap());
        assert_eq!(settings.doubts(&["127.0.0.1:7811".parse().unwrap()]), []);
        let [doubt] = &doubts(&settings)[..] else { panic!("{:?}", doubts(&settings)) };
        let doubt = doubt.to_string();
        assert!(doubt.contains("192.0.2.1:7811") && doubt.contains("neither the body"), "{doubt}");
        settings.server.tls = Some(TlsSettings {
            cert: "/cert".into(),
            key: "/key".into(),
            client_ca: None,
            clients_file: None,
        });
        assert_eq!(doubts(&settings), []);
    }
}
