//! That nobody alone has events delivered where they were not before.

use super::*;

fn body(folder: &Path, url: &str, types: &[&str]) -> Value {
    json!({"reason": "a contract", "subscription": {
        "owner": "acme", "types": types, "url": url, "allow_addresses": ["127.0.0.1/32"],
        "secrets": [format!("file:{}", folder.join("secret").display())],
        "retry": {"attempts": 20, "first_ms": 20, "max_ms": 200, "within_s": 600},
    }})
}

async fn decide(hub: &Hub, token: &str, change: &Value, approved: bool) -> (StatusCode, Value) {
    let bearer = format!("Bearer {token}");
    let path = format!("/v1/changes/{}/decision", change["id"].as_str().unwrap());
    let decision = json!({"approved": approved, "reason": "looked at"});
    hub.post(&path, &[JSON[0], ("authorization", &bearer)], decision.to_string()).await
}

#[tokio::test]
async fn more_is_delivered_only_once_a_second_person_has_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let (partner, other) = (endpoint().await, endpoint().await);
    let path = "/v1/subscriptions/acme";
    let wanted = body(folder.path(), &partner.url, &["test.shipped.*"]);
    let (status, proposed) = hub.post(path, &JSON, wanted.to_string()).await;
    assert_eq!((status, &proposed["outcome"]), (StatusCode::ACCEPTED, &json!("proposed")), "{proposed:#}");
    let because = proposed["because"].to_string();
    for part in ["events are delivered to `http://127.0.0.1:", "`test.shipped.*`", "`acme` sees it", "it signs with"] {
        assert!(because.contains(part), "{because}");
    }
    let (status, _) = hub.get(path).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is not there yet");
    ship(&hub, "0", "before").await;
    hub.runs_until("before", |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;

    // Neither whoever asked, nor whoever may not declare any, agrees to it.
    let own = fs::read_to_string(&hub.token_file).unwrap();
    let (status, said) = decide(&hub, own.trim(), &proposed, true).await;
    assert_eq!((status, &said["code"]), (StatusCode::FORBIDDEN, &json!("change.same-person")), "{said:#}");
    for (person, role) in [("acme", "partner"), ("rita", "retailer")] {
        let (status, said) = decide(&hub, &hub.token_as(person, role), &proposed, true).await;
        assert_eq!((status, &said["code"]), (StatusCode::FORBIDDEN, &json!("access.denied")), "{said:#}");
    }
    let olga = hub.token_of("olga");
    let (status, made) = decide(&hub, &olga, &proposed, true).await;
    assert_eq!((status, &made["outcome"]), (StatusCode::OK, &json!("done")), "{made:#}");
    ship(&hub, "1", "17").await;
    assert_eq!(partner.until("the first", |taken| !taken.is_empty()).await, ["17"]);

    // Less, and what only concerns the hub itself, needs nobody else.
    let mut less = body(folder.path(), &partner.url, &["test.shipped.v1"]);
    less["subscription"]["concurrency"] = json!(1);
    let (status, said) = hub.post(path, &JSON, less.to_string()).await;
    assert_eq!((status, &said["types"]), (StatusCode::OK, &json!(["test.shipped.v1"])), "{said:#}");
    // Another place does, and what is declined is not done.
    let (_, proposed) = hub.post(path, &JSON, body(folder.path(), &other.url, &["test.shipped.v1"]).to_string()).await;
    assert!(proposed["because"].to_string().contains("delivered to another place"), "{proposed:#}");
    let (status, said) = decide(&hub, &olga, &proposed, false).await;
    assert_eq!((status, &said["outcome"]), (StatusCode::OK, &json!("rejected")), "{said:#}");
    ship(&hub, "2", "18").await;
    partner.until("the second", |taken| taken == ["17", "18"]).await;
    assert!(other.came.lock().unwrap().is_empty(), "nothing goes there");
    assert_eq!(view(&hub, "acme").await["url"], json!(partner.url));

    let (_, audit) = hub.get("/v1/audit?subject=setting/").await;
    let lines = audit["records"].as_array().unwrap();
    let actions: Vec<_> =
        lines.iter().map(|line| [&line["actor"], &line["action"]].map(|text| text.as_str().unwrap())).collect();
    let expected = [
        ["olga", "setting.reject"],
        ["tests", "setting.propose"],
        ["olga", "setting.approve"],
        ["tests", "setting.propose"],
    ];
    assert_eq!(actions, expected, "{audit:#}");
    assert!(hub.stop());
}

#[tokio::test]
async fn what_hub_toml_declares_needs_nobody_and_does_not_come_back_once_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let first = hub(folder.path());
    assert!(first.stop());
    let partner = endpoint().await;
    let declared = |name: &str| {
        let secret = folder.path().join("secret").display().to_string();
        format!(
            "[subscriptions.{name}]\nowner = \"acme\"\ntypes = [\"test.shipped.*\"]\nurl = \"{}\"\nsecrets = [\"file:{secret}\"]\n\
             allow_addresses = [\"127.0.0.1/32\"]\n",
            partner.url
        )
    };
    let config = folder.path().join("hub.toml");
    let text = format!("pipelines = [\"shipping.yaml\"]\n{}{}", declared("gone"), declared("changed"));
    fs::write(&config, text).unwrap();
    let start = || Hub::start(BINARY, &folder.path().join("data"), Some(&config));
    let names = async |hub: &Hub| {
        let (_, listed) = hub.get("/v1/subscriptions").await;
        let all = listed["subscriptions"].as_array().unwrap().clone();
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let hub = start();
    assert_eq!(names(&hub).await, ["changed", "gone"]);
    let (code, said) = crossdock(&hub, &["subscription", "remove", "gone", "--reason", "it leaked"]);
    assert_eq!(code, 0, "{said}");
    let less = body(folder.path(), &partner.url, &["test.shipped.v1"]);
    let (status, said) = hub.post("/v1/subscriptions/changed", &JSON, less.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{said:#}");
    assert!(hub.stop());

    let hub = start();
    assert_eq!(names(&hub).await, ["changed"], "whoever removed it has the say");
    assert_eq!(view(&hub, "changed").await["types"], json!(["test.shipped.v1"]));
    let log = fs::read_to_string(hub.data.with_extension("log")).unwrap();
    assert!(log.contains("it was removed over the API") && log.contains("declares it in another way"), "{log}");
    add(&hub, folder.path(), "gone", &partner.url, &[]);
    assert_eq!(names(&hub).await, ["changed", "gone"], "two people bring it back");
    assert!(hub.stop());
}
