//! What a call leaves beside its answer: log lines and annotations, bounded, from the guest and from the hub about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    model::limits::Limits,
    model::log::{LogLevel, LogLine},
};

/// Lines that the hub itself may add, beyond the guest's: a flood must not hide why a request was refused.
const HUB_LINES_LIMIT: u32 = 16;

/// Bytes of one line of standard output or error; a longer one is cut into several.
const STREAM_LINE_BYTES: usize = 4 << 10;

/// The contract's `attributes`: how many pairs, and how long.
const PAIRS_LIMIT: usize = 32;
const NAME_BYTES_LIMIT: usize = 64;
const VALUE_BYTES_LIMIT: usize = 1 << 10;

/// One ledger, written by the guest's calls and by the tasks that run for it.
#[derive(Clone)]
pub(super) struct Ledger(Arc<Mutex<Pages>>);

struct Pages {
    lines: Vec<LogLine>,
    lines_left: u32,
    bytes_left: u64,
    lines_dropped: u32,
    hub_lines_left: u32,
    annotations: Vec<(String, String)>,
    annotations_dropped: u32,
    partial: [Vec<u8>; 2],
}

/// Standard output or standard error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Logged as `info`.
    Out,
    /// Logged as `warn`.
    Error,
}

/// The ledger of a finished call.
pub(super) struct Closed {
    pub(super) log: Vec<LogLine>,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) lines_dropped: u32,
}

impl Ledger {
    /// An empty ledger with the room that the limits give.
    pub(super) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            lines: Vec::new(),
            lines_left: limits.log_lines,
            bytes_left: limits.log_bytes,
            lines_dropped: 0,
            hub_lines_left: HUB_LINES_LIMIT,
            annotations: Vec::new(),
            annotations_dropped: 0,
            partial: [Vec::new(), Vec::new()],
        })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // A panic while it was held cannot leave a line half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a guest's line; drops and counts it if there is no room. True if there was room.
    pub(super) fn write(&self, line: LogLine) -> bool {
        self.pages().write(line)
    }

    /// Writes a line of the hub's own.
    pub(super) fn write_hub(&self, message: String) {
        let mut pages = self.pages();
        if let Some(left) = pages.hub_lines_left.checked_sub(1) {
            pages.hub_lines_left = left;
            pages.lines.push(LogLine { level: LogLevel::Warn, message, fields: Vec::new() });
        }
    }

    /// Takes what the guest printed, and writes the lines that are whole.
    pub(super) fn print(&self, stream: Stream, bytes: &[u8]) {
        self.pages().print(stream, bytes);
    }

    /// Whether lines have been dropped.
    pub(super) fn is_flooded(&self) -> bool {
        self.pages().lines_dropped > 0
    }

    /// Records a fact; a second value for a name replaces the first.
    pub(super) fn annotate(&self, name: String, value: String) {
        let mut pages = self.pages();
        if name.is_empty() || name.len() > NAME_BYTES_LIMIT || value.len() > VALUE_BYTES_LIMIT {
            pages.annotations_dropped = pages.annotations_dropped.saturating_add(1);
        } else if let Some(known) = pages.annotations.iter_mut().find(|known| known.0 == name) {
            known.1 = value;
        } else if pages.annotations.len() < PAIRS_LIMIT {
            pages.annotations.push((name, value));
        } else {
            pages.annotations_dropped = pages.annotations_dropped.saturating_add(1);
        }
    }

    /// Ends it. Whatever is written afterwards, by a task that outlives its call, is lost.
    pub(super) fn close(&self) -> Closed {
        let mut pages = self.pages();
        for stream in [Stream::Out, Stream::Error] {
            let rest = std::mem::take(pages.partial(stream));
            if !rest.is_empty() {
                pages.write_printed(stream, &rest);
            }
        }
        if pages.annotations_dropped > 0 {
            let message = format!(
                "{} annotations were dropped: at most {PAIRS_LIMIT} are kept, names of 1 to {NAME_BYTES_LIMIT} bytes, \
                 values of at most {VALUE_BYTES_LIMIT}",
                pages.annotations_dropped
            );
            pages.lines.push(LogLine { level: LogLevel::Warn, message, fields: Vec::new() });
        }
        Closed {
            log: std::mem::take(&mut pages.lines),
            annotations: std::mem::take(&mut pages.annotations),
            lines_dropped: pages.lines_dropped,
        }
    }
}

