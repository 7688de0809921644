//! The sources of the settings: the file and the environment, and the values read out of them.

pub(super) mod layer;
pub(super) mod reader;
