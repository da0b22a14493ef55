//! The write of `crossdock bench`: posts its input, with the idempotency key, and hands on the answer. It does as
//! little as a connector that writes can, so that what is measured is the hub.

use crossdock_plugin::{Call, Failure, FailureKind, http};
use serde::Deserialize;
use serde_json::Value;

crossdock_plugin::connector! { "put" => put }

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

fn put(document: Value, call: &Call) -> Result<Value, Failure> {
    let response = http::post(&call.config::<Config>()?.base_url)
        .header("idempotency-key", &call.idempotency_key)
        .json(&document)?
        .send()?
        .success()?;
    // An answer that cannot be read is as good as lost: repeating tells what it was.
    response.json().map_err(|failure| Failure { kind: FailureKind::Uncertain, ..failure })
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::{
        FailureKind,
        testing::{MockHost, Reply},
    };
    use serde_json::json;

    #[track_caller]
    fn put(reply: Reply) -> Result<Vec<u8>, FailureKind> {
        let host = MockHost::new().config(&json!({ "base_url": "http://target.example/put" }));
        let host = host.reply("POST", "/put", reply).install();
        let answer = crate::invoke(&host.call("put", 1), br#"{"order":"4711"}"#);
        assert_eq!(host.requests()[0].body, br#"{"order":"4711"}"#);
        answer.map_err(|failure| failure.kind)
    }

    #[test]
    fn the_input_is_posted_and_the_answer_handed_on() {
        assert_eq!(put(Reply::json(200, &json!({ "status": "done" }))), Ok(br#"{"status":"done"}"#.to_vec()));
    }

    #[test]
    fn a_lost_answer_is_uncertain() {
        assert_eq!(put(Reply::lost()), Err(FailureKind::Uncertain));
    }
}
