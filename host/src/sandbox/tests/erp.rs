//! The ERP as a connector meets it.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use super::{
    retailer,
    wire::{Reply, Wire},
};
use crate::sandbox::{
    Retailer,
    erp::{Disturbance, Fault, Lock, SERVICE_PATH},
};

/// A client that keeps the session and its token.
struct Client {
    wire: Wire,
    authorization: String,
    cookie: String,
    token: String,
}

impl Client {
    async fn new(retailer: &Retailer) -> Self {
        let authorization = format!("Basic {}", STANDARD.encode("CROSSDOCK:sandbox-erp-password"));
        let (cookie, token) = (String::new(), String::new());
        let mut client = Self { wire: Wire::new(retailer.erp.address()), authorization, cookie, token };
        client.fetch_token().await;
        client
    }

    async fn fetch_token(&mut self) {
        let reply = self.send("GET", "/", &[("x-csrf-token", "Fetch")], "").await.unwrap();
        assert_eq!(reply.status, 200);
        self.token = reply.header("x-csrf-token").unwrap().to_owned();
        self.cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Reply> {
        let mut all = vec![("authorization", self.authorization.as_str()), ("cookie", self.cookie.as_str())];
        if !headers.iter().any(|(name, _)| *name == "x-csrf-token") {
            all.push(("x-csrf-token", self.token.as_str()));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        all.extend_from_slice(headers);
        self.wire.request(method, &format!("{SERVICE_PATH}{path}"), &all, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await.unwrap()
    }

    async fn create(&self, purchase_order: &str) -> Option<Reply> {
        self.send("POST", "/A_SalesOrder", &[], &order(purchase_order).to_string()).await
    }
}

fn order(purchase_order: &str) -> Value {
    json!({
        "SalesOrderType": "OR",
        "SalesOrganization": "1710",
        "DistributionChannel": "10",
        "OrganizationDivision": "00",
        "SoldToParty": "1000001",
        "PurchaseOrderByCustomer": purchase_order,
        "TransactionCurrency": "EUR",
        "to_Item": [
            { "Material": "STOVE-GAS-01", "RequestedQuantity": "1", "NetAmount": "49.50" },
            { "Material": "MUG-ENML-BLU", "RequestedQuantity": "2", "NetAmount": "25.80" },
        ],
    })
}

/// The status and SAP's words, after a look at the shape around them.
#[track_caller]
fn refusal(reply: &Reply) -> (u16, String) {
    let error = &reply.body["error"];
    assert_eq!(error["message"]["lang"], "en", "{:?}", reply.body);
    assert!(
        error["code"].is_string() && error["innererror"]["errordetails"][0]["message"] == error["message"]["value"]
    );
    (reply.status, error["message"]["value"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let retailer = retailer().await;
    let wire = Wire::new(retailer.erp.address());
    for headers in [&[][..], &[("authorization", "Basic Zm9vOmJhcg==")][..]] {
        let reply = wire.get(&format!("{SERVICE_PATH}/A_SalesOrder"), headers).await;
        assert_eq!(refusal(&reply).0, 401);
        assert!(reply.header("www-authenticate").unwrap().starts_with("Basic realm="));
    }
}

#[tokio::test]
async fn a_write_needs_the_token_of_its_own_session() {
    let retailer = retailer().await;
    let mut client = Client::new(&retailer).await;
    let body = order("#1001").to_string();
    let required = |reply: Reply| {
        assert_eq!((refusal(&reply).0, reply.header("x-csrf-token")), (403, Some("Required")));
    };
    required(client.send("POST", "/A_SalesOrder", &[("x-csrf-token", "")], &body).await.unwrap());
    required(client.send("POST", "/A_SalesOrder", &[("x-csrf-token", "guess")], &body).await.unwrap());
    // The right token, in another session.
    let other = Client::new(&retailer).await;
    required(client.send("POST", "/A_SalesOrder", &[("x-csrf-token", &other.token)], &body).await.unwrap());
    assert!(retailer.erp.orders().is_empty());

    assert_eq!(client.create("#1001").await.unwrap().status, 201);
    let before = client.token.clone();
    client.fetch_token().await;
    assert_eq!(client.token, before, "a session keeps its token");
    retailer.erp.expire_tokens();
    required(client.create("#1002").await.unwrap());
    client.fetch_token().await;
    assert_ne!(client.token, before);
    assert_eq!(client.create("#1002").await.unwrap().status, 201);
}

#[tokio::test]
async fn a_deep_insert_makes_an_order_that_is_found_by_its_purchase_order() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let created = client.create("O'Brien #1").await.unwrap();
    assert_eq!(created.status, 201);
    let entity = &created.body["d"];
    assert_eq!((&entity["SalesOrder"], &entity["TotalNetAmount"]), (&json!("4711"), &json!("75.300")));
    assert_eq!(entity["to_Item"]["results"][1]["SalesOrderItem"], "20");
    assert_eq!(entity["__metadata"]["etag"].as_str(), created.header("etag"));
    assert!(created.header("location").unwrap().ends_with("/A_SalesOrder('4711')"));

    let path = "/A_SalesOrder?$filter=PurchaseOrderByCustomer%20eq%20'O''Brien%20%231'&$format=json&$expand=to_Item";
    let found = client.get(path).await;
    let results = found.body["d"]["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["to_Item"]["results"][0]["Material"]), (1, &json!("STOVE-GAS-01")));
    let none = client.get("/A_SalesOrder?$filter=PurchaseOrderByCustomer%20eq%20'x'").await;
    assert_eq!(none.body, json!({ "d": { "results": [] } }));

    let read = client.get("/A_SalesOrder('0000004711')").await;
    assert_eq!((read.status, read.header("etag")), (200, created.header("etag")));
    assert!(read.body["d"]["to_Item"]["__deferred"]["uri"].is_string());
    let page = client.get("/A_SalesOrder?$select=SalesOrder&$inlinecount=allpages&$top=0").await;
    assert_eq!(page.body, json!({ "d": { "results": [], "__count": "1" } }));
    assert_eq!(client.get("/A_SalesOrder('4711')/to_Item").await.body["d"]["results"].as_array().unwrap().len(), 2);

    let [order] = &retailer.erp.orders()[..] else { panic!("one order") };
    assert_eq!((order.purchase_order.as_str(), order.total_net_amount.as_str()), ("O'Brien #1", "75.300"));
    assert_eq!((order.items[1].material.as_str(), order.items[1].quantity.as_str()), ("MUG-ENML-BLU", "2.000"));
}

#[tokio::test]
async fn the_same_purchase_order_twice_makes_two_orders() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    for _ in 0..2 {
        assert_eq!(client.create("#1001").await.unwrap().status, 201);
    }
    assert_eq!(retailer.erp.orders().len(), 2);
}

#[tokio::test]
async fn a_manual_price_condition_prices_an_item_without_an_amount() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let mut body = order("#1001");
    body["to_Item"] = json!({ "results": [{
        "Material": "MUG-ENML-BLU",
        "RequestedQuantity": "3",
        "to_PricingElement": { "results": [{ "ConditionType": "PMP0", "ConditionRateValue": "12.90" }] },
    }] });
    let created = client.send("POST", "/A_SalesOrder", &[], &json!({ "d": body }).to_string()).await.unwrap();
    assert_eq!((created.status, &created.body["d"]["TotalNetAmount"]), (201, &json!("38.700")));
}

#[tokio::test]
async fn a_change_needs_the_current_etag() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let first = client.create("#1001").await.unwrap().header("etag").unwrap().to_owned();
    let patch = async |headers: &[(&str, &str)]| {
        client.send("PATCH", "/A_SalesOrder('4711')", headers, r#"{"DeliveryBlockReason":"01"}"#).await.unwrap()
    };
    assert_eq!(refusal(&patch(&[]).await).0, 428);
    assert_eq!(refusal(&patch(&[("if-match", "W/\"another\"")]).await).0, 412);
    let changed = patch(&[("if-match", &first)]).await;
    let second = changed.header("etag").unwrap().to_owned();
    assert_eq!(changed.status, 204);
    assert_ne!(first, second);
    assert_eq!(refusal(&patch(&[("if-match", &first)]).await).0, 412);

    assert!(retailer.erp.change_as_another_user("4711"));
    let delete = async |etag: &str| {
        client.send("DELETE", "/A_SalesOrder('4711')", &[("if-match", etag)], "").await.unwrap().status
    };
    assert_eq!(delete(&second).await, 412);
    let current = client.get("/A_SalesOrder('4711')").await;
    assert_eq!(current.body["d"]["DeliveryBlockReason"], "01");
    assert_eq!(delete(current.header("etag").unwrap()).await, 204);
    assert_eq!(client.get("/A_SalesOrder('4711')").await.status, 404);
    assert!(retailer.erp.orders()[0].deleted);
}

#[tokio::test]
async fn rejecting_every_item_rejects_the_order_and_moves_its_etag() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let etag = client.create("#1001").await.unwrap().header("etag").unwrap().to_owned();
    for (number, rejected) in [("10", false), ("000020", true)] {
        let path = format!("/A_SalesOrderItem(SalesOrder='4711',SalesOrderItem='{number}')");
        let reply = client.send("PATCH", &path, &[], r#"{"SalesDocumentRjcnReason":"10"}"#).await.unwrap();
        assert_eq!((reply.status, retailer.erp.orders()[0].rejected), (204, rejected));
        assert_ne!(reply.header("etag"), Some(etag.as_str()));
    }
}

#[tokio::test]
async fn a_locked_order_gets_through_after_its_attempts_and_others_at_once() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let lock = Lock { purchase_orders: vec!["#1001".into(), "1001".into()], attempts: 2, retry_after_s: Some(3) };
    retailer.erp.lock(lock);
    for name in ["#1001", "1001"] {
        let locked = client.create(name).await.unwrap();
        assert_eq!((refusal(&locked).0, locked.header("retry-after")), (423, Some("3")));
        assert_eq!(client.create("#1002").await.unwrap().status, 201);
    }
    assert_eq!(client.create("#1001").await.unwrap().status, 201);
    assert_eq!(retailer.erp.orders().len(), 3);
}

#[tokio::test]
async fn the_demos_locked_order_is_locked_under_each_of_its_names() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let webhook = retailer.order_locked_at_first(4, None);
    for name in webhook.order.unwrap().references() {
        let locked = client.create(&name).await.unwrap();
        assert_eq!((refusal(&locked).0, locked.header("retry-after")), (423, None), "{name}");
    }
    assert_eq!(client.create("#1001").await.unwrap().status, 201);
}

#[tokio::test]
async fn a_cut_after_the_commit_loses_the_answer_and_not_the_order() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let cut = |fault| Disturbance { fault, method: Some(Method::POST), times: 1 };
    retailer.erp.disturb(cut(Fault::CutAfterCommit));
    // It waits for a write that succeeds.
    assert_eq!(client.send("POST", "/A_SalesOrder", &[], "{}").await.unwrap().status, 400);
    assert!(client.create("#1001").await.is_none());
    assert_eq!(retailer.erp.orders().len(), 1);
    retailer.erp.disturb(cut(Fault::CutBefore));
    assert!(client.create("#1002").await.is_none());
    assert_eq!(retailer.erp.orders().len(), 1);
    assert_eq!(client.create("#1002").await.unwrap().status, 201);
    let writes = retailer.erp.calls().into_iter().filter(|call| call.method == "POST");
    assert_eq!(writes.map(|call| call.status).collect::<Vec<_>>(), [Some(400), None, None, Some(201)]);
}

