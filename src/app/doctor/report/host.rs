//! The facts about this host and about the process of the daemon.
#![expect(clippy::disallowed_methods, reason = "files of /proc and /etc, and no image directory")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::sys::utsname::uname;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::child::run_child;
use super::super::service;
use super::background::Background;
use crate::catalog::{Language, Observation};
use crate::common::run_blocking;
use crate::ledger::LEDGER_FORMAT;
use crate::redaction::Redactor;
use crate::ssh::SSH_LIBRARY;

/// Maximum time of a program that is asked, and of the reading of a file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The fields of `os-release(5)` that are shown. They are words for programs.
const OS_FIELDS: [&str; 4] = ["ID", "ID_LIKE", "VERSION_ID", "VERSION_CODENAME"];
/// The properties of the unit that are shown (org.freedesktop.systemd1(5)).
const UNIT_PROPERTIES: &str = "LoadState,UnitFileState,ActiveState,SubState,Result,NRestarts,\
                               ActiveEnterTimestampMonotonic,ExecMainCode,ExecMainStatus,MainPID,\
                               MemoryCurrent,MemoryPeak,TasksCurrent,CPUUsageNSec,WatchdogUSec,\
                               LimitNOFILE,LimitNPROC,NeedDaemonReload";
/// The figures of `/proc/PID/status` that are shown (`proc_pid_status(5)`), and their names.
const STATUS_FIGURES: [(&str, &str); 9] = [
    ("VmPeak", "virtualPeakKb"),
    ("VmSize", "virtualKb"),
    ("VmHWM", "residentPeakKb"),
    ("VmRSS", "residentKb"),
    ("RssAnon", "anonymousKb"),
    ("VmSwap", "swapKb"),
    ("Threads", "threads"),
    ("voluntary_ctxt_switches", "voluntarySwitches"),
    ("nonvoluntary_ctxt_switches", "involuntarySwitches"),
];
/// The maximum length of a word for programs, such as the release of a kernel.
const MAX_WORD_CHARS: usize = 64;

/// Returns the versions of the program and of the system below it.
pub(super) async fn versions(background: Option<&Background>) -> Value {
    let kernel = uname().ok();
    let text = |text: Option<&std::ffi::OsStr>| text.and_then(|it| it.to_str()).and_then(word);
    json!({
        "program": env!("CARGO_PKG_VERSION"),
        "daemon": background.and_then(|it| it.daemon_version.as_deref()).and_then(word),
        "ledgerFormat": LEDGER_FORMAT,
        "ssh": SSH_LIBRARY,
        "kernel": text(kernel.as_ref().map(|it| it.release())),
        "machine": text(kernel.as_ref().map(|it| it.machine())),
        "libc": libc_version().await,
        "os": os_release().await,
    })
}

/// Returns the text if it is one word that a program would compare.
fn word(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '_' | '-' | '~');
    let is_word = text.len() <= MAX_WORD_CHARS && text.chars().all(is_plain);
    (is_word && !text.is_empty()).then(|| text.to_owned())
}

/// Returns the version of the C library, if the system has the program that knows it.
async fn libc_version() -> Option<String> {
    let run = run_child("getconf", ["GNU_LIBC_VERSION"], ANSWER_TIMEOUT).await.ok()?;
    let words: Vec<String> = run.stdout.split_whitespace().filter_map(word).collect();
    (run.status.success() && !words.is_empty()).then(|| words.join(" "))
}

async fn os_release() -> Value {
    let read = || fs::read_to_string("/etc/os-release");
    let Ok(Ok(text)) = run_blocking(Instant::now() + ANSWER_TIMEOUT, read).await else {
        return Value::Null;
    };
    let field = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let name = OS_FIELDS.iter().find(|known| **known == name)?;
        let words: Vec<String> =
            value.trim_matches(['"', '\'']).split(' ').filter_map(word).collect();
        Some(((*name).to_owned(), Value::from(words.join(" "))))
    };
    text.lines().filter_map(field).collect::<Map<_, _>>().into()
}

