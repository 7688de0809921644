//! Layer 5. TLS of the listener and of clients: the trusted authorities and the certificates that
//! are sent.
//!
//! # Guarantees
//! - TLS 1.2 is the oldest supported version.
//! - Every fault of every file names its setting.
//! - ring is the only provider.
//!
//! # Never
//! - It never shows a private key, and never keeps one in a type that prints it.

mod authority;
mod pem;
#[cfg(test)]
mod tests;
mod validity;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use crate::diagnosis::CertificateFact;
use crate::settings::{
    FilePolicy, FilePurpose, SettingFault, SettingsError, TlsSettings, read_file,
};

/// The problem of a private key that ring does not use. It rejects a damaged key with the same
/// error. Its limits of RSA keys are 2048 and 4096 bits (`RsaKeyPair`).
const UNSUPPORTED_KEY: &str = "the key is damaged or of a kind that is not supported: use ECDSA \
     with P-256 or P-384, Ed25519, or RSA with 2048 to 4096 bits";
const CERT_SETTING: &str = "server.tls.cert";
const KEY_SETTING: &str = "server.tls.key";
const CLIENT_CA_SETTING: &str = "server.tls.client_ca";

/// The TLS files of a client, and the names of their settings.
#[derive(Clone, Copy, Debug)]
pub struct ClientTlsFiles<'a> {
    /// The trusted authorities, instead of those of the system.
    pub ca: Option<&'a Path>,
    /// The client certificate and its private key. The certificate is sent if the server requests
    /// one.
    pub identity: Option<(&'a Path, &'a Path)>,
    /// The names of the three settings, for a fault.
    pub names: [&'static str; 3],
}

/// Returns a configuration for TLS 1.2 and 1.3 with HTTP/1.1, and the validity of its certificate
/// if that is of the form of X.509. With `client_ca`, a client without a certificate of these
/// authorities is rejected. Blocks while it reads the files.
///
/// # Errors
/// Returns every fault of every file. Returns a fault if the certificate and the key do not match.
pub fn server_config(
    settings: &TlsSettings,
    policy: &FilePolicy,
) -> Result<(ServerConfig, Option<CertificateFact>), SettingsError> {
    let mut faults = Vec::new();
    let chain = SettingsError::gather(
        read_certificates(CERT_SETTING, &settings.cert, FilePurpose::Public, policy),
        &mut faults,
    );
    let key =
        SettingsError::gather(read_private_key(KEY_SETTING, &settings.key, policy), &mut faults);
    let client_roots = settings
        .client_ca
        .as_ref()
        .map(|path| (path, read_roots(CLIENT_CA_SETTING, path, FilePurpose::Access, policy)));
    let client_roots = client_roots
        .and_then(|(path, read)| Some((path, SettingsError::gather(read, &mut faults)?)));
    let (Some(chain), Some(key), true) = (chain, key, faults.is_empty()) else {
        return Err(SettingsError::new(faults));
    };
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| setting_fault("server.tls", error))?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some((path, roots)) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider())
                    .build();
            let verifier =
                verifier.map_err(|error| SettingFault::in_file(CLIENT_CA_SETTING, path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let validity = validity::chain_validity(&chain);
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| identity_problem(&error, KEY_SETTING))
        .map_err(|problem| SettingFault::in_file(CERT_SETTING, &settings.cert, problem))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, validity))
}

/// Returns the validity of the certificate in a file, with its chain. `key` is the name of the
/// setting with the path. Blocks while it reads the file.
///
/// # Errors
/// Returns a fault if the file has no certificate that can be used.
pub fn certificate_in_file(
    key: &'static str,
    path: &Path,
    policy: &FilePolicy,
) -> Result<CertificateFact, SettingsError> {
    let chain = read_certificates(key, path, FilePurpose::Public, policy)?;
    let fault = || SettingFault::in_file(key, path, "it is no certificate of X.509").into();
    validity::chain_validity(&chain).ok_or_else(fault)
}

