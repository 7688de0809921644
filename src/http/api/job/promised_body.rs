//! The body of a response that refers a caller with a web hook to its job.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::hooks::HookPromise;

/// A body with the promise of a web hook. The server drops it when it has written the response.
pub(super) struct PromisedBody {
    body: Body,
    _promise: HookPromise,
}

impl PromisedBody {
    /// Keeps the promise with this body.
    pub(super) fn new(body: Body, promise: HookPromise) -> Self {
        Self { body, _promise: promise.keep() }
    }
}

impl HttpBody for PromisedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
