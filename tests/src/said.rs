//! What a command said, in a process of its own.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; absent: a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// If there is no such program.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test whose program is not there has failed, and must say why")]
    pub fn by(command: &mut Command) -> Self {
        command.output().expect("the program runs").into()
    }

    /// The same with something on its standard input.
    ///
    /// # Panics
    /// If there is no such program, or it does not read.
    #[must_use]
    #[allow(clippy::expect_used, reason = "as above")]
    pub fn given(command: &mut Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends").into()
    }

    /// What it printed; it went well.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn done(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        &self.out
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}
