//! The non-blocking log writer: one thread writes the lines in batches.
//!
//! # Guarantees
//! - A task that logs never waits for the reader of the log, such as a hanging journal.
//! - Lines stay complete and in order.
//! - A line is written about a millisecond after it was logged, and all lines before the process
//!   ends, unless the reader hangs for [`FLUSH_TIMEOUT`].
//! - Lines that do not fit are counted, and so are lines whose write failed. The log reports both
//!   numbers once it accepts lines again.
//!
//! # Costs
//! A process that is killed loses the lines of its last millisecond.
//!
//! # Alternatives
//! `tracing_appender::non_blocking` is not used. It bounds the number of lines and not their bytes,
//! and writes each line separately. It does not count lines that cannot be written, and does not
//! report the lines that it drops.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tracing::{Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use crate::common::{Counter, ignore_poison, lock_unpoisoned};

/// Maximum number of queued bytes: about 500 lines, more than a burst of 200 reconnects produces.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Maximum number of further queued bytes of events with the priority name, about 150 lines. Other
/// lines cannot push them out of a full queue.
const PRIORITY_BYTES: usize = 64 * 1024;
/// Delay of a batch after its first line, to collect more lines. A write and the wakeup of the
/// reader cost as much as formatting a line.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// Maximum time that the shutdown waits for a hanging reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum capacity of a batch buffer that is reused. A larger one is freed after its burst.
const MAX_RETAINED_BUFFER: usize = 8 * 1024;

/// The writer of log lines. It is cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct NonBlockingWriter {
    shared: Arc<WriterShared>,
    /// The name of the events that may use the room of [`PRIORITY_BYTES`].
    priority_event: &'static str,
}

/// Writes the lines of one event.
#[derive(Debug)]
pub(super) struct LineWriter<'a> {
    shared: &'a WriterShared,
    is_priority: bool,
}

#[derive(Debug, Default)]
pub(super) struct WriterShared {
    queue: Mutex<LineQueue>,
    /// Signals that lines are queued or that the shutdown has begun.
    wakeup: Condvar,
    /// Signals that all lines are written and the thread has ended.
    finished: Condvar,
    /// Number of lines that were dropped or not written since the start.
    lost: Arc<Counter>,
}

#[derive(Debug, Default)]
struct LineQueue {
    /// The queued lines.
    bytes: Vec<u8>,
    /// Number of lines that found the queue full since the last report.
    dropped: u64,
    /// Number of dropped lines among them whose event has the priority name.
    dropped_priority: u64,
    /// Number of lines whose write failed since the last report.
    unwritten: u64,
    is_stopping: bool,
    has_stopped: bool,
}

/// Keeps the log running. Dropping it writes the queued lines within a second. Lines logged later
/// are lost.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(Arc<WriterShared>);

impl NonBlockingWriter {
    /// Creates a writer whose queue keeps room for the events with this name.
    pub(super) fn new(priority_event: &'static str) -> Self {
        Self { shared: Arc::default(), priority_event }
    }

    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// Returns an error if the system cannot start the thread.
    pub(super) fn start_writer(&self, out: impl Write + Send + 'static) -> io::Result<LogGuard> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.run_writer(out))?;
        Ok(LogGuard(Arc::clone(&self.shared)))
    }
}

