//! That nobody alone gives others more of a connection's reads than before.

use super::*;

#[tokio::test]
async fn more_is_published_only_once_a_second_person_has_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let erp = plain_erp().await;
    let hub = plain_hub(folder.path(), &erp.url, "");
    let channel = consumer(&hub, "storefront", json!({})).await;
    let publish = ["api", "publish", "retail/erp-orders@1", "--connection", "plain", "--operation"];
    let (code, said) = crossdock(&hub, &[&publish[..], &["read_order", "--cache-s", "5", "--reason", "x"]].concat());
    assert!(code == 0 && said.contains("active"), "what others are given stays the same: {said}");

    let more = ["read_order", "--operation", "find_order", "--reason", "x"];
    let (code, proposed) = crossdock(&hub, &[&publish[..], &more].concat());
    assert!(code == 0 && proposed.contains("a second person has to agree"), "{proposed}");
    assert!(proposed.contains("whoever may ask `retail/erp-orders@1` is given its `find_order`"), "{proposed}");
    let find = format!("{API}/find_order?number=1");
    refused(&ask(&hub, &channel, &find, &[]).await, 404, "api.operation-unknown");
    let id: String = proposed.split_once("set_").unwrap().1.chars().take(12).collect();
    let (code, said) = crossdock(&hub, &["plugin", "approve", &format!("set_{id}"), "--reason", "x"]);
    assert!(code == 1 && said.contains("somebody else has to agree"), "{said}");
    let (code, listed) = crossdock(&hub, &["plugin", "changes"]);
    assert!(code == 0 && listed.contains(&id), "{listed}");
    let done = hub.agree(&proposed);
    assert!(done.contains("`retail/erp-orders@1` is published"), "{done}");
    let asked = body(&ask(&hub, &channel, &find, &[]).await);
    assert_ne!(asked["code"], "api.operation-unknown", "{asked:#}");

    // Whoever ended it has the say, whatever hub.toml declares.
    let (code, said) = crossdock(&hub, &["api", "withdraw", "retail/erp-orders@1", "--reason", "it leaked"]);
    assert_eq!(code, 0, "{said}");
    assert!(hub.stop());
    let hub = Hub::start(BINARY, &folder.path().join("data"), Some(&folder.path().join("hub.toml")));
    refused(&ask(&hub, &channel, &format!("{API}/read_order?id=1"), &[]).await, 410, "api.gone");
    let log = fs::read_to_string(hub.data.with_extension("log")).unwrap();
    assert!(log.contains("in another way than was said over the API"), "{log}");
    assert!(hub.stop());
}
