//! What a command said, in a process of its own.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use crate::hub::Hub;

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

    /// The same of a command to a hub, as whoever holds a token, or as the tests' own admin.
    ///
    /// # Panics
    /// If there is no such program.
    #[must_use]
    pub fn at(hub: &Hub, binary: &str, token: Option<&str>, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary);
        command.args(arguments).env("NO_COLOR", "1").env("CROSSDOCK_HUB", &hub.url).env_remove("CROSSDOCK_TOKEN");
        match token {
            Some(token) => command.env("CROSSDOCK_TOKEN", token),
            None => command.env("CROSSDOCK_TOKEN_FILE", &hub.token_file),
        };
        Self::by(&mut command)
    }

    /// All that it printed.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
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