impl WriterShared {
    fn lock_queue(&self) -> MutexGuard<'_, LineQueue> {
        lock_unpoisoned(&self.queue)
    }

    fn run_writer(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let idle = |queue: &mut LineQueue| queue.bytes.is_empty() && !queue.is_stopping;
            let mut queue = ignore_poison(self.wakeup.wait_while(self.lock_queue(), idle));
            if queue.bytes.is_empty() {
                queue.has_stopped = true;
                self.finished.notify_all();
                return;
            }
            if !queue.is_stopping {
                drop(queue);
                thread::sleep(BATCH_DELAY);
                queue = self.lock_queue();
            }
            mem::swap(&mut queue.bytes, &mut batch);
            drop(queue);
            let result = out.write_all(&batch).and_then(|()| out.flush());
            self.count_lost(result.is_ok(), &batch);
            if batch.capacity() > MAX_RETAINED_BUFFER {
                batch = Vec::new();
            }
            batch.clear();
        }
    }

    /// Reports lost lines after a successful write. Otherwise counts the lines of the batch that
    /// was not written.
    fn count_lost(&self, is_written: bool, batch: &[u8]) {
        let mut queue = self.lock_queue();
        if !is_written {
            let count = batch.iter().filter(|byte| **byte == b'\n').count();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            queue.unwritten = queue.unwritten.saturating_add(count);
            self.lost.add(count);
            return;
        }
        // The report itself also needs space in the queue.
        if queue.bytes.len() >= MAX_QUEUED_BYTES / 2 {
            return;
        }
        let (dropped, changes) =
            (mem::take(&mut queue.dropped), mem::take(&mut queue.dropped_priority));
        let unwritten = mem::take(&mut queue.unwritten);
        // Logging the report takes the lock.
        drop(queue);
        if dropped > 0 {
            warn!(lines = dropped, changes, "log lines dropped: reader too slow");
        }
        if unwritten > 0 {
            warn!(lines = unwritten, "log lines dropped: write failed");
        }
    }
}

impl LogGuard {
    /// Returns the number of lines that the log has lost since the start. Those that it has not
    /// reported yet count.
    pub fn lost_lines(&self) -> Arc<Counter> {
        Arc::clone(&self.0.lost)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut queue = self.0.lock_queue();
        queue.is_stopping = true;
        self.0.wakeup.notify_one();
        // A poisoned lock or a timeout cannot be reported any more.
        let _ =
            self.0.finished.wait_timeout_while(queue, FLUSH_TIMEOUT, |queue| !queue.has_stopped);
    }
}

impl<'a> MakeWriter<'a> for NonBlockingWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { shared: &self.shared, is_priority: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter<'a> {
        let is_priority = event.name() == self.priority_event;
        LineWriter { shared: &self.shared, is_priority }
    }
}

