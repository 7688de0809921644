//! Certificate authorities for tests, and the certificates that they issue.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::secret_files::write_secret;

/// A certificate authority and the files of its certificates.
pub(crate) struct TestCa {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicU32,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), issuer, issued: AtomicU32::new(0) }
    }

    fn write(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        write_secret(&path, pem);
        path
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// Issues a certificate for this name. Returns its file and that of its key.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        self.issue_until(name, 2099)
    }

    /// Issues a certificate as [`TestCa::issue`] does, valid up to this year.
    pub(crate) fn issue_until(&self, name: &str, year: i32) -> (PathBuf, PathBuf) {
        self.issue_with(name, |params| params.not_after = rcgen::date_time_ymd(year, 1, 1))
    }

    /// Issues a certificate as [`TestCa::issue`] does, valid for this number of days from now.
    pub(crate) fn issue_for_days(&self, name: &str, days: u64) -> (PathBuf, PathBuf) {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        // An hour more, so that the days are whole for the whole test.
        let end = Duration::from_secs(now + days * 86_400 + 3600);
        self.issue_with(name, |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end)
    }

    fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let n = self.issued.fetch_add(1, Ordering::Relaxed);
        let cert = self.write(&format!("cert-{n}.pem"), &certificate.pem());
        (cert, self.write(&format!("key-{n}.pem"), &key.serialize_pem()))
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        roots
    }

    /// Configures a server for `localhost`. With `clients` it requires a client certificate of that
    /// CA.
    pub(crate) fn server(&self, clients: Option<&TestCa>) -> rustls::ServerConfig {
        self.server_with(self.issue("localhost"), clients)
    }

    /// Configures a server with this certificate.
    pub(crate) fn server_with(
        &self,
        (cert, key): (PathBuf, PathBuf),
        clients: Option<&TestCa>,
    ) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
    }
}
