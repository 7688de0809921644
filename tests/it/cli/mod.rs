//! The commands of the program, run as child processes.

mod init;
mod program;
