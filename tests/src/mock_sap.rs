//! The PyPI package `mock-sap` as a counterpart: installed below `target/`, started on a free port, ended by its pid.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::packages;

/// The release that the tests are written against.
const PACKAGE: &str = "mock-sap==0.22.0";
/// The user and password that it is started with.
pub const USER: &str = "CROSSDOCK";
/// As [`USER`].
pub const PASSWORD: &str = "counterpart-password";

/// A running mock SAP. Killed when dropped.
pub struct MockSap {
    child: Child,
    /// Where it listens, `http://127.0.0.1:PORT`.
    pub url: String,
}

impl MockSap {
    /// Installs it if it is not there, and starts it.
    ///
    /// # Panics
    /// If it cannot be had: a counterpart that does not start fails its test.
    #[must_use]
    #[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
    pub fn start() -> Self {
        let mut command = Command::new(python());
        command.args(["-u", "-m", "mocksap", "--port", "0", "--require-if-match"]);
        command.args(["--auth", &format!("{USER}:{PASSWORD}")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {PACKAGE}: {error}"));
        let Some(out) = child.stdout.take() else { panic!("{PACKAGE} has no output") };
        let mut lines = BufReader::new(out).lines();
        let url = lines.find_map(|line| {
            let line = line.ok()?;
            let at = line.find("http://")?;
            line.get(at..)?.split_whitespace().next().map(|url| url.trim_end_matches('/').to_owned())
        });
        let Some(url) = url else { panic!("{PACKAGE} ended before it said where it listens") };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for MockSap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python of a virtual environment that has the package.
#[allow(clippy::panic, reason = "a test without its counterpart has failed, and must say why")]
fn python() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = packages::workspace().join("target/counterparts").join(PACKAGE.replace("==", "-"));
        let python = folder.join("bin/python");
        let done = folder.join("installed");
        if done.is_file() {
            return python;
        }
        let run = |program: &Path, arguments: &[&str]| match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!(
                "{} {arguments:?} failed: {}{}",
                program.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => panic!("cannot run {}: {error}; the counterparts need Python 3", program.display()),
        };
        let _ = fs::remove_dir_all(&folder);
        run(Path::new("python3"), &["-m", "venv", &folder.display().to_string()]);
        run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
        fs::write(done, PACKAGE).unwrap_or_else(|error| panic!("{error}"));
        python
    });
    &PYTHON
}

/// A proxy that hands everything on, but loses the answer to the first request whose head begins with `lose`.
///
/// # Panics
/// If no port can be bound.
#[allow(clippy::panic, reason = "a test without its proxy has failed, and must say why")]
pub async fn losing_proxy(upstream: &str, lose: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
    let upstream = upstream.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        let mut lost = false;
        while let Ok((client, _)) = listener.accept().await {
            // One exchange a connection keeps this simple; clients connect anew.
            lost |= matches!(exchange(client, &upstream, if lost { None } else { Some(lose) }).await, Ok(true));
        }
    });
    format!("http://{address}")
}

/// Hands on one exchange; whether its answer was lost.
async fn exchange(mut client: TcpStream, upstream: &str, lose: Option<&str>) -> std::io::Result<bool> {
    let request = message(&mut client).await?;
    let mut server = TcpStream::connect(upstream).await?;
    let head_end = request.windows(2).position(|pair| pair == b"\r\n").unwrap_or(0);
    let mut closing = request.get(..head_end).unwrap_or_default().to_vec();
    closing.extend_from_slice(b"\r\nconnection: close");
    closing.extend_from_slice(request.get(head_end..).unwrap_or_default());
    server.write_all(&closing).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if lose.is_some_and(|lose| request.starts_with(lose.as_bytes())) {
        return Ok(true);
    }
    client.write_all(&answer).await?;
    client.shutdown().await?;
    Ok(false)
}

/// One request with a body of `content-length`.
async fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(bytes.get(..head).unwrap_or_default()).to_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        if bytes.len() >= head + 4 + length {
            return Ok(bytes);
        }
    }
}