impl Pages {
    fn write(&mut self, mut line: LogLine) -> bool {
        line.fields.truncate(PAIRS_LIMIT);
        line.fields.retain(|(name, value)| name.len() <= NAME_BYTES_LIMIT && value.len() <= VALUE_BYTES_LIMIT);
        let fields: usize = line.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = (line.message.len() + fields) as u64;
        match (self.lines_left.checked_sub(1), self.bytes_left.checked_sub(bytes)) {
            (Some(lines_left), Some(bytes_left)) => {
                self.lines_left = lines_left;
                self.bytes_left = bytes_left;
                self.lines.push(line);
                true
            }
            _ => {
                self.lines_dropped = self.lines_dropped.saturating_add(1);
                false
            }
        }
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [out, error] = &mut self.partial;
        match stream {
            Stream::Out => out,
            Stream::Error => error,
        }
    }

    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let mut chunks = text.chunks(STREAM_LINE_BYTES).peekable();
            while let Some(chunk) = chunks.next() {
                self.partial(stream).extend_from_slice(chunk);
                if chunks.peek().is_some() || self.partial(stream).len() >= STREAM_LINE_BYTES {
                    let line = std::mem::take(self.partial(stream));
                    self.write_printed(stream, &line);
                }
            }
            if ends {
                let line = std::mem::take(self.partial(stream));
                if !line.is_empty() {
                    self.write_printed(stream, &line);
                }
            }
        }
    }

    fn write_printed(&mut self, stream: Stream, bytes: &[u8]) {
        let level = match stream {
            Stream::Out => LogLevel::Info,
            Stream::Error => LogLevel::Warn,
        };
        let message = String::from_utf8_lossy(bytes).into_owned();
        self.write(LogLine { level, message, fields: Vec::new() });
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Stream};
    use crate::{
        model::limits::Limits,
        model::log::{LogLevel, LogLine},
    };

    fn line(message: &str) -> LogLine {
        LogLine { level: LogLevel::Info, message: message.into(), fields: Vec::new() }
    }

    #[test]
    fn lines_beyond_the_limits_are_counted_and_dropped_but_not_the_hubs_own() {
        let ledger = Ledger::new(&Limits { log_lines: 2, log_bytes: 4, ..Limits::DEFAULT });
        for message in ["one", "four", "x", "y"] {
            ledger.write(line(message));
        }
        ledger.write_hub("why".into());
        let closed = ledger.close();
        let messages: Vec<_> = closed.log.iter().map(|line| line.message.as_str()).collect();
        assert_eq!((messages, closed.lines_dropped), (vec!["one", "x", "why"], 2));
    }

    #[test]
    fn printed_text_becomes_lines() {
        let ledger = Ledger::new(&Limits::DEFAULT);
        ledger.print(Stream::Out, b"a\nb");
        ledger.print(Stream::Error, b"oh\n");
        ledger.print(Stream::Out, b"c\n\nd");
        let lines: Vec<_> = ledger.close().log.into_iter().map(|line| (line.level, line.message)).collect();
        let expected = [(LogLevel::Info, "a"), (LogLevel::Warn, "oh"), (LogLevel::Info, "bc"), (LogLevel::Info, "d")];
        assert_eq!(lines, expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn annotations_are_bounded_and_the_last_value_counts() {
        let ledger = Ledger::new(&Limits::DEFAULT);
        for number in 0..40 {
            ledger.annotate(format!("n{number}"), "1".into());
        }
        ledger.annotate("n0".into(), "2".into());
        ledger.annotate("long".into(), "x".repeat(2000));
        let closed = ledger.close();
        assert_eq!(closed.annotations.len(), 32);
        assert_eq!(closed.annotations.first(), Some(&("n0".to_owned(), "2".to_owned())));
        assert!(closed.log.iter().any(|line| line.message.starts_with("9 annotations were dropped")));
    }
}
