//! How a remote verifies signatures of requests, from the bytes as they came over the wire: written after the specifications
//! and with another library than the hub's, so that a mistake of one is not a mistake of both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest::{SHA256, digest},
    hmac,
};

use crate::verifier::Raw;

/// How far a request's time may be off, seconds.
const TOLERANCE_S: u64 = 300;

#[expect(clippy::disallowed_methods, reason = "a counterpart has a clock of its own")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escape(bytes: &[u8]) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: &u8| if kept(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(one).collect()
}

/// A part of a query or a form as the bytes that it stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut found = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, digits.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                found.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => found.push(b' '),
            (other, _) => found.push(*other),
        }
    }
    found
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (escape(&unescape(name)), escape(&unescape(value)))
    };
    text.split('&').filter(|pair| !pair.is_empty()).map(read).collect()
}

/// The parameters of a form, as they are meant.
#[must_use]
pub fn form(text: &str) -> BTreeMap<String, String> {
    let plain = |text: String| String::from_utf8_lossy(&unescape(&text)).into_owned();
    pairs(text).into_iter().map(|(name, value)| (plain(name), plain(value))).collect()
}

fn joined(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Seconds since 1970 of a time such as `20150830T123600Z`.
fn instant(text: &str) -> Option<u64> {
    let form = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let moment = time::PrimitiveDateTime::parse(text, form).ok()?;
    u64::try_from(moment.assume_utc().unix_timestamp()).ok()
}

/// An account whose requests are signed with AWS Signature Version 4.
#[derive(Clone, Debug)]
pub struct AwsAccount {
    /// Which key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// What a key that is valid for a time comes with.
    pub session_token: Option<String>,
    /// Where.
    pub region: String,
    /// What.
    pub service: String,
}

impl AwsAccount {
    /// Whether a request is signed by this account, for now, with its body.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, raw: &Raw) -> Result<(), String> {
        let fields = raw.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").ok_or("it is not signed")?;
        let fields: BTreeMap<&str, &str> = fields.split(", ").filter_map(|field| field.split_once('=')).collect();
        let of = |name: &str| fields.get(name).copied().unwrap_or_default();
        let time = raw.header("x-amz-date");
        let late = instant(time).is_none_or(|signed| signed.abs_diff(now_s()) > TOLERANCE_S);
        if late {
            return Err(format!("it was signed at {time}"));
        }
        let scope = format!("{}/{}/{}/aws4_request", time.get(..8).unwrap_or_default(), self.region, self.service);
        if of("Credential") != format!("{}/{scope}", self.access_key_id) {
            return Err(format!("it is signed for {}", of("Credential")));
        }
        if raw.header("x-amz-security-token") != self.session_token.as_deref().unwrap_or_default() {
            return Err("another session token".to_owned());
        }
        let payload = hex(digest(&SHA256, &raw.body).as_ref());
        if raw.header("x-amz-content-sha256") != payload {
            return Err("another body".to_owned());
        }
        let signed: Vec<&str> = of("SignedHeaders").split(';').collect();
        let amazons = raw.headers.iter().map(|(name, _)| &**name).filter(|name| name.starts_with("x-amz-"));
        let missing = amazons.chain(["host"]).find(|name| !signed.contains(name));
        if let Some(missing) = missing {
            return Err(format!("`{missing}` is not signed"));
        }
        let mut lines = String::new();
        for name in &signed {
            let all = raw
                .headers
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.push_str(&format!("{name}:{}\n", all.collect::<Vec<_>>().join(",")));
        }
        let (path, query) = raw.target.split_once('?').unwrap_or((&raw.target, ""));
        let (path, query) = (self.path(path), joined(pairs(query)));
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{}\n{payload}", raw.method, of("SignedHeaders"));
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in scope.split('/').chain([&*to_sign]) {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        if hex(&key) == of("Signature") { Ok(()) } else { Err("the signature is wrong".to_owned()) }
    }

    fn path(&self, path: &str) -> String {
        if self.service == "s3" {
            return path
                .split('/')
                .map(|part| escape(&unescape(&part.replace('+', "%2B"))))
                .collect::<Vec<_>>()
                .join("/");
        }
        let mut kept: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                ".." => drop(kept.pop()),
                "." | "" => {}
                part => kept.push(part),
            }
        }
        let mut whole: String = kept.iter().map(|part| format!("/{}", escape(part.as_bytes()))).collect();
        if whole.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") {
            whole.push('/');
        }
        whole
    }
}

/// A shop whose requests are signed with OAuth 1.
#[derive(Debug)]
pub struct OAuth1Shop {
    /// Where it is, without a path.
    pub address: String,
    /// `HMAC-SHA256` or `HMAC-SHA1`.
    pub method: &'static str,
    /// Which application.
    pub consumer: (String, String),
    /// Whose access, if it is somebody's.
    pub token: Option<(String, String)>,
    /// Each request is taken once.
    pub nonces: Mutex<BTreeSet<String>>,
}

impl OAuth1Shop {
    /// Whether a request is signed for this shop, for now, and came for the first time.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, raw: &Raw) -> Result<(), String> {
        let fields = raw.header("authorization").strip_prefix("OAuth ").ok_or("it is not signed")?;
        let read = |field: &str| {
            let (name, value) = field.trim().split_once('=')?;
            Some((name.to_owned(), String::from_utf8_lossy(&unescape(value.trim_matches('"'))).into_owned()))
        };
        let fields: BTreeMap<String, String> = fields.split(',').filter_map(read).collect();
        let of = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let named = (of("oauth_consumer_key"), of("oauth_signature_method"), of("oauth_token"));
        let token = self.token.as_ref().map_or("", |(token, _)| token);
        if named != (&*self.consumer.0, self.method, token) || of("oauth_version") != "1.0" {
            return Err(format!("it is signed as {named:?}"));
        }
        if of("oauth_timestamp").parse::<u64>().map_or(true, |time| time.abs_diff(now_s()) > TOLERANCE_S) {
            return Err(format!("it was signed at {}", of("oauth_timestamp")));
        }
        let nonce = of("oauth_nonce").to_owned();
        if nonce.len() < 16 || !self.nonces.lock().unwrap_or_else(PoisonError::into_inner).insert(nonce) {
            return Err("its nonce has come before, or is none".to_owned());
        }
        let (path, query) = raw.target.split_once('?').unwrap_or((&raw.target, ""));
        let mut all = pairs(query);
        if raw.header("content-type").starts_with("application/x-www-form-urlencoded") {
            all.extend(pairs(&String::from_utf8_lossy(&raw.body)));
        }
        let own = fields.iter().filter(|(name, _)| name.starts_with("oauth_") && *name != "oauth_signature");
        all.extend(own.map(|(name, value)| (name.clone(), escape(value.as_bytes()))));
        let parts = [raw.method.clone(), format!("{}{path}", self.address), joined(all)];
        let base = parts.map(|part| escape(part.as_bytes())).join("&");
        let secret = self.token.as_ref().map_or("", |(_, secret)| secret);
        let key = format!("{}&{}", escape(self.consumer.1.as_bytes()), escape(secret.as_bytes()));
        let algorithm =
            if self.method == "HMAC-SHA1" { hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY } else { hmac::HMAC_SHA256 };
        let code = hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), base.as_bytes());
        if STANDARD.encode(code.as_ref()) == of("oauth_signature") {
            Ok(())
        } else {
            Err("the signature is wrong".to_owned())
        }
    }
}
