//! The only writer of stdout and stderr for the commands. The daemon itself writes a log.
//!
//! # Guarantees
//! - Text of others cannot control the terminal: hidden characters are escaped.
//! - A reader of stdout that is gone (`| head`) is not an error. The command goes on without it.
//! - Any other failure to write stdout is returned, also one that the system reports only when the
//!   file is closed.
//! - No call panics, and no text stays in a buffer.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::json::to_ascii_json;
use super::sanitize::{escape_hidden, escape_lines};

/// The state of the reader of stdout after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputReader {
    /// The text was written.
    Present,
    /// The pipe or socket is closed at its other end. Nothing more can be written.
    Gone,
}

/// Writes a text to stdout. Hidden characters except line feeds are escaped.
///
/// # Errors
/// Returns the error of the system, such as `ENOSPC`. A reader that is gone is not an error.
pub fn print_text(text: &str) -> io::Result<OutputReader> {
    print_bytes(escape_lines(text).as_bytes())
}

/// Writes a JSON document and a line feed to stdout, in printable ASCII.
///
/// # Errors
/// The same as for [`print_text`].
pub fn print_json(document: &impl Serialize) -> io::Result<OutputReader> {
    let mut line = to_ascii_json(document)?;
    line.push(b'\n');
    print_bytes(&line)
}

/// Writes rows to stdout, one line each, with tabs between their cells. In a cell, a backslash, a
/// tab and a line feed are escaped as `\\`, `\t` and `\n`, and any other hidden character as
/// [`print_text`] does.
///
/// # Errors
/// The same as for [`print_text`].
pub fn print_rows(rows: &[Vec<String>]) -> io::Result<OutputReader> {
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().map(|cell| escape_cell(cell)).collect();
        cells.join("\t") + "\n"
    };
    print_bytes(rows.iter().map(line).collect::<String>().as_bytes())
}

fn escape_cell(cell: &str) -> String {
    let escaped = cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    escape_hidden(&escaped)
}

/// Clears the terminal, and writes a text as [`print_text`] does.
///
/// # Errors
/// The same as for [`print_text`].
pub fn redraw_text(text: &str) -> io::Result<OutputReader> {
    // ECMA-48: the cursor to the first column of the first line, and erase the display.
    print_bytes(format!("\u{1b}[H\u{1b}[2J{}", escape_lines(text)).as_bytes())
}

/// Returns true if stdout is a terminal.
pub fn is_output_terminal() -> bool {
    #[expect(clippy::disallowed_methods, reason = "this is the only writer of stdout")]
    io::stdout().is_terminal()
}

/// Writes bytes to stdout as they are. They must come from the program itself, such as its help.
///
/// # Errors
/// The same as for [`print_text`].
pub fn print_bytes(bytes: &[u8]) -> io::Result<OutputReader> {
    // A network filesystem reports a full disk or an exceeded quota when a descriptor is closed.
    #[expect(clippy::disallowed_methods, reason = "this is the only writer of stdout")]
    let out = io::stdout().as_fd().try_clone_to_owned()?;
    let written = write_fully(&out, bytes).and_then(|()| close_file(out));
    match written {
        Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(OutputReader::Gone),
        Err(errno) => Err(errno.into()),
        Ok(()) => Ok(OutputReader::Present),
    }
}

/// Returns true if stdout is a pipe or socket whose reader is gone, without a write.
pub fn is_output_gone() -> bool {
    #[expect(clippy::disallowed_methods, reason = "this is the only writer of stdout")]
    let out = io::stdout();
    let mut state = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let is_ready = poll(&mut state, PollTimeout::ZERO).is_ok_and(|count| count > 0);
    let [state] = state;
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    is_ready && state.revents().is_some_and(|found| found.intersects(gone))
}

/// Returns true if stdout is a terminal that shows colours and its user wants them.
pub fn has_colours() -> bool {
    is_output_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// Writes one line to stderr, with its hidden characters and line feeds escaped. A failure is
/// ignored, because there is no other place to report it.
pub fn report_line(line: impl Display) {
    let _ = write_stderr(&format!("{}\n", escape_hidden(&line.to_string())));
}

/// Writes a text to stderr as [`report_line`] does, except that line feeds stay.
pub fn report_text(text: &str) {
    let _ = prompt_text(text);
}

/// Writes a text to stderr that the user must see before the command goes on.
///
/// # Errors
/// Returns the error of the system, also `EPIPE`.
pub fn prompt_text(text: &str) -> io::Result<()> {
    write_stderr(&escape_lines(text))
}

fn write_stderr(text: &str) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the only writer of stderr")]
    Ok(write_fully(&io::stderr(), text.as_bytes())?)
}

/// Writes all bytes. A descriptor that another process has set to non-blocking is waited for, as a
/// blocking one.
fn write_fully(out: &impl AsFd, bytes: &[u8]) -> nix::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match nix::unistd::write(out, rest) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut writable = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut writable, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn close_file(out: OwnedFd) -> nix::Result<()> {
    match nix::unistd::close(out) {
        // The descriptor is closed all the same (`close(2)`).
        Ok(()) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::thread;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn a_pipe_that_does_not_block_gets_the_whole_text() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let text = vec![b'x'; 1 << 20];
        let expected = text.len();
        let writing = thread::spawn(move || write_fully(&writer, &text));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), expected);
        assert_eq!(writing.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_cell_contains_no_end_of_a_cell_or_of_a_row() {
        for (cell, escaped) in [
            ("镜像 a", "镜像 a"),
            ("a\tb\nc", "a\\tb\\nc"),
            ("\\t", "\\\\t"),
            ("\r\u{1b}", "\\u{d}\\u{1b}"),
        ] {
            assert_eq!(escape_cell(cell), escaped);
        }
    }

    #[test]
    fn every_failure_of_a_write_is_returned() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(write_fully(&writer, b"x"), Err(Errno::EPIPE));
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write_fully(&full, b"x"), Err(Errno::ENOSPC));
        let readable = File::open("/dev/null").unwrap();
        assert_eq!(write_fully(&readable, b"x"), Err(Errno::EBADF));
    }
}