/// Returns the unit as systemd sees it.
///
/// # Errors
/// Returns the need of this part.
pub(super) async fn unit(redactor: &Redactor) -> Result<Value, String> {
    if !service::is_booted() {
        return Err(Observation::NeedsSystemd.phrase(Language::English));
    }
    let args = ["show", service::UNIT, "--property", UNIT_PROPERTIES];
    let run = run_child("systemctl", args, ANSWER_TIMEOUT).await;
    let run = run.ok().filter(|it| it.status.success()).ok_or("needs an answer of systemctl")?;
    let properties = run.stdout.lines().filter_map(|line| line.split_once('='));
    let shown = properties.map(|(name, value)| (redactor.text(name), redactor.text(value).into()));
    Ok(shown.collect::<Map<_, _>>().into())
}

/// Returns the mount table, and `daemon` or `doctor`: the process that sees it.
///
/// # Errors
/// Returns the need of this part.
pub(super) async fn mount_table(process: Option<u32>) -> Result<(String, &'static str), String> {
    let read = move || {
        let of_daemon = process.and_then(|pid| fs::read(format!("/proc/{pid}/mountinfo")).ok());
        match of_daemon.filter(|table| !table.is_empty()) {
            Some(table) => Ok((table, "daemon")),
            None => fs::read("/proc/self/mountinfo").map(|table| (table, "doctor")),
        }
    };
    let read = run_blocking(Instant::now() + ANSWER_TIMEOUT, read).await;
    let (table, namespace) =
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok((String::from_utf8_lossy(&table).into_owned(), namespace))
}

/// Returns the figures of the process of the daemon.
///
/// # Errors
/// Returns the need of this part.
pub(super) async fn process_figures(process: Option<u32>) -> Result<Value, String> {
    let pid = process.ok_or("needs a running daemon")?;
    let read = move || {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count);
        (file("status"), file("stat").ok(), file("limits").ok(), descriptors)
    };
    let read = run_blocking(Instant::now() + ANSWER_TIMEOUT, read).await;
    let (status, stat, limits, descriptors) = read.map_err(|error| error.to_string())?;
    let status = status.map_err(|_| "needs /proc of the daemon".to_owned())?;
    let mut figures = status_figures(&status);
    figures.insert("pid".to_owned(), pid.into());
    figures.insert("descriptors".to_owned(), descriptors.into());
    figures.insert("maxDescriptors".to_owned(), limits.and_then(|it| max_files(&it)).into());
    if let Some((user, system)) = stat.as_deref().and_then(cpu_ticks) {
        figures.insert("userTicks".to_owned(), user.into());
        figures.insert("systemTicks".to_owned(), system.into());
    }
    Ok(figures.into())
}

fn status_figures(status: &str) -> Map<String, Value> {
    let lines: BTreeMap<&str, &str> =
        status.lines().filter_map(|line| line.split_once(':')).collect();
    let figure = |(line, name): (&str, &str)| {
        let figure: u64 = lines.get(line)?.split_whitespace().next()?.parse().ok()?;
        Some((name.to_owned(), Value::from(figure)))
    };
    let mut figures: Map<String, Value> = STATUS_FIGURES.into_iter().filter_map(figure).collect();
    // One letter, such as `S` (it waits), `T` (it is stopped) or `D` (a disk holds it).
    let state = lines.get("State").and_then(|state| state.trim().chars().next());
    let state = state.filter(char::is_ascii_uppercase).map(String::from);
    figures.insert("state".to_owned(), state.into());
    figures
}

/// Returns the time in user mode and in system mode, in clock ticks (`proc_pid_stat(5)`).
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    // The name of the process may contain blanks and parentheses.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn max_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_process_are_read_and_its_name_is_not() {
        let status = "Name:\thunter2\nState:\tT (stopped)\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let figures = status_figures(status);
        assert_eq!(Value::Object(figures), json!({"state": "T", "residentKb": 1024, "threads": 3}));
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0";
        assert_eq!(cpu_ticks(stat), Some((111, 222)));
        assert_eq!(max_files("Max open files   1024  4096  files\n"), Some(1024));
        assert_eq!(max_files("Max open files   unlimited  unlimited  files\n"), None);
        assert_eq!(word("6.1.0-18-amd64").as_deref(), Some("6.1.0-18-amd64"));
        assert!(word("a b").is_none() && word(&"a".repeat(65)).is_none() && word("").is_none());
    }
}
