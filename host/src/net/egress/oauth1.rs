//! OAuth 1.0a (RFC 5849): requests signed with HMAC, in the `Authorization` header.
//!
//! Pure: time and nonce are given. The base string covers the method, the address without its query, and every parameter of
//! the query, of a form in the body, and of the header.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::{HeaderValue, Request, header};
use percent_encoding::percent_decode;
use sha1::Sha1;
use sha2::Sha256;

use super::signing::{NotSigned, encode};
use crate::{
    model::{auth::SignatureMethod, timestamp::Timestamp},
    policy::egress::Origin,
    ports::secrets::Secret,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Who signs.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) method: SignatureMethod,
    pub(super) consumer_key: String,
    pub(super) consumer_secret: Secret,
    /// The token, and its secret.
    pub(super) token: Option<(String, Secret)>,
    pub(super) realm: Option<String>,
}

impl Signer {
    /// Signs a request. Gives the signature, which must not come back.
    pub(super) fn sign(
        &self,
        request: &mut Request<Bytes>,
        origin: &Origin,
        now: Timestamp,
        nonce: &str,
    ) -> Result<Secret, NotSigned> {
        let (seconds, method) = ((now.millis() / 1_000).to_string(), self.method.as_str());
        let mut own = vec![("oauth_consumer_key", &*self.consumer_key)];
        own.extend([("oauth_nonce", nonce), ("oauth_signature_method", method), ("oauth_timestamp", &*seconds)]);
        own.extend(self.token.as_ref().map(|(token, _)| ("oauth_token", &**token)));
        own.push(("oauth_version", "1.0"));
        let signature = self.signature(&base(request, origin, &own)?);
        own.push(("oauth_signature", &signature));
        let mut text = String::from("OAuth ");
        if let Some(realm) = &self.realm {
            // A quoted string (RFC 9110 §5.6.4); the realm is not signed.
            text.push_str(&format!("realm=\"{}\", ", realm.replace('\\', "\\\\").replace('"', "\\\"")));
        }
        let pairs: Vec<String> =
            own.iter().map(|(name, value)| format!("{name}=\"{}\"", encode(value.as_bytes()))).collect();
        text.push_str(&pairs.join(", "));
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| NotSigned("`realm` holds characters that no HTTP header can carry"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok(Secret::new(signature))
    }

    fn signature(&self, base: &str) -> String {
        let token_secret = self.token.as_ref().map_or(&[][..], |(_, secret)| secret.expose());
        let key = format!("{}&{}", encode(self.consumer_secret.expose()), encode(token_secret));
        let key = Secret::new(key);
        // HMAC takes keys of any length.
        let code = match self.method {
            SignatureMethod::HmacSha256 => Hmac::<Sha256>::new_from_slice(key.expose())
                .map(|mac| mac.chain_update(base).finalize().into_bytes().to_vec()),
            SignatureMethod::HmacSha1 => Hmac::<Sha1>::new_from_slice(key.expose())
                .map(|mac| mac.chain_update(base).finalize().into_bytes().to_vec()),
        };
        STANDARD.encode(code.unwrap_or_default())
    }
}

/// The signature base string (RFC 5849 §3.4.1).
fn base(request: &Request<Bytes>, origin: &Origin, own: &[(&str, &str)]) -> Result<String, NotSigned> {
    let mut pairs: Vec<(String, String)> =
        own.iter().map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes()))).collect();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let form = if is_form(request) { &request.body()[..] } else { &[] };
    for part in [query, form] {
        // Names and values are bytes: what is no UTF-8 is signed as it is.
        for (name, value) in pieces(part) {
            if name.starts_with(b"oauth_") {
                return Err(NotSigned(
                    "parameters that begin with `oauth_` are the host's: leave them out of the request",
                ));
            }
            pairs.push((encode(&name), encode(&value)));
        }
    }
    pairs.sort();
    let parameters: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let address = format!("{origin}{}", request.uri().path());
    let parts = [request.method().as_str(), &*address, &*parameters.join("&")];
    Ok(parts.map(|part| encode(part.as_bytes())).join("&"))
}

/// Whether the body is a form whose parameters are signed too (§3.4.1.3.1).
fn is_form(request: &Request<Bytes>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

/// The names and values of a form, decoded to bytes.
fn pieces(form: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    form.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).map(|piece| {
        let mut parts = piece.splitn(2, |byte| *byte == b'=');
        let mut next = || parts.next().map(decoded).unwrap_or_default();
        (next(), next())
    })
}

