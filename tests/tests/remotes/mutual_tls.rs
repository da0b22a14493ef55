//! A bank that asks for a client certificate.

use std::sync::Arc;

use crossdock_tests::verifier::{Raw, Verifier};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::{Setting, asked, crossdock, in_no_file};

/// An authority that vouches for the bank and for its customers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate until the end of a year, and its key.
    fn issue(&self, name: &str, year: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Certificate and key in one PEM, and a line of the key, which is to be seen nowhere.
    fn bundle(&self, name: &str, year: i32) -> (String, String) {
        let (certificate, key) = self.issue(name, year);
        let line = key.lines().nth(1).unwrap().to_owned();
        (format!("{certificate}{key}"), line)
    }

    /// A server that demands a certificate of this authority.
    fn server(&self) -> ServerConfig {
        let (certificate, key) = self.issue("bank", 2200);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap()
    }
}

/// Lets in who shows a certificate of this name.
fn named(name: &'static str) -> impl Fn(&Raw) -> Result<(), String> + Send + Sync {
    move |raw| {
        let shown = raw.certificate.as_deref().unwrap_or_default();
        let stands = shown.windows(name.len()).any(|window| window == name.as_bytes());
        if stands { Ok(()) } else { Err(format!("you are not {name}")) }
    }
}

fn connection(authority: &Authority, certificate: &str, key: Option<&str>) -> String {
    let key = key.map_or_else(String::new, |key| format!(", private_key = \"{key}\""));
    let shown = format!("client_certificate = {{ certificate = \"{certificate}\"{key} }}");
    format!("{shown}\nauthorities = \"\"\"{}\"\"\"\n", authority.pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_is_shown_a_certificate_which_is_exchanged_without_a_restart() {
    let authority = Authority::new();
    let bank = Verifier::start(Some(authority.server()), named("hub-one")).await;
    let setting = Setting::new();
    let (one, first) = authority.bundle("hub-one", 2200);
    let certificate = setting.secret("hub.pem", &one);
    setting.configure(&bank.url, &connection(&authority, &certificate, None));
    let hub = setting.hub();
    assert_eq!(asked(&hub, "r1").await["state"], "completed");
    let tested = crossdock(&hub, &["connection", "test", "wms"], "");
    assert!(tested.done().contains("that of `hub-one`, valid until 2200-12-31"), "{}", tested.out);

    // The bank wants the new one from now on.
    bank.check(named("hub-two"));
    let parked = asked(&hub, "r2").await;
    assert_eq!(parked["state"], "parked", "{parked:#}");
    let (two, second) = authority.bundle("hub-two", 2200);
    setting.secret("hub.pem", &two);
    assert_eq!(asked(&hub, "r3").await["state"], "completed");

    // What cannot be shown is not, and it is said what to do.
    let (old, third) = authority.bundle("hub-two", 2020);
    setting.secret("hub.pem", &old);
    let before = bank.seen().len();
    let tested = crossdock(&hub, &["connection", "test", "wms"], "");
    assert_eq!(tested.code, Some(1));
    assert!(
        tested.out.contains("has expired at 2020-12-31") && tested.out.contains("another one issued"),
        "{}",
        tested.out
    );
    let parked = asked(&hub, "r4").await;
    assert_eq!((&parked["state"], bank.seen().len()), (&json!("parked"), before), "{parked:#}");
    // The hub starts all the same, and goes on when there is one that is valid.
    assert!(hub.stop());
    let hub = setting.hub();
    setting.secret("hub.pem", &two);
    assert_eq!(asked(&hub, "r5").await["state"], "completed");
    let (_, explained) = hub.get("/v1/audit/explain?key=r5").await;
    assert!(explained.to_string().contains("client certificate (file:"), "{explained:#}");
    assert!(hub.stop());
    in_no_file(&setting.at("data"), &[&first, &second, &third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_is_none_is_refused_when_it_is_configured() {
    let authority = Authority::new();
    let bank = Verifier::start(Some(authority.server()), named("hub-one")).await;
    let setting = Setting::new();
    let ((own, key), (_, other)) = (authority.issue("hub-one", 2200), authority.issue("hub-one", 2200));
    let (certificate, wrong) = (setting.secret("hub.pem", &own), setting.secret("hub.key", &other));
    setting.configure(&bank.url, &connection(&authority, &certificate, Some(&wrong)));
    let says = setting.refused();
    assert!(says.contains("does not belong to the certificate of `hub-one`"), "{says}");
    setting.secret("hub.key", &key);
    let hub = setting.hub();
    assert_eq!(asked(&hub, "r1").await["state"], "completed");

    // Over the API as well; and what others show is tried before it is kept.
    let post = |path: &'static str, body: serde_json::Value| {
        hub.post(path, &[("content-type", "application/json")], body.to_string())
    };
    let bundle = format!("{own}{key}");
    let set = json!({ "do": "set", "value": bundle, "reason": "x" });
    assert_eq!(post("/v1/secrets/bank", set).await.0, 200);
    let change = |certificate: &str, base_url: &str| {
        let connection = json!({
            "plugin": "crossdock/sandbox-warehouse", "base_url": base_url, "allow_addresses": ["127.0.0.1/32"],
            "authorities": authority.pem.as_str(), "client_certificate": { "certificate": certificate },
        });
        json!({ "do": "change", "connection": connection, "reason": "x" })
    };
    let clear = bank.url.replace("https:", "http:");
    for (body, part) in [
        (change(&wrong, &bank.url), "holds no certificate"),
        (change(&certificate, &bank.url), "no private key beside the certificate"),
        (change("store:bank", &clear), "let `base_url` be `https`"),
        (change("file:/nowhere", &bank.url), "`client_certificate.certificate`"),
    ] {
        let (status, refused) = post("/v1/connections/wms", body).await;
        assert_eq!(status, 422, "{refused:#}");
        assert!(refused["detail"].as_str().unwrap().contains(part), "{refused:#}");
    }
    let (status, made) = post("/v1/connections/wms", change("store:bank", &bank.url)).await;
    assert_eq!(status, 200, "{made:#}");
    assert_eq!(asked(&hub, "r2").await["state"], "completed");
    let broken = json!({ "do": "rotate", "value": format!("{own}{other}"), "reason": "x" });
    let (status, refused) = post("/v1/secrets/bank", broken).await;
    assert_eq!(status, 422, "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("connection `wms` cannot show it"), "{refused:#}");
    let line = other.lines().nth(1).unwrap();
    assert!(!refused.to_string().contains(line));
    assert_eq!(asked(&hub, "r3").await["state"], "completed");

    // A rotation is kept only if the bank takes it.
    bank.check(named("hub-two"));
    let (two, fresh) = authority.bundle("hub-two", 2200);
    let rotate = ["connection", "rotate", "wms", "--place", "client_certificate.certificate", "--reason", "yearly"];
    let (mine, stranger) = (Authority::new(), "does not take the client certificate");
    let refused = crossdock(&hub, &rotate, &mine.bundle("hub-two", 2200).0);
    assert!(refused.code == Some(1) && refused.err.contains(stranger), "{}", refused.err);
    crossdock(&hub, &rotate, &two).done();
    assert_eq!(asked(&hub, "r4").await["state"], "completed");
    assert!(hub.stop());
    in_no_file(&setting.at("data"), &[line, &fresh]);
}
