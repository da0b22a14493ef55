//! The pure step of `crossdock bench`: reads a document whole and hands it on, counted one pass further. It does as
//! little as a transform can, so that what is measured is the hub.

use crossdock_plugin::{Failure, Step};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

crossdock_plugin::transform!(pass);

/// A document on its way through the steps.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Document {
    #[serde(default)]
    passes: u32,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn pass(document: Document, _step: &Step) -> Result<Document, Failure> {
    Ok(Document { passes: document.passes.saturating_add(1), ..document })
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::testing::step;
    use serde_json::{Value, json};

    fn passed(document: Value) -> Value {
        let document = serde_json::from_value(document).expect("a document");
        serde_json::to_value(super::pass(document, &step("{}")).expect("passed")).expect("JSON")
    }

    #[test]
    fn a_document_stays_as_it_is_but_for_its_passes() {
        let order = json!({ "order": "4711", "lines": [{ "sku": "A", "quantity": 2 }] });
        let once = passed(order.clone());
        assert_eq!(once, json!({ "passes": 1, "order": "4711", "lines": order["lines"] }));
        assert_eq!(passed(once)["passes"], 2);
    }
}
