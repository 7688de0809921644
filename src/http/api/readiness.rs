//! The question behind `/readyz`.

/// Whether the daemon can do its work, as its composition root knows it.
pub trait ReadinessCheck: Send + Sync + 'static {
    /// What stands in the way, one clause each, such as `the state directory cannot be written`; none
    /// when ready. Must not block: look at what a task has found, not at the disk.
    fn failures(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> ReadinessCheck for F {
    fn failures(&self) -> Vec<String> {
        self()
    }
}
