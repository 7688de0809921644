//! The program's commands as child processes.

mod init;
mod program;
