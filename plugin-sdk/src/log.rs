//! Lines for the run's log, which operations staff read. No secrets, no personal data.
//!
//! `log::info("priced", &[("lines", "3")])`: the text stays the same, what varies goes into fields, so that lines can be
//! searched and counted. Lines beyond the call's limits are counted and dropped.

use crate::hub;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every detail.
    Trace,
    /// For finding a fault.
    Debug,
    /// Worth knowing later.
    Info,
    /// Something is off, yet the call goes on.
    Warn,
    /// A person should look.
    Error,
}

/// Writes a line.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    hub::log(level, message, &fields);
}

/// Writes what is for finding a fault.
pub fn debug(message: &str, fields: &[(&str, &str)]) {
    write(Level::Debug, message, fields);
}

/// Writes what is worth knowing later.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    write(Level::Info, message, fields);
}

/// Writes that something is off.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    write(Level::Warn, message, fields);
}

/// Writes that a person should look.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    write(Level::Error, message, fields);
}