/// Returns a configuration without trusted authorities, for plain HTTP. It also works on a system
/// without root certificates.
///
/// # Errors
/// Returns an internal error if ring has no suitable cipher.
pub fn config_without_roots() -> Result<ClientConfig, SettingsError> {
    Ok(client_builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Returns a configuration for TLS 1.2 and 1.3 with the files of `trust`. Blocks while it reads
/// them.
///
/// # Errors
/// Returns every fault of every file.
pub fn client_config(
    trust: &ClientTlsFiles<'_>,
    policy: &FilePolicy,
) -> Result<ClientConfig, SettingsError> {
    let mut faults = Vec::new();
    let [ca_name, cert_name, key_name] = trust.names;
    let roots = SettingsError::gather(root_store(ca_name, trust.ca, policy), &mut faults);
    let client_certificate = match trust.identity {
        Some((cert, key)) => {
            let chain = SettingsError::gather(
                read_certificates(cert_name, cert, FilePurpose::Public, policy),
                &mut faults,
            );
            let secret =
                SettingsError::gather(read_private_key(key_name, key, policy), &mut faults);
            chain.zip(secret).map(|pair| (cert, pair))
        }
        None => None,
    };
    let Some(builder) = SettingsError::gather(client_builder(), &mut faults) else {
        return Err(SettingsError::new(faults));
    };
    let builder = builder.with_root_certificates(roots.unwrap_or_else(RootCertStore::empty));
    let config = match client_certificate {
        // Also checks that the certificate and the key match.
        Some((cert, (chain, key))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| identity_problem(&error, key_name))
            .map_err(|problem| SettingFault::in_file(cert_name, cert, problem).into()),
        None => Ok(builder.with_no_client_auth()),
    };
    match SettingsError::gather(config, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(SettingsError::new(faults)),
    }
}

/// Returns a builder for TLS 1.2 and 1.3 with ring.
fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, SettingsError> {
    let builder = ClientConfig::builder_with_provider(crypto_provider());
    builder.with_safe_default_protocol_versions().map_err(|error| setting_fault("TLS", error))
}

fn root_store(
    name: &'static str,
    ca: Option<&Path>,
    policy: &FilePolicy,
) -> Result<RootCertStore, SettingsError> {
    if let Some(path) = ca {
        return read_roots(name, path, FilePurpose::Public, policy);
    }
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // A system store may contain certificates that rustls rejects. The others are still used.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        return Err(setting_fault(name, no_roots_problem(&native.errors)));
    }
    Ok(roots)
}

/// Describes a system without usable root certificates. `errors` are those of their files.
fn no_roots_problem(errors: &[impl Display]) -> String {
    let problem = "not set, and the system has no root certificates";
    match errors.first() {
        // An operator repairs the first file first.
        Some(error) => format!("{problem} that can be read: {error}"),
        None => format!("{problem}: install ca-certificates"),
    }
}

/// Reads all certificates of a file, at least one. `key` is the name of the setting with the path.
fn read_certificates(
    key: &'static str,
    path: &Path,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let pem = read_file(path, purpose, policy)
        .map_err(|error| SettingFault::unusable_file(key, path, &error))?;
    pem::parse_certificates(&pem).map_err(|error| SettingFault::in_file(key, path, error).into())
}

/// Reads the certificates of a file as trusted authorities. One whose key cannot verify any
/// certificate is a fault, because its peers would be rejected later without a reason.
fn read_roots(
    key: &'static str,
    path: &Path,
    purpose: FilePurpose,
    policy: &FilePolicy,
) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(key, path, purpose, policy)? {
        roots.add(certificate).map_err(|error| SettingFault::in_file(key, path, error))?;
    }
    let provider = crypto_provider();
    let is_supported =
        |root: &TrustAnchor<'_>| authority::is_supported(&root.subject_public_key_info, &provider);
    if let Some(index) = roots.roots.iter().position(|root| !is_supported(root)) {
        let problem =
            format!("certificate {} in it {}", index + 1, authority::UNSUPPORTED_AUTHORITY);
        return Err(SettingFault::in_file(key, path, problem).into());
    }
    Ok(roots)
}

/// Reads the first private key of a file.
fn read_private_key(
    key: &'static str,
    path: &Path,
    policy: &FilePolicy,
) -> Result<PrivateKeyDer<'static>, SettingsError> {
    let pem = read_file(path, FilePurpose::Secret, policy)
        .map_err(|error| SettingFault::unusable_file(key, path, &error))?;
    let parsed =
        pem::parse_private_key(&pem).map_err(|error| SettingFault::in_file(key, path, error))?;
    match crypto_provider().key_provider.load_private_key(parsed.clone_key()) {
        Ok(_) => Ok(parsed),
        Err(_) => Err(SettingFault::in_file(key, path, UNSUPPORTED_KEY).into()),
    }
}

/// Describes why a certificate and its key cannot be used together. `key` is the name of the
/// setting of the key.
fn identity_problem(error: &rustls::Error, key: &str) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("its public key is not that of the private key in {key}")
        }
        other => other.to_string(),
    }
}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn setting_fault(key: &str, what: impl Display) -> SettingsError {
    let key = key.to_owned();
    SettingFault { key, value: None, problem: what.to_string(), allowed: None, origin: None }.into()
}
