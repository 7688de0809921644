//! The body of a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame};

/// Marks the response with a stream, as an extension. It is the last one of its connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct EventStreamMark;

/// The next part of a stream, and the stream after it.
type NextPart<P> = Pin<Box<dyn Future<Output = Option<(Bytes, P)>> + Send>>;

/// A source of the parts of a body.
pub(super) trait PartSource: Sized + Send + Unpin + 'static {
    /// Waits for the next part. Returns it and the source, or `None` at the end.
    ///
    /// # Cancel safety
    /// The part is lost with the stream.
    fn next_part(self) -> impl Future<Output = Option<(Bytes, Self)>> + Send;
}

/// A body that asks its source for the next part when the connection has room for it. A client that
/// does not read costs no memory beyond one part.
pub(super) struct EventStreamBody<P>(Option<NextPart<P>>);

impl<P: PartSource> EventStreamBody<P> {
    pub(super) fn new(source: P) -> Self {
        Self(Some(Box::pin(source.next_part())))
    }
}

impl<P: PartSource> HttpBody for EventStreamBody<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = self.0.as_mut() else { return Poll::Ready(None) };
        let part = ready!(next.as_mut().poll(cx));
        let (part, source) = part.unzip();
        self.0 = source.map(|source: P| -> NextPart<P> { Box::pin(source.next_part()) });
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
