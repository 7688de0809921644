//! A client command that runs on, with the lines of its standard output.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::agent::{Agent, PROGRAM, TEST_TIMEOUT};
use super::wait::until;

pub(crate) struct RunningCommand {
    child: Child,
    lines: Receiver<String>,
}

impl RunningCommand {
    pub(crate) fn start(agent: &Agent, args: &[&str]) -> Self {
        Self::start_until(agent, args, None)
    }

    /// Starts a command whose output is no longer read after a line with this text.
    pub(crate) fn start_until(agent: &Agent, args: &[&str], last: Option<&'static str>) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg("--config").arg(agent.path("agent.toml"));
        Self::spawn(command, last)
    }

    /// Starts a command whose output is a terminal.
    pub(crate) fn start_on_terminal(agent: &Agent, args: &[&str]) -> Self {
        let config = agent.path("agent.toml");
        let line = format!("exec {PROGRAM} {} --config {}", args.join(" "), config.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        Self::spawn(command, None)
    }

    fn spawn(mut command: Command, last: Option<&'static str>) -> Self {
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The pipe is closed when the test no longer reads.
                if last.is_some_and(|last| line.contains(last)) || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    pub(crate) fn next_line(&self) -> String {
        self.lines.recv_timeout(TEST_TIMEOUT).expect("no line")
    }

    /// Returns the next line as JSON.
    pub(crate) fn next_event(&self) -> Value {
        let line = self.next_line();
        assert!(line.is_ascii(), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for a line with this text, and returns it.
    pub(crate) fn until_line(&self, text: &str) -> String {
        loop {
            let line = self.next_line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Returns the lines up to the end of the output.
    pub(crate) fn remaining_lines(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(TEST_TIMEOUT).ok()).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the end, and returns the exit code.
    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        let mut ended = None;
        until("the command ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap().code()
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // A command that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
