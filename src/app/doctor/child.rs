//! Programs that tell `doctor` something: run with a deadline, and left behind if they hang.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// The running program. The path stays correct after an upgrade has replaced the file on disk.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Maximum number of bytes that are read from each output of a program.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// The result of a program.
#[derive(Debug)]
pub(super) struct ChildOutput {
    /// The exit status.
    pub(super) status: ExitStatus,
    /// The beginning of stdout.
    pub(super) stdout: String,
    /// The beginning of stderr.
    pub(super) stderr: String,
}

/// The reason why a program has no result.
#[derive(Debug)]
pub(super) enum ChildError {
    /// The program cannot be started.
    NotStarted(std::io::Error),
    /// The program did not end in time. It was killed, and is left behind if a disk holds it.
    TimedOut,
}

/// Runs a program and returns its result within `limit`.
///
/// # Cancel safety
/// The program is killed.
pub(super) async fn run_child<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<ChildOutput, ChildError> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    run_command(command, None, limit).await
}

/// Runs this program as a worker, isolated from the environment: one request line on stdin, one
/// response line on stdout.
///
/// # Cancel safety
/// The worker is killed.
pub(super) async fn run_worker(
    word: &str,
    request: String,
    limit: Duration,
) -> Result<ChildOutput, ChildError> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(word).env_clear().current_dir("/").stdin(Stdio::piped());
    run_command(command, Some(request), limit).await
}

async fn run_command(
    mut command: Command,
    request: Option<String>,
    limit: Duration,
) -> Result<ChildOutput, ChildError> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(ChildError::NotStarted)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let (Some(mut stdin), Some(request)) = (stdin, request) {
            // A worker that ended early has no response, which says more.
            let _ = stdin.write_all(format!("{request}\n").as_bytes()).await;
        }
    };
    let run = async {
        let (stdout, stderr, ()) = tokio::join!(read_text(stdout), read_text(stderr), write);
        child.wait().await.map(|status| ChildOutput { status, stdout, stderr })
    };
    match timeout(limit, run).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(ChildError::NotStarted(error)),
        Err(_) => Err(ChildError::TimedOut),
    }
}

async fn read_text(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error still counts.
        let _ = pipe.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
