//! The whole daemon as a process, against a real sshd, real filesystems and a management node.

mod attempts;
mod clock;
mod conditions;
mod crashes;
mod deadlines;
mod descriptors;
mod faults;
mod hangs;
mod harms;
mod isolation;
mod keys;
mod kills;
mod log;
mod monitor;
mod outages;
mod ownership;
mod permissions;
mod queues;
mod receivers;
mod removals;
mod secrets;
mod starts;
mod state_disk;
mod story;
mod umount;
mod undone;
