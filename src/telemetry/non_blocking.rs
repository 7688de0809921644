//! The non-blocking log writer: one thread writes the lines in batches.
//!
//! # Guarantees
//! - A task that logs never waits for the reader of the log, such as a hanging journal.
//! - Lines stay complete and in order.
//! - A line is written about a millisecond after it was logged, and all lines before the process
//!   ends, unless the reader hangs for [`FLUSH_TIMEOUT`].
//! - Lines that do not fit or cannot be written are counted. The log reports their number once it
//!   accepts lines again.
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

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::common::{ignore_poison, lock_unpoisoned};

/// Maximum number of queued bytes: about 500 lines, more than a burst of 200 reconnects produces.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Delay of a batch after its first line, to collect more lines. A write and the wakeup of the
/// reader cost as much as formatting a line.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// Maximum time that the shutdown waits for a hanging reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum capacity of a batch buffer that is reused. A larger one is freed after its burst.
const MAX_RETAINED_BUFFER: usize = 8 * 1024;

/// The writer of log lines. It is cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct NonBlockingWriter(Arc<WriterShared>);

#[derive(Debug, Default)]
struct WriterShared {
    lines: Mutex<LineWriter>,
    /// Signals that lines are queued or that the shutdown has begun.
    came: Condvar,
    /// Signals that all lines are written and the thread has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct LineWriter {
    waiting: Vec<u8>,
    lost: u64,
    ending: bool,
    ended: bool,
}

/// Keeps the log running. Dropping it writes the queued lines within a second. Lines logged later
/// are lost.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(Arc<WriterShared>);

impl NonBlockingWriter {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// Returns an error if the system cannot start the thread.
    pub(super) fn start_writer(&self, out: impl Write + Send + 'static) -> io::Result<LogGuard> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(out))?;
        Ok(LogGuard(Arc::clone(&self.0)))
    }
}

impl WriterShared {
    fn take_lines(&self) -> MutexGuard<'_, LineWriter> {
        lock_unpoisoned(&self.lines)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let idle = |lines: &mut LineWriter| lines.waiting.is_empty() && !lines.ending;
            let mut lines = ignore_poison(self.came.wait_while(self.take_lines(), idle));
            if lines.waiting.is_empty() {
                lines.ended = true;
                self.ended.notify_all();
                return;
            }
            if !lines.ending {
                drop(lines);
                thread::sleep(BATCH_DELAY);
                lines = self.take_lines();
            }
            mem::swap(&mut lines.waiting, &mut batch);
            drop(lines);
            let written = out.write_all(&batch).and_then(|()| out.flush());
            self.count_dropped(written.is_ok(), &batch);
            if batch.capacity() > MAX_RETAINED_BUFFER {
                batch = Vec::new();
            }
            batch.clear();
        }
    }

    /// Reports dropped lines after a successful write. Otherwise counts the lines of the batch that
    /// was not written.
    fn count_dropped(&self, written: bool, batch: &[u8]) {
        let mut lines = self.take_lines();
        if !written {
            let more = batch.iter().filter(|byte| **byte == b'\n').count();
            lines.lost = lines.lost.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
            return;
        }
        // The report itself also needs space in the queue.
        let room = lines.waiting.len() < MAX_QUEUED_BYTES / 2;
        let lost = if room { mem::take(&mut lines.lost) } else { 0 };
        // Logging the report takes the lock.
        drop(lines);
        if lost > 0 {
            warn!(lines = lost, "lines of the log were lost: whoever reads it did not keep up");
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut lines = self.0.take_lines();
        lines.ending = true;
        self.0.came.notify_one();
        // A poisoned lock or a timeout cannot be reported any more.
        let _ = self.0.ended.wait_timeout_while(lines, FLUSH_TIMEOUT, |lines| !lines.ended);
    }
}

impl<'a> MakeWriter<'a> for NonBlockingWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Accepts a complete line per call, and never fails.
impl Write for &NonBlockingWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.take_lines();
        if lines.waiting.len().saturating_add(line.len()) > MAX_QUEUED_BYTES {
            lines.lost = lines.lost.saturating_add(1);
            return Ok(line.len());
        }
        let first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        drop(lines);
        if first {
            self.0.came.notify_one();
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
    struct Held {
        let_in: Receiver<io::Result<()>>,
        taken: SyncSender<String>,
    }

    impl Held {
        fn new() -> (Self, SyncSender<io::Result<()>>, Receiver<String>) {
            let (lets, let_in) = sync_channel(64);
            let (taken, batches) = sync_channel(64);
            (Self { let_in, taken }, lets, batches)
        }
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.let_in.recv().unwrap_or(Ok(()))?;
            // A test that has seen enough is gone.
            let _ = self.taken.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(spool: &NonBlockingWriter, line: &str) {
        let mut spool = spool;
        spool.write_all(line.as_bytes()).unwrap();
    }

    fn waiting(spool: &NonBlockingWriter) -> usize {
        spool.0.take_lines().waiting.len()
    }

    #[test]
    fn lines_stay_whole_and_in_order_and_the_end_waits_for_them() {
        let (out, lets, batches) = Held::new();
        drop(lets);
        let spool = NonBlockingWriter::default();
        let guard = spool.start_writer(out).unwrap();
        let expected: String = (0..5).map(|n| format!("line {n}\n")).collect();
        expected.lines().for_each(|line| log(&spool, &format!("{line}\n")));
        drop(guard);
        assert_eq!(batches.try_iter().collect::<String>(), expected);
    }

    #[test]
    fn a_reader_that_hangs_holds_nobody_up_and_what_has_no_room_is_counted() {
        let (out, lets, batches) = Held::new();
        let spool = NonBlockingWriter::default();
        let guard = spool.start_writer(out).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        // More than the batch it holds and the room behind it.
        for _ in 0..=2 * MAX_QUEUED_BYTES / line.len() {
            log(&spool, &line);
        }
        assert!(spool.0.take_lines().lost > 0);
        assert!(waiting(&spool) <= MAX_QUEUED_BYTES);
        lets.send(Ok(())).unwrap();
        let first = batches.recv().unwrap();
        drop(lets);
        drop(guard);
        let written: usize =
            first.len() + batches.try_iter().map(|batch| batch.len()).sum::<usize>();
        assert_eq!(written % line.len(), 0, "a line is whole");
    }

    #[test]
    fn the_end_gives_a_reader_that_hangs_up() {
        let (out, lets, _batches) = Held::new();
        let spool = NonBlockingWriter::default();
        let guard = spool.start_writer(out).unwrap();
        log(&spool, "nobody reads this\n");
        drop(guard);
        assert!(!spool.0.take_lines().ended);
        drop(lets);
    }

    #[test]
    fn what_cannot_be_written_is_counted_until_something_can() {
        let (out, lets, batches) = Held::new();
        let spool = NonBlockingWriter::default();
        let guard = spool.start_writer(out).unwrap();
        lets.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        log(&spool, "lost\n");
        let counted = || spool.0.take_lines().lost == 1;
        while !counted() {
            thread::yield_now();
        }
        lets.send(Ok(())).unwrap();
        log(&spool, "kept\n");
        assert_eq!(batches.recv().unwrap(), "kept\n");
        drop((lets, guard));
        assert_eq!(spool.0.take_lines().lost, 0);
    }
}
