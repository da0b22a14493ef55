//! A hub in a process of its own, and an HTTP client that knows nothing of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// Longest wait for anything, generous because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whose the first token is.
const ADMIN: &str = "tests";

/// A hub's process. Killed when dropped.
pub struct Hub {
    child: Child,
    /// Where it listens, `http://127.0.0.1:PORT`.
    pub url: String,
    /// Its data folder.
    pub data: PathBuf,
    /// The file that holds the token of its admin, `tests`.
    pub token_file: String,
    binary: String,
    tokens: Mutex<BTreeMap<String, String>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Hub {
    /// Starts a hub, waits until it listens, and becomes its admin, `tests`, if it has none yet.
    ///
    /// # Panics
    /// If it does not start; with what it printed.
    #[must_use]
    pub fn start(binary: &str, data: &Path, config: Option<&Path>) -> Self {
        let config = config.map(|config| config.display().to_string());
        let more: Vec<&str> = config.iter().flat_map(|config| ["--config", config]).collect();
        let hub = Self::launch(binary, data, &more);
        if data.join("access/enrolment").exists() {
            hub.command(&["enroll", "--name", ADMIN, "--data", &data.display().to_string()]);
        }
        hub
    }

    /// Starts a hub with more arguments, and waits until it listens; nobody is enrolled.
    ///
    /// # Panics
    /// If it does not start; with what it printed.
    #[must_use]
    pub fn launch(binary: &str, data: &Path, more: &[&str]) -> Self {
        Self::launch_on(binary, data, "127.0.0.1:0", more)
    }

    /// The same on an address.
    ///
    /// # Panics
    /// If it does not start; with what it printed.
    #[must_use]
    #[allow(clippy::panic, reason = "a test without its hub has failed, and must say why")]
    pub fn launch_on(binary: &str, data: &Path, address: &str, more: &[&str]) -> Self {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", address, "--data"]).arg(data).args(more);
        match Self::try_start(command, binary, data) {
            Ok(hub) => hub,
            Err(said) => panic!("the hub did not start: {said}"),
        }
    }

    /// Starts a hub from a command and waits until it listens.
    ///
    /// # Errors
    /// If it ends before that; with what it printed.
    ///
    /// # Panics
    /// If there is no such program.
    #[allow(clippy::panic, reason = "a test without its hub has failed, and must say why")]
    pub fn try_start(mut command: Command, binary: &str, data: &Path) -> Result<Self, String> {
        let errors = std::fs::File::create(data.with_extension("log"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if let Ok(file) = errors {
            command.stderr(file);
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start the hub: {error}"),
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap_or_else(|| panic!("no output"))).lines();
        let url = lines.find_map(|line| {
            let line = line.ok()?;
            let at = line.find("http")?;
            line.get(at..)?.split([',', '"', ' ']).next().map(str::to_owned)
        });
        let Some(url) = url else {
            let _ = child.wait();
            return Err(std::fs::read_to_string(data.with_extension("log")).unwrap_or_default());
        };
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let token_file = data.join("access/token").display().to_string();
        let tokens = Mutex::default();
        Ok(Self { child, url, data: data.to_owned(), token_file, binary: binary.to_owned(), tokens, client })
    }

    /// Runs a command as the admin; what it printed.
    #[allow(clippy::panic, reason = "a test that cannot set itself up has failed, and must say why")]
    fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.binary);
        command.args(arguments).args(["--hub", &self.url, "--json"]);
        if arguments.first() != Some(&"enroll") {
            command.args(["--token-file", &self.token_file]);
        }
        match command.env_remove("CROSSDOCK_TOKEN").output() {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("{arguments:?}: {error}"),
        }
    }

    /// The token of a person, an operator who may send anything; made when it is first asked for.
    ///
    /// # Panics
    /// If it cannot be made.
    #[allow(clippy::panic, reason = "a test without its people has failed, and must say why")]
    pub fn token_of(&self, person: &str) -> String {
        self.token_as(person, "operator")
    }

    /// The same with another role.
    ///
    /// # Panics
    /// If it cannot be made.
    #[allow(clippy::panic, reason = "a test without its people has failed, and must say why")]
    pub fn token_as(&self, person: &str, role: &str) -> String {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(person) {
            return token.clone();
        }
        let said = self.command(&["token", "create", person, "--role", role, "--source", "*", "--type", "*"]);
        let issued: Value = serde_json::from_str(&said).unwrap_or_default();
        let Some(token) = issued.get("token").and_then(Value::as_str) else { panic!("no token in {said}") };
        tokens.insert(person.to_owned(), token.to_owned());
        token.to_owned()
    }

    /// Has a second person, the operator `second`, agree to the change that the command line says is proposed; what is said
    /// then.
    ///
    /// # Panics
    /// If nothing is proposed, or it cannot be agreed to.
    #[allow(clippy::panic, reason = "a test that cannot set itself up has failed, and must say why")]
    pub fn agree(&self, said: &str) -> String {
        let id: String = said.split_once("set_").map(|(_, id)| id.chars().take(12).collect()).unwrap_or_default();
        let mut command = Command::new(&self.binary);
        command.args(["plugin", "approve", &format!("set_{id}"), "--reason", "agreed", "--hub", &self.url]);
        match command.env("NO_COLOR", "1").env("CROSSDOCK_TOKEN", self.token_of("second")).output() {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => panic!("{said}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("{said}: {error}"),
        }
    }

    /// Posts a body as a person.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn post_as(
        &self,
        person: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let bearer = format!("Bearer {}", self.token_of(person));
        let mut headers = headers.to_vec();
        headers.push(("authorization", &bearer));
        self.post(path, &headers, body).await
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Lets the process stand still (`-STOP`), or go on (`-CONT`).
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([name, &self.child.id().to_string()]).status();
    }

    /// Kills it without a word, as a crash would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop, and waits; whether it ended well.
    ///
    /// # Panics
    /// If it does not end in time.
    #[allow(clippy::panic, reason = "a hub that does not stop has failed its test")]
    pub fn stop(mut self) -> bool {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) if begun.elapsed() < PATIENCE => std::thread::yield_now(),
                _ => panic!("the hub does not stop"),
            }
        }
    }

    /// Sends a request, as the admin unless it says who sends it. A webhook has its signature instead.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let is_signed = request.uri().path().starts_with("/v1/webhooks/");
        if !is_signed && !request.headers().contains_key(header::AUTHORIZATION) {
            let token = std::fs::read_to_string(&self.token_file).map_err(|error| error.to_string())?;
            let value =
                HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        send(&self.client, request).await
    }

    /// Gets a document.
    ///
    /// # Panics
    /// If there is no answer.
    #[allow(clippy::panic, reason = "a hub that does not answer has failed its test")]
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("{}{path}", self.url)).body(Bytes::new());
        match self.send(request.unwrap_or_default()).await {
            Ok(response) => (response.status(), json(response.body())),
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// Posts a body.
    ///
    /// # Panics
    /// If there is no answer.
    #[allow(clippy::panic, reason = "a hub that does not answer has failed its test")]
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match self.send(request.body(body.into()).unwrap_or_default()).await {
            Ok(response) => (response.status(), json(response.body())),
            Err(error) => panic!("POST {path}: {error}"),
        }
    }

    /// Sends a CloudEvent and waits for its runs.
    pub async fn event(&self, id: &str, event_type: &str, data: &Value) -> (StatusCode, Value) {
        let event = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/tests", "type": event_type, "subject": id, "data": data,
        });
        self.post("/v1/events?wait=30s", &[("content-type", "application/cloudevents+json")], event.to_string()).await
    }

    /// Waits until the runs about a key are as wanted; they are returned.
    ///
    /// # Panics
    /// If they do not become so; with the last that was seen.
    #[allow(clippy::panic, reason = "what was waited for did not come")]
    pub async fn runs_until(&self, key: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let (_, answer) = self.get(&format!("/v1/runs?key={key}&limit=100")).await;
            let runs = answer.get("runs").and_then(Value::as_array).cloned().unwrap_or_default();
            if wanted(&runs) {
                return runs;
            }
            if begun.elapsed() > PATIENCE {
                panic!("runs about `{key}` did not become as wanted: {runs:#?}");
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that runs a hub over a data folder.
#[must_use]
pub fn command(binary: &str, data: &Path, config: Option<&Path>) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command
}

/// Sends a request with a client.
///
/// # Errors
/// If there is no answer.
pub async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let response = client.request(request.map(Full::new)).await.map_err(|error| format!("{error:?}"))?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
