//! In Wasm: the imports of the component. What a plugin does not call is not imported.

use std::{panic, sync::Once};

use wasip2::{
    http::{
        outgoing_handler,
        types::{ErrorCode, Fields, IncomingBody, IncomingResponse, OutgoingBody, OutgoingRequest, Scheme},
    },
    io::streams::OutputStream,
};

use crate::{
    Failure,
    bindings::hub::crossdock::plugin::{context, log as host_log, secrets, state},
    http::{Lost, Method, Request, Response},
    log::Level,
    state::{Entry, Keys},
};

pub(crate) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| host_log::write(host_log::Level::Error, &info.to_string(), &[])));
    });
}

pub(crate) fn log(level: Level, message: &str, fields: &[(String, String)]) {
    let level = match level {
        Level::Trace => host_log::Level::Trace,
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::write(level, message, fields);
}

pub(crate) fn send(request: &Request) -> Result<Response, Lost> {
    let outgoing = outgoing(request)?;
    let body = outgoing.body().map_err(|()| Lost::invalid("the request has no body to write to"))?;
    let stream = body.write().map_err(|()| Lost::broken("the request's body is closed"))?;
    // What fits is there before the request sets out: most bodies are whole by then, and the hub waits for nothing.
    let rest = write(&stream, &request.body);
    let (answer, finished) = if rest.is_empty() {
        drop(stream);
        let finished = OutgoingBody::finish(body, None);
        (outgoing_handler::handle(outgoing, None).map_err(|code| lost(&code))?, finished)
    } else {
        let answer = outgoing_handler::handle(outgoing, None).map_err(|code| lost(&code))?;
        write_all(&stream, rest);
        drop(stream);
        (answer, OutgoingBody::finish(body, None))
    };
    answer.subscribe().block();
    let response = match answer.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(lost(&code)),
        Some(Err(())) | None => return Err(Lost::broken("the hub gave no answer")),
    };
    finished.map_err(|code| lost(&code))?;
    received(&response)
}

/// Hands over as much as the hub takes now; what is left. Nothing, once the hub has stopped listening: why stands in its
/// answer.
fn write<'a>(stream: &OutputStream, bytes: &'a [u8]) -> &'a [u8] {
    if bytes.is_empty() {
        return bytes;
    }
    let Ok(room) = stream.check_write() else { return &[] };
    let (now, later) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
    if !now.is_empty() && stream.write(now).is_err() {
        return &[];
    }
    later
}

/// Hands over all of it, as the hub takes it.
fn write_all(stream: &OutputStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        stream.subscribe().block();
        bytes = write(stream, bytes);
    }
}

fn outgoing(request: &Request) -> Result<OutgoingRequest, Lost> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| Lost::invalid(format!("header `{name}` may not be set by a plugin: {error}")))?;
    }
    let url = request.url();
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => return Err(Lost::invalid(format!("`{url}` is not an absolute http or https URL"))),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
        Method::Get => wasip2::http::types::Method::Get,
        Method::Head => wasip2::http::types::Method::Head,
        Method::Post => wasip2::http::types::Method::Post,
        Method::Put => wasip2::http::types::Method::Put,
        Method::Patch => wasip2::http::types::Method::Patch,
        Method::Delete => wasip2::http::types::Method::Delete,
    };
    let set = outgoing.set_method(&method).is_ok()
        && outgoing.set_scheme(Some(&scheme)).is_ok()
        && outgoing.set_authority(Some(authority)).is_ok()
        && outgoing.set_path_with_query(Some(&path)).is_ok();
    if set { Ok(outgoing) } else { Err(Lost::invalid(format!("`{url}` is not a URL"))) }
}

fn received(response: &IncomingResponse) -> Result<Response, Lost> {
    let status = response.status();
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let incoming: IncomingBody = response.consume().map_err(|()| Lost::broken("the answer has no body"))?;
    let stream = incoming.stream().map_err(|()| Lost::broken("the answer's body is closed"))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(wasip2::io::streams::StreamError::Closed) => return Ok(Response::new(status, headers, body)),
            Err(error) => return Err(Lost::broken(format!("the answer broke off: {error}"))),
        }
    }
}

/// What an error of the hub's HTTP says about whether anything was sent.
fn lost(code: &ErrorCode) -> Lost {
    let text = in_words(code);
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            Lost::denied("the hub refused the request; the run's log says why and what would grant it")
        }
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError => Lost::connect(text),
        ErrorCode::HttpRequestBodySize(_) => Lost::invalid("the request's body is larger than the hub allows"),
        _ => Lost::broken(text),
    }
}

/// What an error of the hub's HTTP means, for people.
fn in_words(code: &ErrorCode) -> &'static str {
    match code {
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            "its name cannot be resolved"
        }
        ErrorCode::ConnectionRefused => "it does not take connections",
        ErrorCode::ConnectionTimeout => "it did not take the connection in time",
        ErrorCode::ConnectionLimitReached => "this call made as many requests as it may",
        ErrorCode::ConnectionTerminated => "the connection broke",
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => "it did not answer in time",
        ErrorCode::TlsProtocolError | ErrorCode::TlsCertificateError | ErrorCode::TlsAlertReceived(_) => {
            "no secure connection came about"
        }
        ErrorCode::HttpResponseBodySize(_) => "its answer is larger than the connection allows",
        _ => "the request failed; the run's log says how",
    }
}

pub(crate) fn state_get(bucket: &str, key: &str) -> Result<Option<Entry>, Failure> {
    let found = state::get(bucket, key)?;
    Ok(found.map(|entry| Entry { value: entry.value, revision: entry.revision }))
}

pub(crate) fn state_put(bucket: &str, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<String, Failure> {
    Ok(state::put(bucket, key, value, ttl_seconds)?)
}

pub(crate) fn state_swap(
    bucket: &str,
    key: &str,
    revision: Option<&str>,
    value: &[u8],
    ttl_seconds: Option<u32>,
) -> Result<Option<String>, Failure> {
    Ok(state::swap(bucket, key, revision, value, ttl_seconds)?)
}

pub(crate) fn state_remove(bucket: &str, key: &str, revision: Option<&str>) -> Result<bool, Failure> {
    Ok(state::remove(bucket, key, revision)?)
}

pub(crate) fn state_scan(bucket: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Keys, Failure> {
    let keys = state::scan(bucket, prefix, after, limit)?;
    Ok(Keys { names: keys.names, next: keys.next })
}

pub(crate) fn sign(secret: &str, algorithm: &str, data: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(secrets::sign(secret, algorithm, data)?)
}

pub(crate) fn verify(secret: &str, algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, Failure> {
    Ok(secrets::verify(secret, algorithm, data, signature)?)
}

pub(crate) fn remaining_ms() -> u32 {
    context::remaining_ms()
}

pub(crate) fn annotate(name: &str, value: &str) {
    context::annotate(name, value);
}
