//! The client of the callback. It posts one event per request.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Request, Uri};

use super::endpoint::{
    EndpointConnector, endpoint_tls, host_and_port, is_https, new_connector, parse_url,
};
use super::http_client::{BodyUse, BoundedClient, RequestTimeouts, USER_AGENT_NAME};
use super::signature::{EventSigner, INVALID_SECRET, SecretsError, SharedSigner};
use crate::common::Timestamp;
use crate::delivery::ReceiverReply;
use crate::diagnosis::CertificateFact;
use crate::settings::{
    CallbackSettings, FilePolicy, FilePurpose, SettingFault, SettingsError, read_text,
};
use crate::tls::certificate_in_file;
use crate::wire::WebhookEvent;
use crate::wire::headers::{COMMAND_PATH, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};

/// The key of the URLs.
const URLS_KEY: &str = "callback.urls";

/// Posts events to the callback. It is cheap to clone, and its requests run concurrently.
#[derive(Clone, Debug)]
pub struct CallbackClient {
    urls: Arc<[Uri]>,
    signer: SharedSigner,
    client: BoundedClient<EndpointConnector>,
    certificate: Option<CertificateFact>,
}

impl CallbackClient {
    /// Creates a client of `callback.urls`. Returns `None` if no URL is configured. Blocks while it
    /// reads the files that the settings name.
    ///
    /// # Errors
    /// [`SettingsError`] with every fault of the URLs, the secrets and the certificates.
    pub fn new(
        settings: &CallbackSettings,
        policy: &FilePolicy,
        timeouts: RequestTimeouts,
    ) -> Result<Option<Self>, SettingsError> {
        if settings.urls.is_empty() {
            return Ok(None);
        }
        let mut faults = Vec::new();
        let urls = settings.urls.iter();
        let urls = urls.map(|text| SettingsError::gather(parse_url(URLS_KEY, text), &mut faults));
        let urls: Vec<Option<Uri>> = urls.collect();
        let is_secure = |url: &Option<Uri>| url.as_ref().is_some_and(is_https);
        let all_https = urls.iter().all(is_secure);
        let has_https = urls.iter().any(is_secure);
        let tls = endpoint_tls(settings, policy, has_https);
        // A fault of the file is one of `tls`.
        let certificate = settings.client_cert.as_ref().filter(|_| has_https);
        let certificate = certificate
            .and_then(|path| certificate_in_file("callback.client_cert", path, policy).ok());
        let urls: Option<Arc<[Uri]>> = urls.into_iter().collect();
        let tls = SettingsError::gather(tls, &mut faults);
        let signer = SettingsError::gather(load_signer(settings, policy), &mut faults);
        let (Some(urls), Some(tls), Some(signer)) = (urls, tls, signer) else {
            return Err(SettingsError::new(faults));
        };
        let connector = new_connector(tls, timeouts, all_https);
        let client = BoundedClient::new(connector, timeouts);
        Ok(Some(Self { urls, signer: SharedSigner::new(signer), client, certificate }))
    }

    /// Returns the signer of the events.
    pub fn signer(&self) -> SharedSigner {
        self.signer.clone()
    }

    /// Returns the certificate that is sent to a receiver that requests one, or `None` without one.
    pub fn certificate(&self) -> Option<&CertificateFact> {
        self.certificate.as_ref()
    }

    /// Returns the number of receivers.
    pub fn endpoint_count(&self) -> usize {
        self.urls.len()
    }

    /// Returns the host and port of a receiver, as a text for operators.
    pub fn endpoint_name(&self, endpoint: usize) -> String {
        self.urls.get(endpoint).map(host_and_port).unwrap_or_default()
    }

    /// Posts one event to a receiver, and returns the reply. If the event is a heartbeat, also
    /// returns the body of a 2xx, up to [`WebhookEvent::max_reply_bytes`]. Ends within
    /// [`RequestTimeouts::total`].
    ///
    /// # Cancel safety
    /// The event may or may not have arrived. Sending it again is safe, because its id stays the
    /// same.
    pub async fn post_event(
        &self,
        endpoint: usize,
        event: &WebhookEvent,
        now: Timestamp,
    ) -> (ReceiverReply, Vec<u8>) {
        let Some(url) = self.urls.get(endpoint) else {
            return (ReceiverReply::NoResponse("no such receiver".to_owned()), Vec::new());
        };
        let body_use = match event.max_reply_bytes {
            0 => BodyUse::Ignored,
            max_bytes => BodyUse::Returned { max_bytes },
        };
        self.client.send_request(self.build_request(url, event, now), now, body_use).await
    }

    fn build_request(
        &self,
        url: &Uri,
        event: &WebhookEvent,
        now: Timestamp,
    ) -> hyper::http::Result<Request<Full<Bytes>>> {
        let seconds = now.0.div_euclid(1000);
        let mut request = Request::post(url.clone())
            .header(CONTENT_TYPE, event.content_type)
            .header(USER_AGENT, USER_AGENT_NAME)
            .header(WEBHOOK_ID, &event.id)
            .header(WEBHOOK_TIMESTAMP, seconds);
        if let Some(signature) = self.signer.sign_event(&event.id, seconds, &event.body) {
            request = request.header(WEBHOOK_SIGNATURE, signature);
        }
        if let Some(path) = event.command_path {
            request = request.header(COMMAND_PATH, path);
        }
        request.body(Full::new(Bytes::from(event.body.clone())))
    }
}

/// Loads the secrets that sign events. Returns `None` if no file is configured. Blocks while it
/// reads the file.
///
/// # Errors
/// [`SettingsError`] with every line that is not a secret, by its number. The lines are not quoted.
pub fn load_signer(
    settings: &CallbackSettings,
    policy: &FilePolicy,
) -> Result<Option<EventSigner>, SettingsError> {
    const SIGNING_SECRET_KEY: &str = "callback.signing_secret_file";
    let Some(path) = &settings.signing_secret_file else { return Ok(None) };
    let text = read_text(path, FilePurpose::Secret, policy)
        .map_err(|error| SettingFault::unusable_file(SIGNING_SECRET_KEY, path, &error))?;
    let signer = EventSigner::parse_secrets(&text).map_err(|error| match error {
        SecretsError::InvalidLines(lines) => {
            let lines: Vec<_> = lines.into_iter().map(|line| (line, INVALID_SECRET)).collect();
            SettingsError::in_lines(SIGNING_SECRET_KEY, path, &lines)
        }
        error @ SecretsError::Empty => {
            SettingFault::in_file(SIGNING_SECRET_KEY, path, error).into()
        }
    })?;
    Ok(Some(signer))
}
