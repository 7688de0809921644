//! The space of an image directory.

mod filesystem;

pub use filesystem::{
    Capacity, ImplausibleCapacity, InodeCounts, MountLocation, MountedPart, SpaceId, WriteOutcome,
};