/// Accepts a complete line per call, and never fails.
impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let priority = usize::from(self.is_priority);
        let mut queue = self.shared.lock_queue();
        let max_bytes = MAX_QUEUED_BYTES + priority * PRIORITY_BYTES;
        if queue.bytes.len().saturating_add(line.len()) > max_bytes {
            queue.dropped = queue.dropped.saturating_add(1);
            self.shared.lost.increment();
            queue.dropped_priority += u64::from(self.is_priority);
            return Ok(line.len());
        }
        let was_empty = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(line);
        drop(queue);
        if was_empty {
            self.shared.wakeup.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A reader that accepts a batch when the test permits it.
    struct GatedReader {
        permits: Receiver<io::Result<()>>,
        batches_sent: SyncSender<String>,
    }

    impl GatedReader {
        fn new() -> (Self, SyncSender<io::Result<()>>, Receiver<String>) {
            let (permit, permits) = sync_channel(64);
            let (batches_sent, batches) = sync_channel(64);
            (Self { permits, batches_sent }, permit, batches)
        }
    }

    impl Write for GatedReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().unwrap_or(Ok(()))?;
            // A test that has seen enough is gone.
            let _ = self.batches_sent.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(writer: &NonBlockingWriter, line: &str) {
        writer.make_writer().write_all(line.as_bytes()).unwrap();
    }

    fn queued_bytes(writer: &NonBlockingWriter) -> usize {
        writer.shared.lock_queue().bytes.len()
    }

    #[test]
    fn lines_stay_whole_and_in_order_and_the_end_waits_for_them() {
        let (out, permit, batches) = GatedReader::new();
        drop(permit);
        let writer = NonBlockingWriter::new("change");
        let guard = writer.start_writer(out).unwrap();
        let expected: String = (0..5).map(|n| format!("line {n}\n")).collect();
        expected.lines().for_each(|line| log(&writer, &format!("{line}\n")));
        drop(guard);
        assert_eq!(batches.try_iter().collect::<String>(), expected);
    }

    #[test]
    fn a_reader_that_hangs_delays_no_caller_and_what_has_no_room_is_counted() {
        let (out, permit, batches) = GatedReader::new();
        let writer = NonBlockingWriter::new("change");
        let guard = writer.start_writer(out).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        // This is more than the batch and the queue together.
        for _ in 0..=2 * MAX_QUEUED_BYTES / line.len() {
            log(&writer, &line);
        }
        let dropped = writer.shared.lock_queue().dropped;
        assert!(dropped > 0);
        assert_eq!(guard.lost_lines().value(), dropped);
        assert!(queued_bytes(&writer) <= MAX_QUEUED_BYTES);
        permit.send(Ok(())).unwrap();
        let first = batches.recv().unwrap();
        drop(permit);
        drop(guard);
        let written: usize =
            first.len() + batches.try_iter().map(|batch| batch.len()).sum::<usize>();
        assert_eq!(written % line.len(), 0, "a line is whole");
    }

    #[test]
    fn a_full_queue_keeps_room_for_the_events_with_the_priority_name() {
        let (out, permit, batches) = GatedReader::new();
        let writer = NonBlockingWriter::new("change");
        let guard = writer.start_writer(out).unwrap();
        // The reader holds the first batch, so that everything else stays in the queue.
        log(&writer, "first\n");
        while queued_bytes(&writer) > 0 {
            thread::yield_now();
        }
        let subscriber = tracing_subscriber::fmt().with_writer(writer.clone()).with_ansi(false);
        tracing::subscriber::with_default(subscriber.finish(), || {
            let text = "x".repeat(1000);
            for _ in 0..=2 * MAX_QUEUED_BYTES / text.len() {
                tracing::info!(text, "request rejected");
            }
            for n in 0..20 {
                tracing::info!(name: "change", n, "request");
            }
            tracing::info!("the queue has no room for this");
            for n in 20..1000 {
                tracing::info!(name: "change", n, "request");
            }
        });
        assert!(queued_bytes(&writer) <= MAX_QUEUED_BYTES + PRIORITY_BYTES);
        let lost = writer.shared.lock_queue().dropped_priority;
        assert!((1..980).contains(&lost), "{lost}");
        drop(permit);
        drop(guard);
        let written: String = batches.try_iter().collect();
        assert!((0..20).all(|n| written.contains(&format!("request n={n}\n"))), "{written}");
        assert!(!written.contains("no room for this"));
    }

    #[test]
    fn the_end_gives_a_reader_that_hangs_up() {
        let (out, permit, _batches) = GatedReader::new();
        let writer = NonBlockingWriter::new("change");
        let guard = writer.start_writer(out).unwrap();
        log(&writer, "no process reads this\n");
        drop(guard);
        assert!(!writer.shared.lock_queue().has_stopped);
        drop(permit);
    }

    #[test]
    fn what_cannot_be_written_is_counted_until_something_can() {
        let (out, permit, batches) = GatedReader::new();
        let writer = NonBlockingWriter::new("change");
        let guard = writer.start_writer(out).unwrap();
        permit.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        log(&writer, "lost\n");
        let counted = || writer.shared.lock_queue().unwritten == 1;
        while !counted() {
            thread::yield_now();
        }
        permit.send(Ok(())).unwrap();
        log(&writer, "kept\n");
        assert_eq!(batches.recv().unwrap(), "kept\n");
        drop((permit, guard));
        let queue = writer.shared.lock_queue();
        assert_eq!((queue.dropped, queue.unwritten), (0, 0));
        // The report resets its own numbers, and not the total.
        assert_eq!(writer.shared.lost.value(), 1);
    }
}
