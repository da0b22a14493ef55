//! The pure step of `crossdock bench`: reads a document whole and hands it on, counted one pass further. It does as
//! little as a transform can, so that what is measured is the hub.

use crossdock_plugin::{Failure, Step};
use serde_json::{Map, Value};

crossdock_plugin::transform!(pass);

/// Where a document counts the steps that it has been through.
const PASSES: &str = "passes";

fn pass(mut document: Map<String, Value>, _step: &Step) -> Result<Map<String, Value>, Failure> {
    let passes = document.get(PASSES).and_then(Value::as_u64).unwrap_or_default();
    document.insert(PASSES.to_owned(), passes.saturating_add(1).into());
    Ok(document)
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::testing::step;
    use serde_json::{Value, json};

    fn passed(document: Value) -> Value {
        let document = serde_json::from_value(document).expect("a document");
        super::pass(document, &step("{}")).expect("passed").into()
    }

    #[test]
    fn a_document_stays_as_it_is_but_for_its_passes() {
        let order = json!({ "order": "4711", "lines": [{ "sku": "A", "quantity": 2 }] });
        let once = passed(order.clone());
        assert_eq!(once, json!({ "passes": 1, "order": "4711", "lines": order["lines"] }));
        assert_eq!(passed(once)["passes"], 2);
    }
}
