//! The whole daemon as a process, against a real sshd, real filesystems and a management node.

mod attempts;
mod conditions;
mod crashes;
mod faults;
mod harms;
mod monitor;
mod outages;
mod ownership;
mod permissions;
mod receivers;
mod starts;
mod story;
