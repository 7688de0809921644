//! A stream of the daemon that is opened again after it was lost.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{CommandError, CommandRunner};
use crate::cli::event_stream::{EventSource, StreamBlock, StreamStart};
use crate::common::{OutputReader, is_output_gone, report_line};
use crate::model::EventCursor;

/// The delay before the first new connection. It doubles up to [`MAX_RECONNECT_DELAY`].
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// The maximum delay between two connections. A daemon needs about a second to start.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(5);
/// The interval at which a command that waits looks if the reader of its output is there.
const READER_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The end of a stream that was shown.
pub(super) enum StreamEnd {
    /// The connection is lost, or the daemon has ended the stream.
    Lost,
    /// A request beside the stream has failed, which has been reported. The stream must be opened
    /// again, with the delay that the daemon asked for.
    Failed { asked_delay: Option<Duration> },
    /// The reader of the output is gone.
    Unread,
    /// The daemon answered with an error that lasts, which has been shown.
    Refused,
}

/// The next block of a stream, or the reason why there is none.
pub(super) enum NextBlock {
    Block(StreamBlock),
    /// The connection is lost.
    Lost,
    /// The reader of the output is gone.
    Unread,
}

/// The failures since the last stream that had a position.
#[derive(Debug, Default)]
pub(super) struct FollowFailures {
    last: Option<String>,
}

impl FollowFailures {
    /// Reports a failure after which the command tries again, unless it is the last one again.
    pub(super) fn report(&mut self, failure: String) {
        if self.last.as_ref() != Some(&failure) {
            report_line(format_args!("{failure}; trying again"));
            self.last = Some(failure);
        }
    }

    /// Reports that the daemon is there again, if it was not.
    pub(super) fn report_end(&mut self) {
        if self.last.take().is_some() {
            report_line("connected to the daemon again");
        }
    }
}

impl CommandRunner {
    /// Opens a stream, and again after each loss, behind the position that `show` has reached.
    /// `show` reports the end of the failures, once it has what it needs.
    /// Returns true once the reader of the output is gone, and false after an error of the daemon
    /// that lasts.
    pub(super) async fn follow_stream(
        &self,
        path: &str,
        mut position: Option<EventCursor>,
        mut show: impl AsyncFnMut(
            &mut EventSource,
            &mut Option<EventCursor>,
            &mut FollowFailures,
        ) -> Result<StreamEnd, CommandError>,
    ) -> Result<bool, CommandError> {
        let (mut delay, mut failures) = (MIN_RECONNECT_DELAY, FollowFailures::default());
        loop {
            let mut asked_delay = None;
            match self.daemon.open_events(path, position).await {
                Ok(StreamStart::Open(mut stream)) => {
                    let opened_at = Instant::now();
                    match show(&mut stream, &mut position, &mut failures).await? {
                        StreamEnd::Unread => return Ok(true),
                        StreamEnd::Refused => return Ok(false),
                        StreamEnd::Failed { asked_delay: asked } => asked_delay = asked,
                        StreamEnd::Lost => match stream.failure() {
                            Some(failure) => failures.report(failure),
                            // One that ends each stream at once is not asked at once again.
                            None if opened_at.elapsed() < MAX_RECONNECT_DELAY => {}
                            None => delay = MIN_RECONNECT_DELAY,
                        },
                    }
                }
                Ok(StreamStart::Refused(reply)) if !reply.may_pass() => {
                    return self.show_inventory(&reply);
                }
                Ok(StreamStart::Refused(reply)) => {
                    asked_delay = reply.honoured_delay();
                    failures.report(self.describe_refusal(&reply));
                }
                Err(error) if error.is_temporary() => failures.report(error.to_string()),
                Err(error) => return Err(error.into()),
            }
            if wait_with_reader(asked_delay.unwrap_or_default().max(delay)).await
                == OutputReader::Gone
            {
                return Ok(true);
            }
            delay = MAX_RECONNECT_DELAY.min(delay * 2);
        }
    }
}

/// Waits for the next block of a stream.
///
/// # Cancel safety
/// No block is lost.
pub(super) async fn next_block(stream: &mut EventSource) -> NextBlock {
    loop {
        tokio::select! {
            block = stream.next_block() => return block.map_or(NextBlock::Lost, NextBlock::Block),
            () = sleep_until(Instant::now() + READER_CHECK_INTERVAL) => {
                if is_output_gone() {
                    return NextBlock::Unread;
                }
            }
        }
    }
}

/// Waits for this time, or until the reader of the output is gone.
async fn wait_with_reader(delay: Duration) -> OutputReader {
    let ends_at = Instant::now() + delay;
    while !is_output_gone() {
        let now = Instant::now();
        if now >= ends_at {
            return OutputReader::Present;
        }
        sleep_until(ends_at.min(now + READER_CHECK_INTERVAL)).await;
    }
    OutputReader::Gone
}
