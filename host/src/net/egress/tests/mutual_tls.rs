//! Client certificates, against servers that ask for one. Authorities and certificates are made for each test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{Connection, EgressScope, Gateway, Hands, SecretRef, capability, connection, get, scope, text};
use crate::{
    model::{
        auth::{Auth, ClientCertificate},
        timestamp::Timestamp,
    },
    net::egress::identity::{ClientIdentity, IdentityError},
    ports::{
        clock::Clock as _,
        egress::EgressError,
        secrets::{Secret, SecretError, Secrets},
    },
};

/// Secrets that change while they are used.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, String>>);

impl Kept {
    fn put(&self, name: &str, value: impl Into<String>) {
        self.0.lock().unwrap().insert(format!("env:{name}"), value.into());
    }
}

impl Secrets for Kept {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let reference = reference.to_string();
        match self.0.lock().unwrap().get(&reference) {
            Some(value) => Ok(Secret::new(value.clone())),
            None => Err(SecretError { reference, problem: "set it".to_owned() }),
        }
    }
}

/// An authority, and what it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn issue(&self, name: &str, years: std::ops::Range<i32>) -> Pair {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let january = |year| OffsetDateTime::UNIX_EPOCH.replace_year(year).unwrap();
        (params.not_before, params.not_after) = (january(years.start), january(years.end));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// Valid at the time of [`Hands`].
    fn pair(&self, name: &str) -> Pair {
        self.issue(name, 2023..2200)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }

    fn gateway(&self) -> Gateway {
        Gateway::trusting(self.roots()).unwrap()
    }
}

impl Pair {
    fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

/// What a server saw of each request: whose certificate was shown, and the head.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A server that demands, or only takes, a certificate of an authority; it answers with what the head makes of it.
async fn server(authority: &Authority, demands: bool, answer: fn(&str) -> String) -> (String, Seen) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), Arc::clone(&provider));
    let verifier = if demands { verifier } else { verifier.allow_unauthenticated() };
    let own = authority.pair("server");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
            tokio::spawn(async move {
                let mut tls = match acceptor.accept(stream).into_fallible().await {
                    Ok(tls) => tls,
                    Err((_, mut stream)) => {
                        // A client whose certificate is not taken is told so, and is given the time to read it.
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                        return;
                    }
                };
                let shown = tls
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(|chain| chain.first())
                    .map_or_else(|| "nobody".to_owned(), |own| names(own));
                let mut head = [0; 4096];
                let Ok(read) = tls.read(&mut head).await else { return };
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let answer = answer(&head).replace("{shown}", &shown);
                noted.lock().unwrap().push((shown, head));
                let closed = answer.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                tls.write_all(closed.as_bytes()).await.unwrap();
                tls.shutdown().await.unwrap();
            });
        }
    });
    (url, seen)
}

/// Which of the names that these tests use stands in a certificate.
fn names(certificate: &[u8]) -> String {
    let stands = |name: &&str| certificate.windows(name.len()).any(|window| window == name.as_bytes());
    ["hub-one", "hub-two", "hub"].into_iter().find(stands).unwrap_or("somebody").to_owned()
}

fn tells(_: &str) -> String {
    "HTTP/1.1 200 OK\r\n\r\n{shown}".to_owned()
}

fn with_certificate(url: &str, key: bool) -> Connection {
    let private_key = key.then(|| SecretRef::Env("KEY".into()));
    let certificate = ClientCertificate { certificate: SecretRef::Env("CERTIFICATE".into()), private_key };
    Connection { client_certificate: Some(certificate), ..connection(url) }
}

fn kept(pair: &Pair) -> Arc<Kept> {
    let kept = Kept::default();
    kept.put("CERTIFICATE", pair.both());
    kept.put("TOKEN", "t0ken");
    Arc::new(kept)
}

fn scoped(connection: Connection, secrets: &Arc<Kept>, authenticate: bool) -> EgressScope {
    let capability = capability("${connection.base_url}", authenticate);
    EgressScope { secrets: Arc::clone(secrets) as _, ..scope(connection, vec![capability]) }
}

