//! The whole daemon as a process, against a real sshd, real filesystems and a management node.

mod attempts;
mod crashes;
mod deadlines;
mod isolation;
mod kills;
mod outages;
mod queues;
mod secrets;
mod starts;
mod state_disk;
mod story;
mod umount;
