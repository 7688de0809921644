//! The algorithms that are offered to a server: secure ones, and those that `ssh.legacy`
//! re-enables. Compression is never offered, and `none` is never offered as a cipher, a MAC or a
//! key exchange.

use std::borrow::Cow;
use std::sync::Arc;

use russh::client::{Config, GexParams};
use russh::keys::{Algorithm, HashAlg};
use russh::{Preferred, SshId, cipher, compression, kex, mac};

use super::kex_sizes::GROUP_BITS;

/// Identification of this client. RFC 4253 section 4.2 allows neither a space nor a minus sign in
/// the software version.
const CLIENT_IDENTIFICATION: &str = concat!("SSH-2.0-imagestore_agent_", env!("CARGO_PKG_VERSION"));

/// Offered key exchanges, best first. The fixed groups come after the elliptic curves. A modular
/// exponentiation over 8192 bits can take seconds on a small machine.
const KEX_ALGORITHMS: [kex::Name; 12] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G16_SHA512,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
];

/// Extension names in the list of key exchanges: RFC 8308, and the fix for CVE-2023-48795.
const KEX_EXTENSIONS: [kex::Name; 2] =
    [kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

const CIPHERS: [cipher::Name; 6] = [
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: [mac::Name; 4] =
    [mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];

/// The signature algorithm `ssh-rsa`: RSA with SHA-1. The key type `ssh-rsa` is also used by the
/// SHA-2 signatures.
const RSA_SHA1: Algorithm = Algorithm::Rsa { hash: None };

/// The offered lists, best first.
#[derive(Clone, Debug)]
pub(crate) struct SshAlgorithms {
    preferred: Preferred,
    gex: GexParams,
}

impl SshAlgorithms {
    /// Returns the lists with `legacy` appended, and the names in `legacy` that russh does not
    /// support.
    pub(crate) fn new(legacy: &[String]) -> (Self, Vec<String>) {
        let mut kexes = KEX_ALGORITHMS.to_vec();
        let mut ciphers = CIPHERS.to_vec();
        let mut macs = MACS.to_vec();
        let mut keys = host_key_types();
        let mut unknown_names = Vec::new();
        for name in legacy {
            let name = name.as_str();
            if matches!(name, "none" | "clear") {
                unknown_names.push(name.to_owned());
            } else if let Ok(kex) = kex::Name::try_from(name) {
                add_legacy(&mut kexes, kex);
            } else if let Ok(cipher) = cipher::Name::try_from(name) {
                add_legacy(&mut ciphers, cipher);
            } else if let Ok(mac) = mac::Name::try_from(name) {
                add_legacy(&mut macs, mac);
            } else if name == RSA_SHA1.as_str() {
                add_legacy(&mut keys, RSA_SHA1);
            } else {
                unknown_names.push(name.to_owned());
            }
        }
        kexes.extend(KEX_EXTENSIONS);
        let preferred = Preferred {
            kex: Cow::Owned(kexes),
            key: Cow::Owned(keys),
            // No certificate authority is configured, so a certificate could not be verified.
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Owned(ciphers),
            mac: Cow::Owned(macs),
            compression: Cow::Borrowed(&[compression::NONE]),
        };
        // ssh(1) also accepts groups from 2048 bits. russh's default would fail with servers whose
        // moduli(5) was never regenerated. The constructor checks these bounds.
        let gex = GexParams::new(*GROUP_BITS.start(), 4096, *GROUP_BITS.end()).unwrap_or_default();
        (Self { preferred, gex }, unknown_names)
    }

    /// Returns true if a private RSA key may sign with SHA-1.
    pub(crate) fn rsa_sha1(&self) -> bool {
        self.preferred.key.contains(&RSA_SHA1)
    }

    /// Returns the configuration of a connection that requests the type of the pinned key first. A
    /// server with several keys would otherwise show another one and seem changed.
    pub(super) fn config_preferring(&self, pinned_key_type: Option<&str>) -> Arc<Config> {
        let mut preferred = self.preferred.clone();
        if let Some(pinned) = pinned_key_type {
            // The sort is stable: other types keep their order after the pinned type.
            preferred.key.to_mut().sort_by_key(|offered| key_type(offered) != pinned);
        }
        self.with_host_keys(preferred)
    }

    /// Returns a configuration that requests host keys of other types than `key_types`, or `None`
    /// if no type is left.
    pub(super) fn config_without_key_types(&self, key_types: &[String]) -> Option<Arc<Config>> {
        let mut preferred = self.preferred.clone();
        let other =
            |offered: &Algorithm| !key_types.iter().any(|excluded| excluded == key_type(offered));
        preferred.key.to_mut().retain(other);
        (!preferred.key.is_empty()).then(|| self.with_host_keys(preferred))
    }

    fn with_host_keys(&self, preferred: Preferred) -> Arc<Config> {
        Arc::new(Config {
            client_id: SshId::Standard(Cow::Borrowed(CLIENT_IDENTIFICATION)),
            preferred,
            gex: self.gex.clone(),
            // Number of messages of up to 256 KiB that can wait in the channel. SFTP has one
            // request in flight.
            channel_buffer_size: 4,
            ..Config::default()
        })
    }
}

/// Returns the type of the key itself. All RSA signatures are made with an `ssh-rsa` key.
fn key_type(algorithm: &Algorithm) -> &str {
    match algorithm {
        Algorithm::Rsa { .. } => RSA_SHA1.as_str(),
        other => other.as_str(),
    }
}

fn host_key_types() -> Vec<Algorithm> {
    let sha2 = [HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) });
    let safe =
        Preferred::DEFAULT.key.iter().filter(|key| !matches!(key, Algorithm::Rsa { .. })).cloned();
    safe.chain(sha2).collect()
}

