//! The question behind `/readyz`.

/// Whether the daemon can do its work, as its composition root knows it.
pub trait Readiness: Send + Sync + 'static {
    /// What stands in the way, one clause each, such as `the state directory cannot be written`; none
    /// when ready. Must not block: look at what a task has found, not at the disk.
    fn obstacles(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> Readiness for F {
    fn obstacles(&self) -> Vec<String> {
        self()
    }
}
