//! The space of an image directory: its filesystem, and its use by day.

mod capacity_day;
mod filesystem;
mod mount_line;
mod outlook;

pub use capacity_day::{CapacityDay, DAY_SECONDS, DayFigures, ImplausibleUse, UsedRange, UtcDay};
pub use filesystem::{
    Capacity, ImplausibleCapacity, InodeCounts, MountLocation, MountedPart, SpaceId, WriteOutcome,
};
pub use mount_line::{MountLine, unescape_mount_path};
pub use outlook::{LimitOutlook, LimitOutlooks, SpaceForecast, UseForecast, UseLimit};
