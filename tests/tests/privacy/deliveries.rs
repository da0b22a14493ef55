//! Deliveries of events about a person, and their end with an erasure.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Instant,
};

use axum::{Router, extract::State, routing::post};
use crossdock_tests::hub::PATIENCE;

use super::*;

/// An endpoint that answers what it is told, and what came.
struct Endpoint {
    url: String,
    status: AtomicU16,
    came: Mutex<Vec<String>>,
}

async fn endpoint() -> Arc<Endpoint> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let endpoint = Arc::new(Endpoint { url, status: AtomicU16::new(503), came: Mutex::default() });
    let take = |State(endpoint): State<Arc<Endpoint>>, body: String| async move {
        endpoint.came.lock().unwrap().push(body);
        StatusCode::from_u16(endpoint.status.load(Ordering::SeqCst)).unwrap()
    };
    let app = Router::new().route("/in", post(take)).with_state(Arc::clone(&endpoint));
    tokio::spawn(async move { axum::serve(listener, app).await });
    endpoint
}

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_delivery_when_it_is_erased_is_delivered_to_nobody() {
    let (setting, endpoint) = (Setting::new(), endpoint().await);
    fs::write(setting.at("secret"), "signs deliveries").unwrap();
    let text = format!(
        "{}[subscriptions.crm]\nowner = \"crm\"\ntypes = [\"{CONTACT}\"]\naccepted = true\nurl = \"{}\"\nsecrets = \
         [\"file:{}\"]\nallow_addresses = [\"127.0.0.1/32\"]\nretry = {{ attempts = 100, first_ms = 500, max_ms = 500 }}\n",
        fs::read_to_string(setting.at("hub.toml")).unwrap(),
        endpoint.url,
        setting.text("secret")
    );
    fs::write(setting.at("hub.toml"), text).unwrap();
    let hub = setting.begin();
    completed(&hub, "o-1", &contact(ANN, false, 1)).await;
    let about = |person: [&str; 2]| {
        let came = endpoint.came.lock().unwrap();
        came.iter().filter(|body| body.contains(person[1])).count()
    };
    until("it is tried while its data is there", || about(ANN) > 0);
    done(&hub, &["privacy", "erase", ANN[0], "--reason", "request 19"]);
    let letters = || done(&hub, &["--json", "subscription", "dead-letters", "crm"]);
    // One attempt may have been on its way.
    until("it is given up", || letters().contains("the personal data in it was erased"));
    let tried = about(ANN);
    endpoint.status.store(204, Ordering::SeqCst);
    completed(&hub, "o-2", &contact(BOB, false, 1)).await;
    until("another's is delivered", || about(BOB) > 0);
    assert_eq!(about(ANN), tried, "nothing of it left after the erasure");
    assert!(!letters().contains(ANN[1]));
    assert!(hub.stop());
}
