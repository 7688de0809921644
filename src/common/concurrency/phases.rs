//! The phases of a piece of work, reported as they end. The work does not know its observer, as
//! code that logs does not know the spans around it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// The end of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseEnd {
    /// The word of the phase.
    pub phase: &'static str,
    /// Its duration.
    pub took: Duration,
    /// True if the phase failed.
    pub failed: bool,
}

/// A function that gets each phase as it ends. It never waits.
pub type PhaseObserver = Arc<dyn Fn(PhaseEnd) + Send + Sync>;

tokio::task_local! {
    /// The observer of the work that runs.
    static OBSERVER: PhaseObserver;
}

/// Runs work whose phases are reported to an observer. Other tasks that the work starts are not
/// observed.
///
/// # Cancel safety
/// That of the work.
pub async fn observe_phases<T>(observer: PhaseObserver, work: impl Future<Output = T>) -> T {
    OBSERVER.scope(observer, work).await
}

/// Reports the end of a phase, if the work is observed.
pub fn report_phase<T, E>(phase: &'static str, took: Duration, outcome: &Result<T, E>) {
    // Work that is not observed has no observer, which is not an error.
    let _ =
        OBSERVER.try_with(|observer| observer(PhaseEnd { phase, took, failed: outcome.is_err() }));
}

/// Runs a phase, and reports its end as [`report_phase`] does.
///
/// # Cancel safety
/// That of the work.
pub async fn run_phase<T, E>(
    phase: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let began = Instant::now();
    let outcome = work.await;
    report_phase(phase, began.elapsed(), &outcome);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn each_phase_of_observed_work_is_reported_and_no_other() {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let observer: PhaseObserver = {
            let ends = Arc::clone(&ends);
            Arc::new(move |end: PhaseEnd| ends.lock().unwrap().push((end.phase, end.failed)))
        };
        let work = async {
            let both = tokio::join!(
                run_phase("one", async { Ok::<_, ()>(1) }),
                run_phase("two", async { Err::<(), _>(2) })
            );
            tokio::spawn(run_phase("other task", async { Ok::<_, ()>(3) })).await.unwrap().unwrap();
            both
        };
        assert_eq!(observe_phases(observer, work).await, (Ok(1), Err(2)));
        assert_eq!(run_phase("not observed", async { Ok::<_, ()>(4) }).await, Ok(4));
        assert_eq!(*ends.lock().unwrap(), [("one", false), ("two", true)]);
    }
}