fn add_legacy<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
        list.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn nothing_that_rests_on_sha1_or_cbc_or_none_is_offered_by_default() {
        let (algorithms, _) = SshAlgorithms::new(&[]);
        let Preferred { kex, key, cipher, mac, compression, .. } = &algorithms.preferred;
        let offered = [names(kex), names(key), names(cipher), names(mac)].concat();
        for name in offered {
            let weak = ["sha1", "cbc", "none", "clear", "ssh-rsa", "ssh-dss", "group1-"];
            assert!(!weak.iter().any(|weak| name.contains(weak)), "{name}");
        }
        assert_eq!(names(compression), ["none"]);
        assert!(!algorithms.rsa_sha1());
    }

    #[test]
    fn a_legacy_algorithm_is_offered_last_and_an_unknown_one_is_returned() {
        let legacy =
            ["ssh-rsa", "diffie-hellman-group14-sha1", "aes128-cbc", "hmac-sha1", "none", "x"]
                .map(str::to_owned);
        let (algorithms, unknown_names) = SshAlgorithms::new(&legacy);
        assert_eq!(unknown_names, ["none", "x"]);
        let Preferred { kex, key, cipher, mac, .. } = &algorithms.preferred;
        assert_eq!(names(cipher).last(), Some(&"aes128-cbc"));
        assert_eq!(names(mac).last(), Some(&"hmac-sha1"));
        assert_eq!(key.last(), Some(&RSA_SHA1));
        assert_eq!(names(kex)[KEX_ALGORITHMS.len()], "diffie-hellman-group14-sha1");
        assert!(algorithms.rsa_sha1());
    }

    #[test]
    fn the_type_of_the_pinned_key_is_requested_first() {
        let (algorithms, _) = SshAlgorithms::new(&[]);
        let first = |pinned| {
            algorithms.config_preferring(pinned).preferred.key.first().unwrap().to_string()
        };
        assert_eq!(first(None), "ssh-ed25519");
        assert_eq!(first(Some("ssh-rsa")), "rsa-sha2-512");
        assert_eq!(first(Some("ecdsa-sha2-nistp384")), "ecdsa-sha2-nistp384");
        assert_eq!(algorithms.config_preferring(Some("ssh-rsa")).preferred.key.len(), 6);
    }

    #[test]
    fn kinds_of_host_keys_are_left_out_until_none_is_left() {
        let (algorithms, _) = SshAlgorithms::new(&["ssh-rsa".to_owned()]);
        let mut key_types = Vec::new();
        while let Some(config) = algorithms.config_without_key_types(&key_types) {
            key_types.push(key_type(config.preferred.key.first().unwrap()).to_owned());
        }
        let ecdsa = ["256", "384", "521"].map(|size| format!("ecdsa-sha2-nistp{size}"));
        assert_eq!(
            key_types,
            [vec!["ssh-ed25519".into()], ecdsa.into(), vec!["ssh-rsa".into()]].concat()
        );
    }
}
