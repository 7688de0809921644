//! One request to the callback.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::signature::{BadSecrets, NO_SECRET, Signer};
use super::trust::{client_config, trusting_nobody};
use crate::delivery::{Reply, retry_after};
use crate::model::Timestamp;
use crate::settings::{BadSettings, Callback, SettingFault, read_text};
use crate::wire::Event;

/// Connections that are kept idle: enough for a burst, no burden on the receiver.
const KEPT: usize = 4;
/// How long they are kept: less than common servers do (Node.js: 5 s), so that few requests meet a
/// connection that is being closed, or one whose peer lost power.
const IDLE: Duration = Duration::from_secs(4);
/// Bytes of a reply that are read: a short one to its end, so that the connection is used again.
const READ: usize = 4096;
/// Bytes of an answer that are read where it has something to say: a thousand uuids and more.
const ANSWER: usize = 64 * 1024;
/// Bytes of a refusal that are kept.
const EVIDENCE: usize = 512;

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// From its begin to the end of its reply.
    pub whole: Duration,
}

impl Default for Limits {
    /// 5 s and 10 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), whole: Duration::from_secs(10) }
    }
}

const USER: &str = concat!("imagestore-agent/", env!("CARGO_PKG_VERSION"));

type Https = HttpsConnector<HttpConnector>;

/// Posts events to the callback. Cheap to clone; requests run side by side.
#[derive(Clone, Debug)]
pub struct CallbackClient {
    urls: Arc<[Uri]>,
    limits: Limits,
    signer: Option<Arc<Signer>>,
    client: Client<Https, Full<Bytes>>,
}

impl CallbackClient {
    /// A client of `callback.urls`; none when there is no URL. Blocks on the files that
    /// the settings name.
    ///
    /// # Errors
    /// [`BadSettings`] with every fault of URL, secrets and certificates.
    pub fn new(settings: &Callback, limits: Limits) -> Result<Option<Self>, BadSettings> {
        if settings.urls.is_empty() {
            return Ok(None);
        }
        let mut faults = Vec::new();
        let urls = settings.urls.iter().map(|text| BadSettings::gather(url(text), &mut faults));
        let urls: Vec<Option<Uri>> = urls.collect();
        let is_secure =
            |url: &Option<Uri>| url.as_ref().is_some_and(|url| url.scheme_str() == Some("https"));
        let secure = urls.iter().all(is_secure);
        let tls =
            if urls.iter().any(is_secure) { client_config(settings) } else { trusting_nobody() };
        let urls: Option<Arc<[Uri]>> = urls.into_iter().collect();
        let tls = BadSettings::gather(tls, &mut faults);
        let signer = BadSettings::gather(signer(settings), &mut faults);
        let (Some(urls), Some(tls), Some(signer)) = (urls, tls, signer) else {
            return Err(BadSettings::new(faults));
        };
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(limits.connect));
        http.set_nodelay(true);
        http.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if secure {
            builder.https_only().enable_http1().wrap_connector(http)
        } else {
            builder.https_or_http().enable_http1().wrap_connector(http)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .build(connector);
        Ok(Some(Self { urls, limits, signer: signer.map(Arc::new), client }))
    }

    /// How many receivers there are, in order of preference.
    pub fn destinations(&self) -> usize {
        self.urls.len()
    }

    /// A receiver's host and port, for people.
    pub fn name(&self, to: usize) -> String {
        let host = self.urls.get(to).and_then(Uri::authority);
        // What stands before an @ would be a secret.
        let host = host.map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
        host.unwrap_or_default().to_owned()
    }

    /// Posts one event to a receiver and reads what is needed of the reply: what it is, and the body of a
    /// 2xx, at most 64 KiB of it. Ends within [`Limits::whole`].
    ///
    /// # Cancel safety
    /// The event may or may not have arrived; sending it again is safe, its id stays the same.
    pub async fn ask(&self, to: usize, event: &Event, now: Timestamp) -> (Reply, Vec<u8>) {
        let unreached = |why: String| (Reply::Unreached(why), Vec::new());
        let Some(url) = self.urls.get(to) else { return unreached("no such receiver".to_owned()) };
        let request = match self.request(url, event, now) {
            Ok(request) => request,
            Err(error) => return unreached(error.to_string()),
        };
        let deadline = Instant::now() + self.limits.whole;
        match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => read(response, now, deadline).await,
            Ok(Err(error)) => unreached(cause(&error)),
            Err(_) => unreached(format!("no answer within {} ms", self.limits.whole.as_millis())),
        }
    }

    fn request(
        &self,
        url: &Uri,
        event: &Event,
        now: Timestamp,
    ) -> hyper::http::Result<Request<Full<Bytes>>> {
        let seconds = now.0.div_euclid(1000);
        let mut request = Request::post(url.clone())
            .header(CONTENT_TYPE, event.content_type)
            .header(USER_AGENT, USER)
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", seconds);
        if let Some(signer) = &self.signer {
            let signature = signer.sign(&event.id, seconds, &event.body);
            request = request.header("webhook-signature", signature);
        }
        if let Some(path) = event.command_path {
            request = request.header("commandpath", path);
        }
        request.body(Full::new(Bytes::from(event.body.clone())))
    }
}

fn url(text: &str) -> Result<Uri, BadSettings> {
    text.parse().map_err(|_| {
        SettingFault {
            key: "callback.urls".to_owned(),
            value: Some(format!("{text:?}")),
            what: "no URL".to_owned(),
            allowed: None,
            origin: None,
        }
        .into()
    })
}

fn signer(settings: &Callback) -> Result<Option<Signer>, BadSettings> {
    const KEY: &str = "callback.signing_secret_file";
    let Some(path) = &settings.signing_secret_file else { return Ok(None) };
    let text = read_text(path).map_err(|error| SettingFault::unreadable(KEY, path, &error))?;
    let signer = Signer::parse(&text).map_err(|bad| match bad {
        BadSecrets::Lines(lines) => {
            let lines: Vec<_> = lines.into_iter().map(|line| (line, NO_SECRET)).collect();
            BadSettings::in_lines(KEY, path, &lines)
        }
        none @ BadSecrets::None => SettingFault::in_file(KEY, path, none).into(),
    })?;
    Ok(Some(signer))
}

/// The status decides; a body that stalls or breaks off only shortens the evidence.
async fn read(response: Response<Incoming>, now: Timestamp, deadline: Instant) -> (Reply, Vec<u8>) {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|value| retry_after(value, now));
    let mut body = response.into_body();
    // A refusal is only evidence; a success may have something to say.
    let most = if status.is_success() { ANSWER } else { READ };
    let mut seen = Vec::new();
    while seen.len() < most
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        let room = most.saturating_sub(seen.len());
        seen.extend(frame.data_ref().into_iter().flatten().take(room));
    }
    let success = status.is_success();
    let evidence = seen.get(..EVIDENCE).unwrap_or(&seen);
    let told = if success { String::new() } else { printable(evidence) };
    let reply = Reply::Answered { status: status.as_u16(), retry_after, told };
    (reply, if success { seen } else { Vec::new() })
}

/// One line without control characters, so that no receiver writes lines or colours into our log.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// hyper's own words are "client error (Connect)"; what a person needs lies deepest.
fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn evidence_is_one_printable_line() {
        assert_eq!(printable(b" no\r\n\x1b[31msuch\x00 \xff\n"), "no   [31msuch  \u{fffd}");
    }
}
