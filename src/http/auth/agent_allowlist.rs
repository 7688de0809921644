//! Access to the agent protocol, which has no token. The networks of `server.agent_allow` may use
//! it.

use std::sync::Arc;

use super::agent_refusals::AgentRefusals;
use super::{CallerKind, PeerAddress, Principal, Role};
use crate::common::IpAllowlist;
use crate::http::error::ApiError;

/// The commands of the protocol that the daemon serves. A command is the last segment of a path.
pub(crate) const ECHO_COMMAND: &str = "echo";
pub(crate) const CONNECT_COMMAND: &str = "connect";
pub(crate) const PING_COMMAND: &str = "ping";

/// The paths of the agent protocol, and the networks that may call them.
pub(crate) struct AgentAllowlist {
    pub(crate) prefixes: Vec<String>,
    pub(crate) networks: IpAllowlist,
    /// Counts the calls from other networks.
    pub(crate) refusals: Arc<AgentRefusals>,
}

impl AgentAllowlist {
    /// Returns true if `path` belongs to the protocol, with or without a trailing slash. ZStack's
    /// agents accept both forms.
    pub(crate) fn matches_path(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        path.rsplit_once('/').is_some_and(|(prefix, command)| {
            matches!(command, ECHO_COMMAND | CONNECT_COMMAND | PING_COMMAND)
                && self.prefixes.iter().any(|own_prefix| own_prefix == prefix)
        })
    }

    /// Returns the principal of a peer, which is named by its address.
    ///
    /// # Errors
    /// [`ApiError::NetworkNotAllowed`] if the address is in none of the networks.
    pub(crate) fn authorize(&self, peer: &PeerAddress) -> Result<Principal, ApiError> {
        match peer {
            PeerAddress::Tcp(address, _) if self.networks.contains(address.ip()) => {
                let name = address.ip().to_canonical().to_string();
                Ok(Principal::new(CallerKind::Network, &name, Role::Operate))
            }
            PeerAddress::Tcp(address, _) => {
                self.refusals.record(address.ip());
                Err(ApiError::NetworkNotAllowed(address.ip()))
            }
            PeerAddress::Unix(_) => peer.local_principal().ok_or(ApiError::MissingToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::SystemClock;

    fn allowlist() -> AgentAllowlist {
        let prefixes = ["/imagestore", "/a/sftpbackupstorage"].map(str::to_owned).to_vec();
        let networks = IpAllowlist::new(&["10.0.0.0/8".parse().unwrap()]);
        let refusals = Arc::new(AgentRefusals::new(Arc::new(SystemClock)));
        AgentAllowlist { prefixes, networks, refusals }
    }

    #[test]
    fn the_paths_of_the_protocol_match_with_and_without_the_last_slash() {
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
            assert_eq!(allowlist().matches_path(path), expected, "{path}");
        }
    }

    #[test]
    fn a_caller_is_authorized_by_its_address() {
        let allowlist = allowlist();
        let authorize =
            |address: &str| allowlist.authorize(&PeerAddress::Tcp(address.parse().unwrap(), None));
        assert_eq!(authorize("10.1.2.3:40000").unwrap().name(), "10.1.2.3");
        assert_eq!(authorize("[::ffff:10.1.2.3]:40000").unwrap().name(), "10.1.2.3");
        for outside in ["127.0.0.1:1", "11.0.0.1:1", "[::1]:1", "[::10.1.2.3]:1"] {
            assert!(authorize(outside).is_err(), "{outside}");
        }
        assert_eq!(allowlist.refusals.callers().len(), 4);
    }
}
