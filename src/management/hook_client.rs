//! The client of the web hooks of jobs. It posts the result of one job per request, to a URL that a
//! caller has named.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, http};
use hyper_util::client::legacy::connect::HttpConnector;

use super::http_client::{BodyUse, BoundedClient, RequestTimeouts};
use super::signature::SharedSigner;
use super::url_guard::{ReplyUrl, UrlError, UrlGuard};
use crate::common::{Clock, Timestamp};
use crate::delivery::ReceiverReply;
use crate::model::{JobHook, JobId, JobResult, Secret};
use crate::wire::headers::{
    JOB_SUCCESS, JOB_UUID, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
};

/// The result of a job for its web hook.
#[derive(Clone, Copy, Debug)]
pub struct HookMessage<'a> {
    /// The job.
    pub job: JobId,
    /// Its result.
    pub result: &'a JobResult,
    /// Number of posts of it in a row that failed. It selects one of the addresses of a name.
    pub failures: u32,
}

/// Posts results to web hooks. Cheap to clone.
#[derive(Clone)]
pub struct HookClient {
    guard: UrlGuard,
    /// The guard of the posts, whose names must not delay the checks for callers.
    post_guard: UrlGuard,
    signer: SharedSigner,
    client: BoundedClient<HttpConnector>,
    clock: Arc<dyn Clock>,
}

impl HookClient {
    /// Creates a client that posts only to URLs that the guard accepts.
    pub fn new(
        guard: UrlGuard,
        signer: SharedSigner,
        timeouts: RequestTimeouts,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let post_guard = guard.with_own_lookups();
        let client = BoundedClient::of_addresses(timeouts);
        Self { guard, post_guard, signer, client, clock }
    }

    /// Checks the URL of a caller in the network `caller`, which is `None` if it has no address.
    /// Ends within 2 s.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    pub async fn check_url(&self, url: &str, caller: Option<IpAddr>) -> Result<JobHook, UrlError> {
        let destination = self.guard.validate_hook(url, caller).await?.destination().to_string();
        Ok(JobHook { url: Secret::new(url.to_owned()), destination })
    }

    /// Posts a result, and returns the reply. The URL is checked again, because its name may lead
    /// to other addresses by now, and the post goes to an address that was checked.
    ///
    /// # Errors
    /// [`UrlError`] says why the URL is rejected. No request was sent to it.
    ///
    /// # Cancel safety
    /// The result may or may not have arrived. Posting it again is safe, because its id stays the
    /// same.
    pub async fn post_result(
        &self,
        url: &Secret,
        message: HookMessage<'_>,
    ) -> Result<ReceiverReply, UrlError> {
        let url = self.post_guard.validate_hook(url.expose_secret(), None).await?;
        let now = self.clock.now();
        let request = self.build_request(&url, message, now);
        let (reply, _) = self.client.send_request(request, now, BodyUse::Ignored).await;
        Ok(reply)
    }

    fn build_request(
        &self,
        url: &ReplyUrl,
        HookMessage { job, result, failures }: HookMessage<'_>,
        now: Timestamp,
    ) -> http::Result<Request<Full<Bytes>>> {
        let (id, seconds) = (job.expose_digits(), now.0.div_euclid(1000));
        let success = if result.succeeded { "true" } else { "false" };
        let mut request = url
            .start_post(failures)?
            .header(JOB_UUID, &id)
            .header(JOB_SUCCESS, success)
            .header(WEBHOOK_ID, &id)
            .header(WEBHOOK_TIMESTAMP, seconds);
        if let Some(signature) = self.signer.sign_event(&id, seconds, &result.body) {
            request = request.header(WEBHOOK_SIGNATURE, signature);
        }
        request.body(Full::new(Bytes::from(result.body.clone())))
    }
}
