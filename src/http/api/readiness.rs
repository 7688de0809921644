//! The check behind `/readyz`.

/// A check of whether the daemon can serve requests. The composition root implements it.
pub trait ReadinessCheck: Send + Sync + 'static {
    /// Returns the reasons why the daemon is not ready, one clause each, such as `the state
    /// directory cannot be written`. The list is empty if the daemon is ready. The call must not
    /// block: read what a task has found, not the disk.
    fn failures(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String> + Send + Sync + 'static> ReadinessCheck for F {
    fn failures(&self) -> Vec<String> {
        self()
    }
}
