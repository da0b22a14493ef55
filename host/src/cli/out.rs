//! What the command line prints: text for people, JSON for programs, errors with all that led to them.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use crate::net::client::ClientError;

/// Standard output.
pub(super) struct Out {
    json: bool,
    colours: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some();
        Self { json, colours: io::stdout().is_terminal() && !plain }
    }

    /// Whether programs read it.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a line for people; nothing for programs.
    pub(super) fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            self.text(line.as_ref());
        }
    }

    /// Prints a line as it is.
    #[expect(clippy::unused_self, reason = "everything printed goes through here")]
    pub(super) fn text(&self, line: &str) {
        // A reader that has gone away, such as `head`, is no error.
        let _ = writeln!(io::stdout().lock(), "{line}");
    }

    /// Prints a value for programs.
    pub(super) fn value(&self, value: &impl Serialize) {
        self.text(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A table for people: a head and rows, or what to say if there are none.
    pub(super) fn table(&self, head: &[&str], rows: Vec<Vec<String>>, none: &str) {
        if rows.is_empty() {
            return self.say(none);
        }
        let mut table = Table::new();
        table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(head.iter().map(|title| self.dim(title)));
        table.add_rows(rows);
        for line in table.to_string().lines() {
            self.say(line.trim_end());
        }
    }

    /// Prints an error and its causes; the exit code of a failure.
    pub(super) fn failed(&self, error: &(dyn std::error::Error + 'static)) -> ExitCode {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        if self.json {
            let mut value = serde_json::json!({ "error": error.to_string(), "causes": causes });
            // What a hub says comes with a code, so that a program need not read prose.
            if let (Some(ClientError::Refused { status, problem }), Some(fields)) =
                (error.downcast_ref::<ClientError>(), value.as_object_mut())
            {
                fields.insert("status".to_owned(), status.as_u16().into());
                fields.insert("code".to_owned(), problem.code.clone().into());
                fields.insert("detail".to_owned(), problem.detail.clone().into());
                fields.insert("advice".to_owned(), problem.advice.clone().into());
            }
            self.value(&value);
        } else {
            let mut text = format!("{} {error}", self.red("error:"));
            for cause in causes {
                text.push_str("\n  because ");
                text.push_str(&cause);
            }
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
        ExitCode::FAILURE
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(super) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
