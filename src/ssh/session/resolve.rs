//! Where a store's SSH server may be: the hostname's addresses, cut down to those that the daemon may
//! speak to. It never hands out an address that has not been checked, so that a name cannot point
//! elsewhere between the check and the connection.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

use crate::common::IpAllowlist;
use crate::model::{Fault, Reason, SshAddress};

/// Most addresses of one name that are looked at. A host has a handful; a name service may answer with
/// hundreds.
const MAX_ADDRESSES: usize = 16;

/// The allowed addresses of a store's SSH server, at least one, in the name service's order.
///
/// A lookup that has run out of time stays behind on a thread of the runtime's blocking pool until the
/// C library gives it up (`resolv.conf(5)`: timeout times attempts times servers).
///
/// # Errors
/// `name_not_found`, also when `until` passes first; `target_not_allowed` when all that the name
/// resolves to is neither this host's nor in `allowed`.
pub(crate) async fn resolve_address(
    address: &SshAddress,
    allowed: &IpAllowlist,
    until: Instant,
) -> Result<Vec<SocketAddr>, Fault> {
    let found = look_up(address, until).await?;
    let own = own_addresses();
    let (may, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.into_iter().partition(|found| is_allowed(found.ip(), &own, allowed));
    if may.is_empty() { Err(not_allowed(address, &other, &own, allowed)) } else { Ok(may) }
}

async fn look_up(address: &SshAddress, until: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let (name, port) = (address.hostname.as_str(), address.port.get());
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let not_found = |what: String| Fault::new(Reason::NameNotFound, what);
    let found = match timeout_at(until, lookup_host((name, port))).await {
        Err(_) => Err(not_found(format!("the name service did not answer for {name} in time"))),
        Ok(Err(error)) => Err(not_found(format!("{name} does not resolve: {error}"))),
        Ok(Ok(found)) => Ok(found),
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

/// The addresses of this host's interfaces. None of them means that loopback and the configured
/// networks are all that is allowed.
fn own_addresses() -> Vec<IpAddr> {
    match getifaddrs() {
        Ok(interfaces) => {
            interfaces.filter_map(|interface| interface.address).filter_map(parse_ip).collect()
        }
        Err(errno) => {
            tracing::warn!(%errno, "cannot list this host's addresses");
            Vec::new()
        }
    }
}

fn parse_ip(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// Returns true for a loopback address, one of this host, and one in the allowed networks. IPv4-mapped
/// IPv6 addresses are compared as IPv4.
fn is_allowed(ip: IpAddr, own: &[IpAddr], allowed: &IpAllowlist) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || own.contains(&ip) || allowed.contains(ip)
}

fn not_allowed(
    address: &SshAddress,
    found: &[SocketAddr],
    own: &[IpAddr],
    allowed: &IpAllowlist,
) -> Fault {
    let found: Vec<String> = found.iter().map(|found| found.ip().to_string()).collect();
    let details = format!("{} is {}, which is not this host", address.hostname, found.join(", "));
    let own = own.iter().filter(|ip| !ip.is_loopback()).map(ToString::to_string);
    let allowed: Vec<String> =
        own.chain(allowed.networks().iter().map(ToString::to_string)).collect();
    Fault::new(Reason::TargetNotAllowed, details)
        .with_detail("addresses", found)
        .with_detail("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_and_the_configured_networks_are_allowed_in_both_families() {
        let own = ["10.0.0.5", "fd00::5"].map(|ip| ip.parse().unwrap());
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
            assert_eq!(is_allowed(ip.parse().unwrap(), &own, &allowed), expected, "{ip}");
        }
    }

    #[test]
    fn the_addresses_of_this_host_hold_its_loopback() {
        assert!(own_addresses().iter().any(IpAddr::is_loopback));
    }
}
