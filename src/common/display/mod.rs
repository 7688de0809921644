//! Text that is safe to display, and the only writer of it on stdout and stderr.

pub(super) mod console;
pub(super) mod json;
pub(super) mod sanitize;
