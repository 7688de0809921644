//! Who may speak the agent protocol, which has no token: the networks of `server.agent_allow`.

use super::peer::Peer;
use super::principal::Caller;
use super::role::Role;
use crate::common::IpAllowlist;
use crate::http::api::error::Refusal;

/// The words of the protocol that are served.
pub(crate) const ECHO: &str = "echo";
pub(crate) const CONNECT: &str = "connect";
pub(crate) const PING: &str = "ping";

/// The way in for the agent protocol.
pub(crate) struct AgentDoor {
    pub(crate) prefixes: Vec<String>,
    pub(crate) networks: IpAllowlist,
}

impl AgentDoor {
    /// Whether a path is one of the protocol's, with or without the slash at the end that ZStack's
    /// agents take as well.
    pub(crate) fn leads_to(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        path.rsplit_once('/').is_some_and(|(prefix, word)| {
            matches!(word, ECHO | CONNECT | PING) && self.prefixes.iter().any(|one| one == prefix)
        })
    }

    /// The caller, by its address.
    pub(crate) fn admit(&self, peer: &Peer) -> Result<Caller, Refusal> {
        match peer {
            Peer::Tcp(address, _) if self.networks.contains(address.ip()) => {
                Ok(Caller::new(&address.ip().to_canonical().to_string(), Role::Operate))
            }
            Peer::Tcp(address, _) => Err(Refusal::NetworkOutside(address.ip())),
            Peer::Unix(_) => peer.local_caller().ok_or(Refusal::NoSession),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> AgentDoor {
        let prefixes = ["/imagestore", "/a/sftpbackupstorage"].map(str::to_owned).to_vec();
        AgentDoor { prefixes, networks: IpAllowlist::new(&["10.0.0.0/8".parse().unwrap()]) }
    }

    #[test]
    fn the_paths_of_the_protocol_are_known_with_and_without_the_last_slash() {
        for (path, expected) in [
            ("/imagestore/echo", true),
            ("/imagestore/connect/", true),
            ("/a/sftpbackupstorage/ping", true),
            ("/sftpbackupstorage/ping", false),
            ("/imagestore/ping//", false),
            ("/imagestore/ping/x", false),
            ("/imagestore//ping", false),
            ("/imagestore/PING", false),
            ("/imagestore/stores", false),
            ("/imagestore", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(door().leads_to(path), expected, "{path}");
        }
    }

    #[test]
    fn a_caller_is_let_in_by_its_address() {
        let admitted = |address: &str| door().admit(&Peer::Tcp(address.parse().unwrap(), None));
        assert_eq!(admitted("10.1.2.3:40000").unwrap().name(), "10.1.2.3");
        assert_eq!(admitted("[::ffff:10.1.2.3]:40000").unwrap().name(), "10.1.2.3");
        for outside in ["127.0.0.1:1", "11.0.0.1:1", "[::1]:1", "[::10.1.2.3]:1"] {
            assert!(admitted(outside).is_err(), "{outside}");
        }
    }
}
