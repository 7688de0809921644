//! The allowed addresses of a store's SSH server: the addresses of its hostname, restricted to
//! those that the daemon may dial. Every returned address was checked, so a name cannot point
//! elsewhere between the check and the connection.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::time::Instant;

use crate::common::{BlockingError, IpAllowlist, is_resource_shortage, run_blocking};
use crate::model::{Fault, Reason, Remedy, SshAddress};

/// Maximum number of addresses of one name. A host has a few, but a name service may answer with
/// hundreds.
const MAX_ADDRESSES: usize = 16;

/// The allowed addresses of a store's SSH server.
#[derive(Debug)]
pub(crate) struct ResolvedServer {
    /// At least one address, in the order of the name service.
    pub(crate) addresses: Vec<SocketAddr>,
    /// True if one of them is an address of this host.
    pub(crate) is_this_host: bool,
}

/// Returns the allowed addresses of a store's SSH server.
///
/// A lookup that timed out stays on a thread of the runtime's blocking pool until the C library
/// gives up (`resolv.conf(5)`: timeout times attempts times servers).
///
/// # Errors
/// Returns `name_not_found` if the name has no address or `until` passes first. Returns
/// `target_not_allowed` if no address belongs to this host or to `allowed`. Returns `agent_busy` if
/// this process is short of threads, descriptors or memory.
pub(crate) async fn resolve_address(
    address: &SshAddress,
    allowed: &IpAllowlist,
    until: Instant,
) -> Result<ResolvedServer, Fault> {
    let found = look_up(address, until).await?;
    let own_addresses = host_addresses()?;
    let (permitted, rejected): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.into_iter().partition(|found| is_allowed(found.ip(), &own_addresses, allowed));
    if permitted.is_empty() {
        Err(not_allowed(address, &rejected, &own_addresses, allowed))
    } else {
        let is_own = |found: &SocketAddr| is_own_address(found.ip(), &own_addresses);
        Ok(ResolvedServer { is_this_host: permitted.iter().any(is_own), addresses: permitted })
    }
}

async fn look_up(address: &SshAddress, until: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let (name, port) = (address.hostname.as_str(), address.port.get());
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let not_found = |what: String| Fault::new(Reason::NameNotFound, what);
    let lookup = {
        let name = name.to_owned();
        // The C library's name service blocks.
        move || (name.as_str(), port).to_socket_addrs().map_err(|error| (error, Shortage::detect()))
    };
    let found = match run_blocking(until, lookup).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err((error, None))) => Err(not_found(format!("{name} does not resolve: {error}"))),
        Ok(Err((error, Some(Shortage(why))))) => {
            Err(own_fault(format!("{name} was not looked up: {error} ({why})")))
        }
        Err(BlockingError::TimedOut) => {
            Err(not_found(format!("the name service did not answer for {name} in time")))
        }
        Err(error) => Err(own_fault(format!("{name} was not looked up: {error}"))),
    }?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(not_found(format!("{name} has no address")));
    }
    Ok(addresses)
}

/// A resource that this process is short of. The errors of getaddrinfo(3) do not show it: a file or
/// a socket that cannot be opened looks like a name that does not exist.
struct Shortage(Errno);

impl Shortage {
    /// Opens a socket to find out whether descriptors and memory are left.
    fn detect() -> Option<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        socket.err().filter(|&errno| is_resource_shortage(&errno.into())).map(Self)
    }
}

/// Returns a fault of the daemon itself, which says nothing about the server.
fn own_fault(details: String) -> Fault {
    Fault::new(Reason::AgentBusy, details).with_remedy(Remedy::CheckServiceLimits)
}

/// Returns the addresses of this host's interfaces.
///
/// # Errors
/// Returns `agent_busy` if the system does not list them. An address of this host would then look
/// like one that is not allowed.
fn host_addresses() -> Result<Vec<IpAddr>, Fault> {
    let interfaces = getifaddrs().map_err(|errno| {
        own_fault(format!("the addresses of this host cannot be listed: {errno}"))
    })?;
    Ok(interfaces.filter_map(|interface| interface.address).filter_map(parse_ip).collect())
}

fn parse_ip(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// Returns true for a loopback address, an address of this host, and an address in the allowed
/// networks. IPv4-mapped IPv6 addresses are compared as IPv4.
fn is_allowed(ip: IpAddr, own_addresses: &[IpAddr], allowed: &IpAllowlist) -> bool {
    is_own_address(ip, own_addresses) || allowed.contains(ip.to_canonical())
}

fn is_own_address(ip: IpAddr, own_addresses: &[IpAddr]) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || own_addresses.contains(&ip)
}

fn not_allowed(
    address: &SshAddress,
    found: &[SocketAddr],
    own_addresses: &[IpAddr],
    allowed: &IpAllowlist,
) -> Fault {
    let found: Vec<String> = found.iter().map(|found| found.ip().to_string()).collect();
    let details = format!(
        "{} resolves to {}, which is neither an address of this host nor in ssh.allowed_targets",
        address.hostname,
        found.join(", ")
    );
    let own_addresses =
        own_addresses.iter().filter(|ip| !ip.is_loopback()).map(ToString::to_string);
    let allowed: Vec<String> =
        own_addresses.chain(allowed.networks().iter().map(ToString::to_string)).collect();
    Fault::new(Reason::TargetNotAllowed, details)
        .with_detail("addresses", found)
        .with_detail("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_and_the_configured_networks_are_allowed_in_both_families() {
        let own_addresses = ["10.0.0.5", "fd00::5"].map(|ip| ip.parse().unwrap());
        let allowed = ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap());
        let allowed = IpAllowlist::new(&allowed);
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.5", true),
            ("::ffff:10.0.0.5", true),
            ("fd00::5", true),
            ("192.0.2.77", true),
            ("2001:db8::1", true),
            ("10.0.0.6", false),
            ("fd00::6", false),
            ("198.51.100.1", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(is_allowed(ip.parse().unwrap(), &own_addresses, &allowed), expected, "{ip}");
        }
    }

    #[tokio::test]
    async fn every_address_of_this_host_is_this_host_and_another_one_is_not() {
        let until = Instant::now() + std::time::Duration::from_secs(60);
        let allowed = IpAllowlist::new(&["192.0.2.0/24".parse().unwrap()]);
        let mut names =
            vec!["127.0.0.1".to_owned(), "127.0.0.2".to_owned(), "localhost".to_owned()];
        names.extend(host_addresses().unwrap().iter().map(ToString::to_string));
        for (name, expected) in
            names.into_iter().map(|name| (name, true)).chain([("192.0.2.7".to_owned(), false)])
        {
            let address =
                SshAddress { hostname: name.parse().unwrap(), port: 22.try_into().unwrap() };
            let server = resolve_address(&address, &allowed, until).await.unwrap();
            assert_eq!(server.is_this_host, expected, "{name}");
        }
    }

    #[test]
    fn the_addresses_of_this_host_hold_its_loopback() {
        assert!(host_addresses().unwrap().iter().any(IpAddr::is_loopback));
    }
}
