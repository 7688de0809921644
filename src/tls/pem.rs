//! Certificates and private keys in PEM files (RFC 7468).

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::{SettingFault, SettingsError, read_file};

/// Reads all certificates of a file, at least one. `key` is the name of the setting with the path.
pub(super) fn read_certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let pem = read_file(path).map_err(|error| SettingFault::unreadable_file(key, path, &error))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| SettingFault::in_file(key, path, error))?;
    if all.is_empty() {
        return Err(SettingFault::in_file(key, path, "it holds no certificate").into());
    }
    Ok(all)
}

/// Reads the certificates of a file as trusted authorities.
pub(super) fn roots_of(key: &'static str, path: &Path) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(key, path)? {
        roots.add(certificate).map_err(|error| SettingFault::in_file(key, path, error))?;
    }
    Ok(roots)
}

/// Reads the first private key of a file.
pub(super) fn private_key(
    key: &'static str,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, SettingsError> {
    let pem = read_file(path).map_err(|error| SettingFault::unreadable_file(key, path, &error))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| SettingFault::in_file(key, path, error).into())
}
