//! The networks of a setting, and the addresses in them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// A list of allowed networks. An empty list allows no address. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct IpAllowlist(Arc<[IpNet]>);

impl IpAllowlist {
    /// Creates an allowlist of these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Returns true if the address lies in one of the networks. An IPv4-mapped IPv6 address
    /// (`::ffff:0:0/96`) is compared as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the networks in the order of the setting.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_compared_as_ipv4_in_both_families() {
        let networks = ["192.0.2.0/24", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let allowlist = IpAllowlist::new(&networks);
        for (address, expected) in [
            ("192.0.2.77", true),
            ("::ffff:192.0.2.77", true),
            ("2001:db8::1", true),
            ("198.51.100.1", false),
            ("::192.0.2.77", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(allowlist.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!IpAllowlist::default().contains("127.0.0.1".parse().unwrap()));
    }
}
