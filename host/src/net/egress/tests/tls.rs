//! HTTPS against a server whose certificate an authority of our own has signed. Authority and key were made for this
//! test, and serve nothing else.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{Connection, Gateway, basic, capability, get, scope, text};
use crate::ports::egress::EgressError;

const CERTIFICATE: &[u8] = include_bytes!("server.pem");
const KEY: &[u8] = include_bytes!("server.key.pem");

fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = Stream::new(&mut connection, &mut stream);
            let mut head = [0; 4096];
            // A client that does not trust us says so here.
            let Ok(read) = tls.read(&mut head) else { continue };
            let told = String::from_utf8_lossy(&head[..read]).contains("authorization: Basic ");
            let body = format!("told {told}");
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            tls.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

fn authority() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/egress/tests/authority.pem")
}

#[tokio::test]
async fn a_remote_whose_authority_is_trusted_is_spoken_to() {
    let url = serve();
    let gateway = Gateway::with_roots(&authority()).unwrap();
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let mut connection = basic(&url);
        connection.allow_addresses.push("::1/128".into());
        let egress = gateway.open(scope(connection, vec![capability(&url, true)]));
        assert_eq!(text(&*egress, get(&url)).await, "told true", "{url}");
    }
}

#[tokio::test]
async fn a_connection_that_names_authorities_trusts_those_and_no_others() {
    let url = serve();
    let gateway = Gateway::with_roots(&authority()).unwrap();
    let with = |authorities: &str| {
        let connection = Connection { authorities: Some(authorities.to_owned()), ..basic(&url) };
        Gateway::new().unwrap().open(scope(connection, vec![capability(&url, true)]))
    };
    let own = std::fs::read_to_string(authority()).unwrap();
    assert_eq!(text(&*with(&own), get(&url)).await, "told true");
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let connection = Connection { authorities: Some(other), ..basic(&url) };
    let elsewhere = gateway.open(scope(connection, vec![capability(&url, true)]));
    assert!(matches!(elsewhere.send(get(&url), false).await, Err(EgressError::Connect { .. })));
    let key = std::str::from_utf8(KEY).unwrap();
    for (wrong, says) in [
        ("", "no certificate in PEM form"),
        (key, "no certificate in PEM form"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "no PEM that can be read"),
    ] {
        match with(wrong).send(get(&url), false).await {
            Err(EgressError::Refused { reason }) => assert!(reason.contains(says), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_remote_whose_authority_is_not_trusted_gets_nothing() {
    let url = serve();
    let egress = Gateway::new().unwrap().open(scope(basic(&url), vec![capability(&url, true)]));
    match egress.send(get(&url), false).await {
        Err(EgressError::Connect { reason }) => assert!(reason.contains("certificate"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
