//! Fields of log lines whose text comes from others.

use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};

use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::common::{ErrorChain, HiddenEscaper, escape_json_hidden};

/// Formats fields as the default does, with hidden characters escaped. `tracing_subscriber` itself
/// escapes only some of them, and leaves line feeds, which would begin a line of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct SafeFields;

impl<'writer> FormatFields<'writer> for SafeFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = SafeVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct SafeVisitor<'a>(DefaultVisitor<'a>);

impl Visit for SafeVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", ErrorChain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.record_debug(field, &SafeDebug(value));
    }
}

struct SafeDebug<'a>(&'a dyn Debug);

impl Debug for SafeDebug<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(HiddenEscaper(f), "{:?}", self.0)
    }
}

/// Escapes the hidden characters of each JSON line before it is written.
#[derive(Clone, Debug)]
pub(super) struct SafeJsonLines<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for SafeJsonLines<W> {
    type Writer = SafeJsonLines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        SafeJsonLines(self.0.make_writer())
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        SafeJsonLines(self.0.make_writer_for(event))
    }
}

/// Accepts a complete line per call.
impl<W: Write> Write for SafeJsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The formatter writes UTF-8.
        let text = String::from_utf8_lossy(line);
        self.0.write_all(escape_json_hidden(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
