//! The whole daemon as a process, against a real sshd, real filesystems and a management node.

mod attempts;
mod crashes;
mod keys;
mod outages;
mod starts;
mod story;
