//! Stock under the inventory contract: a marketplace asks the hub, and never the warehouse.

use super::*;

const LEVELS: &str = "/v1/apis/retail/inventory/1/levels";
const STOVE: &str = "STOVE-GAS-01";

#[tokio::test]
async fn stock_is_published_under_its_contract_and_follows_what_is_picked() {
    let retail = Retail::start(BINARY).await;
    let api = "[apis.\"retail/inventory@1\"]\nconnection = \"wms\"\noperations = [\"levels\"]\n";
    fs::write(retail.config(), fs::read_to_string(retail.config()).unwrap() + api).unwrap();
    let hub = retail.hub();
    let market = consumer(&hub, "marketplace", json!({"scope": {"contracts": ["retail/inventory@1"]}})).await;

    // One stove, among other things.
    let webhook = retail.retailer.shop.ordinary();
    let path = format!("{LEVELS}?skus=%5B%22{STOVE}%22,%22no-such-article%22%5D");
    let asked = async || {
        let answer = ask(&hub, &market, &path, &[]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", body(&answer));
        body(&answer)["levels"].as_array().unwrap().clone()
    };
    let available = |levels: &[Value]| levels.iter().map(|level| level["available"].as_u64().unwrap()).sum::<u64>();
    let before = asked().await;
    assert!(before.iter().all(|level| level["location"].is_string()), "{before:#?}");
    let unknown = before.iter().filter(|level| level["sku"] != STOVE);
    assert!(unknown.clone().count() > 0 && unknown.into_iter().all(|level| level["available"] == 0), "{before:#?}");

    let key = webhook.order.as_ref().unwrap().name.trim_start_matches('#').to_owned();
    retail.deliver(&hub, &webhook).await.expect("answered");
    hub.runs_until(&key, |runs| runs.len() == 1 && runs[0]["state"] == "completed").await;
    assert_eq!(available(&asked().await), available(&before) - 1);

    // Only what is published, and only to whom it is.
    let other = consumer(&hub, "storefront", json!({})).await;
    assert_eq!(ask(&hub, &other, &path, &[]).await.status(), StatusCode::FORBIDDEN);
    let picks = ask(&hub, &market, "/v1/apis/retail/warehouse/1/create_pick", &[]).await;
    assert!(picks.status().is_client_error(), "{}", body(&picks));
    refused(&ask(&hub, &market, LEVELS, &[]).await, 422, "api.input");
    let described = body(&ask(&hub, &market, "/v1/apis/retail/inventory/1/openapi.json", &[]).await);
    assert!(described["paths"][LEVELS]["get"].is_object(), "{described:#}");
}
