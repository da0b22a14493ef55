//! AWS Signature Version 4 in the `Authorization` header: the canonical request, what is signed of it, and with which key.
//!
//! Pure: the time is given. The payload is always signed: a request's body is whole before it leaves.

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::signing::{NotSigned, encode};
use crate::{
    model::{hex::hex, timestamp::Timestamp},
    ports::secrets::Secret,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Headers that are signed beside `x-amz-…`. Others may be changed on the way.
const SIGNED: [HeaderName; 3] = [header::CONTENT_TYPE, header::HOST, HeaderName::from_static("content-md5")];

/// Services whose paths are signed as they are, neither normalized nor encoded twice.
const PLAIN_PATHS: [&str; 4] = ["s3", "s3-object-lambda", "s3-outposts", "s3express"];

/// Who signs, for what.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
    pub(super) region: String,
    pub(super) service: String,
}

impl Signer {
    /// Signs a request, whose `Host` is set. What a guest wrote into the headers that belong to the signature is replaced.
    /// Gives the signature, which must not come back.
    pub(super) fn sign(&self, request: &mut Request<Bytes>, now: Timestamp) -> Result<Secret, NotSigned> {
        let time = Time::of(now).ok_or(NotSigned("the time is beyond what can be written"))?;
        let payload = hex(&Sha256::digest(request.body()));
        let headers = request.headers_mut();
        headers.insert(DATE, text(&time.full)?);
        headers.insert(PAYLOAD, text(&payload)?);
        headers.remove(TOKEN);
        if let Some(token) = &self.session_token {
            let mut token = HeaderValue::from_bytes(token.expose())
                .map_err(|_| NotSigned("the session token holds characters that no HTTP header can carry"))?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let names = request.headers().keys();
        let names =
            names.filter(|name| SIGNED.contains(name) || name.as_str().starts_with("x-amz-")).cloned().collect();
        let (authorization, signature) = self.authorization(request, &time, names, &payload)?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(Secret::new(signature))
    }

    fn authorization(
        &self,
        request: &Request<Bytes>,
        time: &Time,
        mut names: Vec<HeaderName>,
        payload: &str,
    ) -> Result<(HeaderValue, String), NotSigned> {
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        let signed: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        let signed = signed.join(";");
        let canonical = self.canonical(request, &names, &signed, payload);
        let scope = format!("{}/{}/{}/aws4_request", time.date, self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", time.full, hex(&Sha256::digest(canonical.as_bytes())));
        let start = Secret::new([b"AWS4", self.secret_access_key.expose()].concat());
        let key = [&*time.date, &*self.region, &*self.service, "aws4_request"]
            .into_iter()
            .fold(start, |key, part| Secret::new(hmac(key.expose(), part.as_bytes())));
        let signature = hex(&hmac(key.expose(), to_sign.as_bytes()));
        let credential = format!("{}/{scope}", self.access_key_id);
        let mut value =
            text(&format!("{ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}"))?;
        value.set_sensitive(true);
        Ok((value, signature))
    }

    fn canonical(&self, request: &Request<Bytes>, names: &[HeaderName], signed: &str, payload: &str) -> String {
        let uri = request.uri();
        let path = if PLAIN_PATHS.contains(&&*self.service) { plain(uri.path()) } else { normalized(uri.path()) };
        let query = canonical_query(uri.query().unwrap_or_default());
        let mut headers = String::new();
        for name in names {
            headers.push_str(name.as_str());
            headers.push(':');
            headers.push_str(&folded(request.headers(), name));
            headers.push('\n');
        }
        format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{payload}", request.method())
    }
}

/// A moment as it is signed.
struct Time {
    date: String,
    full: String,
}

impl Time {
    fn of(now: Timestamp) -> Option<Self> {
        let whole = chrono::DateTime::from_timestamp_millis(now.millis())?;
        Some(Self { date: whole.format("%Y%m%d").to_string(), full: whole.format("%Y%m%dT%H%M%SZ").to_string() })
    }
}

/// A path as it was sent, in one spelling.
fn plain(path: &str) -> String {
    path.split('/')
        .map(|segment| encode(&percent_decode(segment.as_bytes()).collect::<Vec<u8>>()))
        .collect::<Vec<_>>()
        .join("/")
}

/// A path without `.`, `..` and empty segments (RFC 3986 §5.2.4), each segment as it was sent encoded once more.
fn normalized(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let ends_open = ["/", "/.", "/.."].into_iter().any(|end| path.ends_with(end));
    let encoded: Vec<String> = segments.iter().map(|segment| encode(segment.as_bytes())).collect();
    let end = if ends_open && !encoded.is_empty() { "/" } else { "" };
    format!("/{}{end}", encoded.join("/"))
}

/// Parameters by name, then value, in the order of their bytes as they are encoded.
fn canonical_query(query: &str) -> String {
    let parsed = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<(String, String)> =
        parsed.map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes()))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// All values of a header, each without spaces at its ends and with one where there were several.
fn folded(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes());
        value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

fn text(value: &str) -> Result<HeaderValue, NotSigned> {
    HeaderValue::from_str(value)
        .map_err(|_| NotSigned("`access_key_id`, `region` or `service` holds characters that no HTTP header can carry"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secret: &str, service: &str) -> Signer {
        Signer {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new(secret),
            session_token: None,
            region: "us-east-1".into(),
            service: service.into(),
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    fn request(line: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Bytes> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    /// The signature over all headers of a request, as the vendor's examples have it.
    fn signature(signer: &Signer, time: &str, request: &Request<Bytes>) -> String {
        let names: Vec<HeaderName> = request.headers().keys().cloned().collect();
        let payload = hex(&Sha256::digest(request.body()));
        signer.authorization(request, &Time::of(at(time)).unwrap(), names, &payload).unwrap().1
    }

    /// The vendor's test suite for signers: the names of its cases, what is signed, and what comes out.
    #[test]
    fn signs_as_the_vendors_test_suite_says() {
        let signer = signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "service");
        let host = ("host", "example.amazonaws.com");
        let date = ("x-amz-date", "20150830T123600Z");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIe\
                     oIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5\
                     VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Y\
                     jc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        for (name, line, more, body, expected) in [
            ("vanilla", "GET /", vec![], "", vanilla),
            ("slashes", "GET //", vec![], "", vanilla),
            ("slash-dot-slash", "GET /./", vec![], "", vanilla),
            ("relative", "GET /example/..", vec![], "", vanilla),
            ("relative-relative", "GET /example1/example2/../..", vec![], "", vanilla),
            (
                "query-order-key-case",
                "GET /?Param2=value2&Param1=value1",
                vec![],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "empty-query-key",
                "GET /?Param1=value1",
                vec![],
                "",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "header-value-trim",
                "GET /",
                vec![("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "header-key-duplicate",
                "GET /",
                vec![("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")],
                "",
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            ("post-vanilla", "POST /", vec![], "", post),
            (
                "post-header-key-sort",
                "POST /",
                vec![("my-header1", "value1")],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-form",
                "POST /",
                vec![form],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "sts-header-before",
                "POST /",
                vec![("x-amz-security-token", token)],
                "",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let headers: Vec<_> = [host, date].into_iter().chain(more).collect();
            let found = signature(&signer, "2015-08-30T12:36:00Z", &request(line, &headers, body));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn signs_as_the_vendors_documentation_shows() {
        let iam = signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "iam");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let users = request("GET /?Action=ListUsers&Version=2010-05-08", &headers, "");
        assert_eq!(
            signature(&iam, "2015-08-30T12:36:00Z", &users),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        let store = signer("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3");
        let welcome = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (line, payload, more, body, expected) in [
            (
                "GET /test.txt",
                nothing,
                vec![("range", "bytes=0-9")],
                "",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT /test$file.text",
                welcome,
                vec![("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
                "Welcome to Amazon S3.",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET /?lifecycle",
                nothing,
                vec![],
                "",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET /?max-keys=2&prefix=J",
                nothing,
                vec![],
                "",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let own = [
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", payload),
                ("x-amz-date", "20130524T000000Z"),
            ];
            let headers: Vec<_> = own.into_iter().chain(more).collect();
            assert_eq!(signature(&store, "2013-05-24T00:00:00Z", &request(line, &headers, body)), expected, "{line}");
        }
    }

    #[test]
    fn paths_are_normalized_and_encoded_twice_but_for_object_stores() {
        for (path, twice, once) in [
            ("/", "/", "/"),
            ("/a/../b//c/./d/", "/b/c/d/", "/a/../b//c/./d/"),
            ("/a/..", "/", "/a/.."),
            ("/a/b/..", "/a/", "/a/b/.."),
            ("/../../a", "/a", "/../../a"),
            ("/a%20b/%E1%88%B4", "/a%2520b/%25E1%2588%25B4", "/a%20b/%E1%88%B4"),
            ("/a$b/c%2fd", "/a%24b/c%252fd", "/a%24b/c%2Fd"),
        ] {
            assert_eq!((&*normalized(path), &*plain(path)), (twice, once), "{path}");
        }
    }

    #[test]
    fn parameters_are_ordered_by_their_bytes_as_they_are_encoded() {
        for (query, expected) in [
            ("", ""),
            ("b=2&a=2&a=1&B=0", "B=0&a=1&a=2&b=2"),
            ("a", "a="),
            ("a=b=c&x=%2f+1&&y=%C3%bc", "a=b%3Dc&x=%2F%201&y=%C3%BC"),
            ("a-b=1&a=1&a%20=1", "a=1&a%20=1&a-b=1"),
        ] {
            assert_eq!(canonical_query(query), expected, "{query}");
        }
    }

    #[test]
    fn what_a_guest_writes_into_the_headers_of_the_signature_is_replaced() {
        let mut signer = signer("secret", "execute-api");
        let guest = [
            ("host", "api.example"),
            ("x-amz-date", "19700101T000000Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-security-token", "stolen"),
            ("authorization", "AWS4-HMAC-SHA256 stolen"),
            ("x-amz-target", "kept"),
            ("x-other", "not signed"),
        ];
        let mut sent = request("POST https://api.example/orders", &guest, "{}");
        let signature = signer.sign(&mut sent, at("2026-01-02T03:04:05Z")).unwrap();
        let of = |name: &str| sent.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(of("x-amz-date").unwrap(), "20260102T030405Z");
        assert_eq!(of("x-amz-content-sha256").unwrap(), hex(&Sha256::digest(b"{}")));
        assert_eq!(of("x-amz-security-token"), None);
        let signature = std::str::from_utf8(signature.expose()).unwrap();
        assert_eq!(
            of("authorization").unwrap(),
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/execute-api/aws4_request, \
                 SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-target, Signature={signature}"
            )
        );
        assert!(sent.headers()["authorization"].is_sensitive());
        signer.session_token = Some(Secret::new("own"));
        signer.sign(&mut sent, at("2026-01-02T03:04:05Z")).unwrap();
        assert!(
            sent.headers()["x-amz-security-token"] == "own" && sent.headers()["x-amz-security-token"].is_sensitive()
        );
        let signed = sent.headers()["authorization"].to_str().unwrap();
        assert!(signed.contains(";x-amz-security-token;"), "{signed}");
        signer.session_token = Some(Secret::new("line\nbreak"));
        assert!(signer.sign(&mut sent, at("2026-01-02T03:04:05Z")).is_err());
    }
}
