//! A real Dropbear, the SSH server of small systems. Needs root and Debian's `dropbear-bin`.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::requirements::run;

/// A running server on 127.0.0.1. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Dropbear {
    pub(crate) address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Dropbear {
    /// Starts the server and returns when it listens.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the server with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("host_key");
        run("dropbearkey", &["-t", "ed25519", "-f", key.to_str().unwrap()]);
        // Another process may take the free port before Dropbear does.
        let started = (0..5).find_map(|_| try_start(key.to_str().unwrap(), arguments));
        let (child, address) = started.expect("dropbear found no free port in five tries");
        Self { address, child, _dir: dir }
    }
}

fn try_start(key: &str, arguments: &[&str]) -> Option<(Child, SocketAddr)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut child = Command::new("dropbear")
        .args(["-F", "-E", "-P", "", "-p", &free.to_string(), "-r", key])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    // Dropbear logs this once it listens; without a socket it exits.
    if log.by_ref().any(|line| line.contains("Not backgrounding")) {
        // The rest of the log is read and dropped.
        std::thread::spawn(move || log.for_each(drop));
        return Some((child, free));
    }
    child.wait().unwrap();
    None
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