fn refused(result: Result<http::Response<bytes::Bytes>, EgressError>, part: &str) {
    match result {
        Err(EgressError::Authentication { reason }) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_is_shown_where_the_grant_says_so_and_nowhere_else() {
    let authority = Authority::new();
    let (url, seen) = server(&authority, true, tells).await;
    let secrets = kept(&authority.pair("hub"));
    let gateway = authority.gateway();
    let egress = gateway.open(scoped(with_certificate(&url, false), &secrets, true));
    assert_eq!(text(&*egress, get(&url)).await, "hub");
    // Beside it goes what `auth` adds.
    let auth = Auth::Bearer { token: SecretRef::Env("TOKEN".into()) };
    let both = Connection { auth, ..with_certificate(&url, false) };
    assert_eq!(text(&*gateway.open(scoped(both, &secrets, true)), get(&url)).await, "hub");
    assert!(seen.lock().unwrap()[1].1.to_lowercase().contains("authorization: bearer t0ken"));
    let bare = gateway.open(scoped(with_certificate(&url, false), &secrets, false));
    refused(bare.send(get(&url), false).await, "was shown none");
    let stranger = kept(&Authority::new().pair("hub"));
    let egress = gateway.open(EgressScope { revision: 2, ..scoped(with_certificate(&url, false), &stranger, true) });
    refused(egress.send(get(&url), false).await, "does not take the client certificate");
    assert_eq!(seen.lock().unwrap().len(), 2, "nothing of what was refused was looked at");
    let clear = url.replace("https:", "http:");
    let egress = gateway.open(scoped(with_certificate(&clear, false), &secrets, true));
    refused(egress.send(get(&clear), false).await, "use `https`");
}

#[tokio::test]
async fn a_session_with_a_certificate_is_not_taken_up_without_it_nor_the_other_way_round() {
    let authority = Authority::new();
    let (url, _) = server(&authority, false, tells).await;
    let secrets = kept(&authority.pair("hub"));
    let gateway = authority.gateway();
    let shown = gateway.open(scoped(with_certificate(&url, false), &secrets, true));
    let bare = gateway.open(scoped(with_certificate(&url, false), &secrets, false));
    for _ in 0..3 {
        assert_eq!(text(&*shown, get(&url)).await, "hub");
        assert_eq!(text(&*bare, get(&url)).await, "nobody");
    }
}

#[tokio::test]
async fn a_certificate_does_not_follow_a_redirect_to_another_host() {
    let authority = Authority::new();
    let (other, seen) = server(&authority, false, tells).await;
    let (url, first) = server(&authority, true, |head| {
        let to = head.split("to=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        format!("HTTP/1.1 302 Found\r\nlocation: https://{to}/\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let secrets = kept(&authority.pair("hub"));
    let both = vec![capability(&url, true), capability(&other, true)];
    let scope = EgressScope { secrets: secrets as _, ..scope(with_certificate(&url, false), both) };
    let egress = authority.gateway().open(scope);
    let asked = format!("{url}/?to={}", other.trim_start_matches("https://"));
    assert_eq!(text(&*egress, get(&asked)).await, "nobody");
    assert_eq!(first.lock().unwrap()[0].0, "hub");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_exchanged_in_the_middle_of_traffic() {
    let authority = Authority::new();
    let (url, seen) = server(&authority, true, tells).await;
    let secrets = kept(&authority.pair("hub-one"));
    let egress = authority.gateway().open(scoped(with_certificate(&url, false), &secrets, true));
    let sent = (0..60).map(|number| {
        let (egress, url, secrets) = (Arc::clone(&egress), url.clone(), Arc::clone(&secrets));
        let next = (number == 30).then(|| authority.pair("hub-two").both());
        async move {
            if let Some(next) = next {
                secrets.put("CERTIFICATE", next);
            }
            egress.send(get(&url), false).await.unwrap().status().as_u16()
        }
    });
    let answers = futures::future::join_all(sent).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(text(&*egress, get(&url)).await, "hub-two");
    let shown: Vec<String> = seen.lock().unwrap().iter().map(|(who, _)| who.clone()).collect();
    assert!(shown.iter().any(|who| who == "hub-one") && shown.iter().all(|who| who != "nobody"), "{shown:?}");
    // One that cannot be shown is not, nor is the one of before.
    secrets.put("CERTIFICATE", "nonsense");
    refused(egress.send(get(&url), false).await, "holds no certificate");
    assert_eq!(seen.lock().unwrap().len(), 61);
}

#[test]
fn what_cannot_be_shown_is_refused_with_what_to_do_and_no_key_is_repeated() {
    let (authority, hands) = (Authority::new(), Hands::default());
    let now = hands.now();
    let (pair, other) = (authority.pair("hub"), authority.pair("hub"));
    let read = |certificate: &str, key: Option<&str>| {
        let kept = Kept::default();
        kept.put("CERTIFICATE", certificate);
        key.into_iter().for_each(|key| kept.put("KEY", key));
        let connection = with_certificate("https://bank.example", key.is_some());
        ClientIdentity::read(&connection.client_certificate.unwrap(), &kept, now)
    };
    let identity = read(&pair.certificate, Some(&pair.key)).unwrap();
    assert_eq!(identity.subject(), "`hub`");
    assert_eq!(identity.not_after().to_string(), "2200-01-01T00:00:00.000Z");
    let chain = format!("{}{}", pair.certificate, other.certificate);
    assert!(read(&chain, Some(&pair.key)).is_ok());
    let secret_part = pair.key.lines().nth(1).unwrap();
    let encrypted =
        format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{secret_part}\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let (cut, garbled) = (&pair.key[..pair.key.len() / 2], pair.key.replace(secret_part, "AAAA"));
    let (old, early) = (authority.issue("hub", 2000..2023), authority.issue("hub", 2100..2200));
    let stale_chain = format!("{}{}", pair.certificate, old.certificate);
    for (certificate, key, expected) in [
        ("", Some(&*pair.key), "`client_certificate.certificate`: it holds no certificate"),
        (&*pair.key, Some(&*pair.key), "it holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", Some(&pair.key), "no X.509 certificate"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", Some(&pair.key), "no PEM that can be read"),
        (&pair.certificate, Some(&pair.certificate), "`client_certificate.private_key`: it holds no private key"),
        (&pair.certificate, Some(&encrypted), "without a passphrase"),
        (&pair.certificate, Some(cut), "holds no private key in PEM form"),
        (&pair.certificate, Some(&garbled), "no such key can be used"),
        (&pair.certificate, None, "no private key beside the certificate"),
        (&pair.certificate, Some(&other.key), "does not belong to the certificate of `hub`"),
        (&old.both(), None, "has expired at 2023-01-01T00:00:00.000Z: have another one issued"),
        (&stale_chain, Some(&pair.key), "has expired at 2023-01-01"),
        (&early.both(), None, "is not valid before 2100-01-01"),
    ] {
        let error = read(certificate, key).unwrap_err();
        let says = error.to_string();
        assert!(says.contains(expected) && !says.contains(secret_part), "{says}");
    }
    let kept = Kept::default();
    let unset = with_certificate("https://bank.example", false).client_certificate.unwrap();
    let error = ClientIdentity::read(&unset, &kept, Timestamp::from_millis(0)).unwrap_err();
    assert!(matches!(error, IdentityError::Secret { place: "client_certificate.certificate", .. }), "{error}");
}
