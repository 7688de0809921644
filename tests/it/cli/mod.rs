//! The commands of the program, run as child processes.

mod broken_output;
mod explain;
mod init;
mod outside_text;
mod program;
mod retries;
