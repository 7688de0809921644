//! Work that blocks its thread: reading files, name lookups and expensive computations. It runs on
//! the blocking pool of the runtime.
//!
//! The system may refuse a new thread (`EAGAIN`, `pthread_create(3)`). While the pool has a thread,
//! work is then queued for it. If the pool has none, tokio panics. [`keep_thread_alive`] therefore
//! keeps one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Time after which an idle thread of the pool ends. It is longer than `USE_INTERVAL`, so that
/// one thread never ends, and short enough that the threads of a burst do not stay.
pub const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Time between two uses of the thread that is kept. It is below half of [`THREAD_KEEP_ALIVE`], so
/// that a late use is still in time.
const USE_INTERVAL: Duration = Duration::from_secs(25);

/// The reason why blocking work has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// No thread was free before the deadline. The work never runs.
    #[error("the system provided no thread for the work in time")]
    NotStarted,
    /// The work did not end before the deadline. It continues, and its result is dropped.
    #[error("the work did not end in time")]
    TimedOut,
    /// The work panicked.
    #[error("the work ended with an internal error")]
    Panicked,
}

/// Runs `work` on a thread of the blocking pool, and waits for its result until `deadline`.
///
/// # Errors
/// [`BlockingError`] says whether the work was started.
///
/// # Cancel safety
/// Work that has started continues. Work that has not started never runs.
pub async fn run_blocking<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    let started = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&started);
    let work = move || {
        flag.store(true, Ordering::Relaxed);
        work()
    };
    #[expect(clippy::disallowed_methods, reason = "this is the only place that uses the pool")]
    let spawned = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(work)));
    let Ok(running) = spawned else { return Err(BlockingError::NotStarted) };
    match timeout_at(deadline, AbortOnDropHandle::new(running)).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(BlockingError::Panicked),
        Err(_) if started.load(Ordering::Relaxed) => Err(BlockingError::TimedOut),
        Err(_) => Err(BlockingError::NotStarted),
    }
}

/// Uses a thread of the pool again and again, so that the pool always has one. The runtime must
/// have the idle time [`THREAD_KEEP_ALIVE`]. Never returns.
pub async fn keep_thread_alive() {
    loop {
        // If all threads are busy, the pool has one anyway.
        let _ = run_blocking(Instant::now() + USE_INTERVAL, || ()).await;
        sleep(USE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn runtime_with_one_thread() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().max_blocking_threads(1).build().unwrap()
    }

    #[test]
    fn work_that_found_no_thread_is_told_from_work_that_takes_too_long() {
        let (release, released) = sync_channel::<()>(0);
        runtime_with_one_thread().block_on(async {
            let soon = Instant::now() + Duration::from_millis(20);
            let hangs = run_blocking(soon, move || released.recv().is_ok()).await;
            assert_eq!(hangs, Err(BlockingError::TimedOut));
            let (ran, has_run) = sync_channel(1);
            let soon = Instant::now() + Duration::from_millis(20);
            let queued = run_blocking(soon, move || ran.send(()).is_ok()).await;
            assert_eq!(queued, Err(BlockingError::NotStarted));
            // The thread is free again, and the work that was given up never runs.
            release.send(()).unwrap();
            assert_eq!(run_blocking(Instant::now() + LONG, || 7).await, Ok(7));
            assert!(has_run.try_recv().is_err());
        });
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_an_error() {
        let result: Result<(), _> = run_blocking(Instant::now() + LONG, || panic!("test")).await;
        assert_eq!(result, Err(BlockingError::Panicked));
    }
}
