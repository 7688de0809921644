//! Sources of the settings: the file and the environment, and the typed values read from them.

pub(super) mod layer;
pub(super) mod reader;