fn decoded(part: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str, kind: Option<&str>, body: &'static str) -> Request<Bytes> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        request.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    fn signer(consumer_secret: &str, token: Option<(&str, &str)>) -> Signer {
        Signer {
            method: SignatureMethod::HmacSha1,
            consumer_key: "dpf43f3p2l4k3l03".into(),
            consumer_secret: Secret::new(consumer_secret),
            token: token.map(|(token, secret)| (token.to_owned(), Secret::new(secret))),
            realm: None,
        }
    }

    #[track_caller]
    fn based(request: &Request<Bytes>, own: &[(&str, &str)]) -> String {
        base(request, &Origin::of(request.uri()).unwrap(), own).unwrap()
    }

    #[test]
    fn the_base_string_is_that_of_the_standard() {
        let own = [
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
        ];
        let expected = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c\
                        %2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_m\
                        ethod%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7";
        let line = "POST http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b";
        for kind in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=utf-8"] {
            assert_eq!(based(&request(line, Some(kind), "c2&a3=2+q"), &own), expected, "{kind}");
        }
        // Another body is no form, and its text is not signed.
        let other = request(line, Some("application/json"), "c2&a3=2+q");
        assert_eq!(based(&other, &own), expected.replace("a3%3D2%2520q%26", "").replace("c2%3D%26", ""));
        let port = based(&request("GET https://Example.com:8443/r%20v/X?id=123", None, ""), &own[..1]);
        assert!(port.starts_with("GET&https%3A%2F%2Fexample.com%3A8443%2Fr%2520v%2FX&id%3D123%26oauth"), "{port}");
    }

    #[test]
    fn signs_as_the_standard_shows() {
        let photos = request("GET http://photos.example.net/photos?file=vacation.jpg&size=original", None, "");
        let own = [
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "nnch734d00sl2jdk"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131202"),
            ("oauth_nonce", "chapoH"),
        ];
        let signer_with_token = signer("kd94hf93k423kf44", Some(("nnch734d00sl2jdk", "pfkkdhi9sl3r4s00")));
        assert_eq!(signer_with_token.signature(&based(&photos, &own)), "MdpQcU8iPSUjWoN/UDMsK2sui9I=");
    }

    #[test]
    fn the_header_says_everything_but_the_secrets() {
        let mut signer = signer("c&secret", Some(("t/1", "t secret")));
        signer.method = SignatureMethod::HmacSha256;
        signer.realm = Some("12345_\"SB1\"".into());
        let mut sent = request("GET https://shop.example/rest?q=1", None, "");
        let origin = Origin::of(sent.uri()).unwrap();
        let signature = signer.sign(&mut sent, &origin, Timestamp::from_millis(1_700_000_000_999), "n0nce").unwrap();
        let signature = std::str::from_utf8(signature.expose()).unwrap();
        assert_eq!(
            sent.headers()["authorization"],
            format!(
                "OAuth realm=\"12345_\\\"SB1\\\"\", oauth_consumer_key=\"dpf43f3p2l4k3l03\", oauth_nonce=\"n0nce\", \
                 oauth_signature_method=\"HMAC-SHA256\", oauth_timestamp=\"1700000000\", oauth_token=\"t%2F1\", \
                 oauth_version=\"1.0\", oauth_signature=\"{}\"",
                encode(signature.as_bytes())
            )
        );
        assert!(sent.headers()["authorization"].is_sensitive());
    }

    #[test]
    fn a_guest_cannot_put_in_parameters_that_are_the_hosts() {
        let signer = signer("s", None);
        let sign = |line: &str, kind: Option<&str>, body: &'static str| {
            let mut sent = request(line, kind, body);
            let origin = Origin::of(sent.uri()).unwrap();
            signer.sign(&mut sent, &origin, Timestamp::from_millis(0), "n").map(drop)
        };
        for line in ["GET https://a.example/?oauth_token=x", "GET https://a.example/?a=1&o%61uth_nonce=x"] {
            assert!(sign(line, None, "").is_err(), "{line}");
        }
        assert!(sign("POST https://a.example/", Some(FORM), "oauth_version=2").is_err());
        assert!(sign("POST https://a.example/", Some("text/plain"), "oauth_version=2").is_ok());
        assert!(sign("GET https://a.example/?other=oauth_token", None, "").is_ok());
    }
}