#[tokio::test]
async fn a_busy_system_says_when_to_come_back() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let fault = Fault::Busy { retry_after_s: 7 };
    retailer.erp.disturb(Disturbance { fault, method: None, times: 1 });
    let busy = client.get("/A_SalesOrder").await;
    assert_eq!((refusal(&busy).0, busy.header("retry-after")), (503, Some("7")));
    assert_eq!(client.get("/A_SalesOrder").await.status, 200);

    // As the requests themselves ask for it.
    for (scenario, status) in [("busy", 503), ("lock", 423), ("csrf", 403), ("nonsense", 400)] {
        let reply = client.send("GET", "/A_SalesOrder", &[("sap-mock-scenario", scenario)], "").await.unwrap();
        assert_eq!(refusal(&reply).0, status, "{scenario}");
    }
}

#[tokio::test]
async fn a_payload_that_is_not_right_is_refused_and_changes_nothing() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    let check = async |change: &dyn Fn(&mut Value), status: u16, says: &str| {
        let mut body = order("#1001");
        change(&mut body);
        let (given, message) = refusal(&client.send("POST", "/A_SalesOrder", &[], &body.to_string()).await.unwrap());
        assert_eq!(given, status, "{message}");
        assert!(message.contains(says), "{message}");
    };
    check(&|body| body["Nonsense"] = json!("1"), 400, "'Nonsense' is invalid").await;
    check(&|body| body["SoldToParty"] = json!(""), 400, "'SoldToParty'").await;
    check(&|body| body["TotalNetAmount"] = json!("1"), 400, "read-only").await;
    check(&|body| body["PurchaseOrderByCustomer"] = json!("x".repeat(36)), 400, "longer than 35").await;
    check(&|body| body["to_Item"][0]["NetAmount"] = json!(49.5), 400, "Edm.Decimal").await;
    check(&|body| body["to_Item"][0]["RequestedQuantity"] = json!("0"), 400, "order quantity for item 10").await;
    check(&|body| body["to_Item"][1]["Material"] = json!(""), 400, "material for item 20").await;
    check(&|body| body["to_Item"] = json!("x"), 400, "array of objects").await;
    check(&|body| body["RequestedDeliveryDate"] = json!("tomorrow"), 400, "Edm.DateTime").await;
    let broken = client.send("POST", "/A_SalesOrder", &[], "{").await.unwrap();
    assert!(refusal(&broken).1.contains("not valid JSON"));
    let xml = client.send("POST", "/A_SalesOrder", &[("content-type", "application/xml")], "<a/>").await.unwrap();
    assert_eq!(refusal(&xml).0, 415);
    assert!(retailer.erp.orders().is_empty());
}

#[tokio::test]
async fn what_the_service_does_not_have_is_refused_by_name() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    assert_eq!(refusal(&client.get("/A_Nonsense").await).0, 404);
    assert_eq!(refusal(&client.get("/A_SalesOrder('9')").await).1, "Sales order 9 does not exist");
    assert!(refusal(&client.get("/A_SalesOrder?$search=x").await).1.contains("$search=x"));
    assert_eq!(refusal(&client.send("PUT", "/A_SalesOrder", &[], "{}").await.unwrap()).0, 405);
    let reply = client.wire.get("/sap/other", &[("authorization", &client.authorization)]).await;
    assert_eq!(refusal(&reply).0, 404);
}

#[tokio::test]
async fn a_call_is_recorded_without_its_password() {
    let retailer = retailer().await;
    let client = Client::new(&retailer).await;
    client.create("#1001").await.unwrap();
    let calls = retailer.erp.calls();
    let call = calls.last().unwrap();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", &*format!("{SERVICE_PATH}/A_SalesOrder")));
    assert_eq!((call.status, call.header("authorization")), (Some(201), Some("Basic")));
    assert_eq!(call.json(), order("#1001"));
}
