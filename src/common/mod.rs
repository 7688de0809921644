//! Layer 0. Small general tools without any knowledge of stores: time and randomness, backoff, text
//! that is safe to display, the output of the commands, error chains, address lists, the owner and
//! the mode of files, files of one entry a line, enums with a text or with operands for each
//! variant, locks, work that blocks its thread, the phases of work, long loops that leave it to
//! others, errors for lack of a resource, counters for metrics, the port of a URL, crash points for
//! tests.
//!
//! # Guarantees
//! - Every module above uses the same tool for the same job.
//!
//! # Never
//! - It never knows a term of the domain.
//! - It never does network I/O.
//! - It never waits for anything but the end of the work that it was given.

mod backoff;
mod byte_order_mark;
mod concurrency;
mod crash_points;
mod display;
mod enums;
mod error_chain;
mod file_trust;
mod ip_allowlist;
mod line_file;
mod shortage;
mod stats;
mod time;
mod url_port;

pub use backoff::Backoff;
pub use byte_order_mark::skip_byte_order_mark;
pub use concurrency::{
    BlockingError, PhaseEnd, PhaseObserver, THREAD_KEEP_ALIVE, for_each_fairly, ignore_poison,
    keep_thread_alive, lock_unpoisoned, observe_phases, report_phase, run_blocking, run_phase,
};
pub use crash_points::crash_point;
pub use display::console::{
    OutputReader, has_colours, is_output_gone, is_output_terminal, print_bytes, print_json,
    print_rows, print_text, prompt_text, redraw_text, report_line, report_text,
};
pub use display::json::{escape_json_hidden, to_ascii_json, write_safe_json};
pub use display::sanitize::{
    HiddenEscaper, MAX_QUOTED, escape_hidden, escape_lines, is_hidden, mask_hidden, sanitize_line,
    sanitize_message,
};
pub use enums::UnknownVariant;
pub(crate) use enums::{operand_enum, string_enum};
pub use error_chain::{ErrorChain, root_cause};
pub use file_trust::{
    DeniedAccess, FileAccess, FileProtection, FileRisk, FileStatus, FileType, ModeDenial,
    OpenedFile, SystemUser, TrustedOwner, UserClass, file_risk, find_denied_access, inspect_folder,
    open_file, open_folder, own_file_risk, structure_risk,
};
pub use ip_allowlist::IpAllowlist;
pub use line_file::parse_lines;
pub use shortage::is_resource_shortage;
pub use stats::{
    Counter, CounterFamily, Histogram, HistogramExemplar, HistogramSnapshot, LastTime,
};
pub use time::{Clock, Random, SystemClock, SystemRandom, Timestamp};
pub use url_port::UrlPort;
