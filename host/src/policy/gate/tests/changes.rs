//! The table of changes.

use serde_json::{Value, json};

use super::{Bump, Draft, change, set};

use Bump::{Major, Minor, Patch};

const CONSENT: bool = true;
const NONE: bool = false;

#[test]
fn what_a_rule_reads() {
    let before = Draft::rule();
    let with = |pointer: &str, value: Value| {
        let mut after = Draft::rule();
        set(&mut after.schemas.input, pointer, value);
        after
    };
    for (name, pointer, value, bump, rule) in [
        ("a required property is added", "/required", json!(["total", "class"]), Major, "schema.input.narrowed"),
        ("a required property becomes optional", "/required", json!([]), Minor, "schema.input.widened"),
        (
            "an enum case is added",
            "/properties/class",
            json!({ "enum": ["a", "b", "c"] }),
            Minor,
            "schema.input.widened",
        ),
        ("an enum case is removed", "/properties/class", json!({ "enum": ["a"] }), Major, "schema.input.narrowed"),
        ("an enum becomes open", "/properties/class", json!({ "type": "string" }), Minor, "schema.input.widened"),
        ("an enum is reordered", "/properties/class", json!({ "enum": ["b", "a"] }), Patch, "schema.annotated"),
        ("a type is widened", "/properties/total/type", json!("number"), Minor, "schema.input.widened"),
        ("null is allowed", "/properties/total/type", json!(["integer", "null"]), Minor, "schema.input.widened"),
        ("a type becomes another", "/properties/total", json!({ "type": "string" }), Major, "schema.input.narrowed"),
        ("a bound is lowered", "/properties/total/minimum", json!(-5), Minor, "schema.input.widened"),
        ("a bound is raised", "/properties/total/minimum", json!(1), Major, "schema.input.narrowed"),
        ("a bound is added", "/properties/total/maximum", json!(9), Major, "schema.input.narrowed"),
        ("a bound is said otherwise", "/properties/total/minimum", Value::Null, Minor, "schema.input.widened"),
        ("an open schema is closed", "/additionalProperties", json!(false), Major, "schema.input.narrowed"),
        (
            "an optional property is added to an open schema",
            "/properties/note",
            json!({ "type": "string" }),
            Major,
            "schema.input.collides",
        ),
        ("a property without a meaning is added", "/properties/note", json!({}), Patch, "schema.annotated"),
        ("a property is dropped from an open schema", "/properties/class", Value::Null, Minor, "schema.input.widened"),
        ("a description is added", "/properties/total/description", json!("Cents."), Patch, "schema.annotated"),
    ] {
        change(name, &before, &with(pointer, value), bump, rule, NONE);
    }
    // Above -1 is the same as from 0 on, of whole numbers.
    let mut said = with("/properties/total/minimum", Value::Null);
    set(&mut said.schemas.input, "/properties/total/exclusiveMinimum", json!(-1));
    change("a bound is said otherwise", &before, &said, Patch, "schema.annotated", NONE);
    let mut none = Draft::rule();
    none.schemas.input = None;
    change("any input is taken", &before, &none, Minor, "schema.input.widened", NONE);
    change("input gets a schema", &none, &before, Major, "schema.input.narrowed", NONE);
}

#[test]
fn what_a_transform_produces_is_the_other_way_round() {
    let before = Draft::transform();
    let with = |pointer: &str, value: Value| {
        let mut after = Draft::transform();
        set(&mut after.schemas.output, pointer, value);
        after
    };
    let note = json!({ "type": "string" });
    for (name, pointer, value, bump, rule) in [
        ("a field is added to a closed record", "/properties/note", note, Major, "schema.output.widened"),
        ("a field is always there", "/required", json!(["key", "class"]), Minor, "schema.output.narrowed"),
        ("a field is no longer always there", "/required", json!([]), Major, "schema.output.widened"),
        (
            "an enum case is added",
            "/properties/class",
            json!({ "enum": ["a", "b", "c"] }),
            Major,
            "schema.output.widened",
        ),
        ("an enum case is removed", "/properties/class", json!({ "enum": ["a"] }), Minor, "schema.output.narrowed"),
        ("a closed record is opened", "/additionalProperties", Value::Null, Major, "schema.output.widened"),
        ("a bound is raised", "/properties/key/maxLength", json!(40), Major, "schema.output.widened"),
        ("a bound is lowered", "/properties/key/maxLength", json!(30), Minor, "schema.output.narrowed"),
        ("a type is widened", "/properties/key/type", json!(["string", "null"]), Major, "schema.output.widened"),
        ("a field is dropped", "/properties/class", Value::Null, Minor, "schema.output.narrowed"),
    ] {
        change(name, &before, &with(pointer, value), bump, rule, NONE);
    }
    let mut open = Draft::transform();
    set(&mut open.schemas.output, "/additionalProperties", Value::Null);
    let mut more = open.clone();
    set(&mut more.schemas.output, "/properties/note", json!({ "type": "string" }));
    change("a field is added to an open record", &open, &more, Minor, "schema.output.narrowed", NONE);
    change("an open record is closed", &open, &before, Minor, "schema.output.narrowed", NONE);
}

#[test]
fn settings_and_events() {
    let before = Draft::transform();
    let config = |pointer: &str, value: Value| {
        let mut after = Draft::transform();
        set(&mut after.schemas.config, pointer, value);
        after
    };
    let depth = json!({ "type": "integer" });
    for (name, pointer, value, bump, rule) in [
        ("a setting is added", "/properties/depth", depth, Minor, "schema.config.widened"),
        ("a setting is removed", "/properties/mode", Value::Null, Major, "schema.config.narrowed"),
        ("a setting becomes required", "/required", json!(["mode"]), Major, "schema.config.narrowed"),
        ("a default is changed", "/properties/mode/default", json!("slow"), Minor, "schema.annotated"),
    ] {
        change(name, &before, &config(pointer, value), bump, rule, NONE);
    }
    let mut none = Draft::transform();
    none.schemas.config = None;
    change("there are settings now", &none, &before, Minor, "schema.config.widened", NONE);
    change("there are no settings any more", &before, &none, Major, "schema.config.narrowed", NONE);

    let event = |edit: fn(&mut Value)| {
        let mut after = Draft::transform();
        edit(after.schemas.events.get_mut("acme.order.read").expect("event"));
        after
    };
    let after = event(|schema| schema["properties"]["class"] = json!({ "enum": ["a", "b", "c"] }));
    change("an event gets an enum case", &before, &after, Major, "schema.event.widened", NONE);
    let after = event(|schema| schema["required"] = json!(["key", "class"]));
    change("an event says more", &before, &after, Minor, "schema.event.narrowed", NONE);
    let mut more = Draft::transform().replace("[\"acme.order.read\"]", "[\"acme.order.read\", \"acme.order.lost\"]");
    more.schemas.events.insert("acme.order.lost".to_owned(), json!({ "type": "object" }));
    change("an event is added", &before, &more, Minor, "event.added", NONE);
    change("an event is removed", &more, &before, Major, "event.removed", NONE);
}

#[test]
fn what_a_rule_may_answer() {
    let before = Draft::rule();
    let rejects = Draft::rule().replace("\"hold\"]", "\"hold\", \"reject\"]");
    change("an outcome is added", &before, &rejects, Major, "outcome.added", NONE);
    change("an outcome is removed", &rejects, &before, Minor, "outcome.removed", NONE);
    let routes = |names: &str| {
        let outcomes = format!("[\"proceed\", \"hold\"]\nroutes = [{names}]");
        Draft::rule().replace("[\"proceed\", \"hold\"]", &outcomes)
    };
    change("a route is added", &routes("\"a\""), &routes("\"a\", \"b\""), Major, "outcome.added", NONE);
    change("a route is removed", &routes("\"a\", \"b\""), &routes("\"a\""), Minor, "outcome.removed", NONE);
}

#[test]
fn what_a_model_recommends() {
    let before = Draft::scorer();
    let more = Draft::scorer().replace("\"look\", ", "\"look\", \"refuse\", ");
    change("a recommendation is added", &before, &more, Major, "model.recommendation-added", NONE);
    change("a recommendation is removed", &more, &before, Minor, "model.recommendation-removed", NONE);
    let any = Draft::scorer().replace("recommendations = [\"look\", \"accept\"]\n", "");
    change("it may recommend anything", &before, &any, Major, "model.recommendation-added", NONE);
    let model = Draft::scorer().replace("version = \"1\"", "version = \"2\"");
    change("the model is another", &before, &model, Minor, "model.changed", NONE);
}

#[test]
fn operations() {
    let before = Draft::connector();
    let all = "[operations.find]\neffect = \"read\"\n";
    let more = Draft::connector().replace(all, &format!("{all}[operations.list]\neffect = \"read\"\n"));
    change("an operation is added", &before, &more, Minor, "operation.added", NONE);
    change("an operation is removed", &more, &before, Major, "operation.removed", NONE);
    let writes = Draft::connector().replace(all, "[operations.find]\neffect = \"write\"\n");
    change("a read becomes a write", &before, &writes, Major, "operation.read-became-write", CONSENT);
    change("a write becomes a read", &writes, &before, Major, "operation.write-became-read", NONE);
    let lost = Draft::connector().replace("doubt = { by = \"native-key\" }\n", "");
    change("doubt parks runs now", &before, &lost, Major, "operation.doubt-changed", NONE);
    change("doubt is resolved now", &lost, &before, Minor, "operation.doubt-changed", NONE);
    let kept = Draft::connector().replace("compensate = \"cancel\"\n", "");
    change("it cannot be undone any more", &before, &kept, Major, "operation.compensation-changed", NONE);
    change("it can be undone now", &kept, &before, Minor, "operation.compensation-added", NONE);
    let touches =
        Draft::connector().replace("compensate = \"cancel\"\n", "compensate = \"cancel\"\ntouchpoint = true\n");
    change("it writes to the system of record", &before, &touches, Major, "operation.touchpoint-added", NONE);
    let promises = Draft::connector().replace("\"retail/warehouse@1\"", "\"retail/warehouse@1\", \"acme/stock@1\"");
    change("it implements one more contract", &before, &promises, Minor, "operation.contract-added", NONE);
    change("it implements one contract less", &promises, &before, Major, "operation.contract-removed", NONE);
    let reads = Draft::connector().replace(all, &format!("{all}read_methods = [\"POST\"]\n"));
    change("a read may send POST", &before, &reads, Minor, "capability.widened", CONSENT);

    let mut asks = Draft::connector();
    set(&mut asks.schemas.operations.get_mut("find").expect("find").input, "/required", json!(["sku", "node"]));
    change("an operation asks for more", &before, &asks, Major, "schema.input.narrowed", NONE);
    let mut tells = Draft::connector();
    set(&mut tells.schemas.operations.get_mut("find").expect("find").output, "/required", json!([]));
    change("an operation tells less", &before, &tells, Major, "schema.output.widened", NONE);
    let mut pages = Draft::connector();
    pages.exports.push("paging");
    change("it pages now", &before, &pages, Minor, "world.interface-added", NONE);
    change("it pages no more", &pages, &before, Major, "world.interface-removed", NONE);
}

#[test]
fn what_a_connector_may_touch() {
    let before = Draft::connector();
    let edit = |from: &str, to: &str| Draft::connector().replace(from, to);
    for (name, from, to, bump, rule, consent) in [
        ("a method is added", "\"POST\"", "\"POST\", \"DELETE\"", Minor, "capability.widened", CONSENT),
        ("a method is dropped", "\"GET\", \"POST\"", "\"GET\"", Patch, "capability.narrowed", NONE),
        ("a host becomes another", "api.acme.example", "api.acme.test", Minor, "capability.widened", CONSENT),
        ("a host is written otherwise", "https://api.acme.example", "HTTPS://API.acme.example:443/", Patch, "", NONE),
        ("a port is another", "api.acme.example", "api.acme.example:8443", Minor, "capability.widened", CONSENT),
        ("it is no longer encrypted", "https://api", "http://api", Minor, "capability.widened", CONSENT),
        ("credentials are placed", "authenticate = false", "authenticate = true", Minor, "capability.widened", CONSENT),
        ("a bucket is added", "\"cursors\"", "\"cursors\", \"ids\"", Minor, "capability.widened", CONSENT),
        ("a bucket is dropped", "\"cursors\"", "", Patch, "capability.narrowed", NONE),
        (
            "a secret is added",
            "hmac = \"signs\"",
            "hmac = \"signs\"\nother = \"x\"",
            Major,
            "capability.widened",
            CONSENT,
        ),
        ("a secret is dropped", "hmac = \"signs\"", "", Patch, "capability.narrowed", NONE),
        (
            "memory is raised",
            "memory_bytes = 16000000",
            "memory_bytes = 17000000",
            Minor,
            "capability.widened",
            CONSENT,
        ),
        ("fuel is lowered", "fuel_base = 1000000", "fuel_base = 900000", Patch, "capability.narrowed", NONE),
        ("a default is raised", "fuel_base", "deadline_ms = 6000\nfuel_base", Minor, "capability.widened", CONSENT),
        ("inputs are refused", "fuel_base", "input_bytes = 1000\nfuel_base", Major, "capability.narrowed", NONE),
    ] {
        let after = edit(from, to);
        if rule.is_empty() {
            // Nothing at all is another.
            let report = super::judged(Some(&before), &after.version("1.0.1"));
            assert!(report.findings.is_empty(), "{name}: {:#?}", report.findings);
        } else {
            change(name, &before, &after, bump, rule, consent);
        }
    }
    // Without a declaration, connections authenticate in any way.
    let by = |schemes: &str| {
        let authenticated = edit("authenticate = false", "authenticate = true");
        if schemes.is_empty() {
            authenticated
        } else {
            authenticated.replace("implements", &format!("authentication = {schemes}\nimplements"))
        }
    };
    let (any, one, other, two) =
        (by(""), by("[\"bearer\"]"), by("[\"mutual-tls\"]"), by("[\"bearer\", \"mutual-tls\"]"));
    change("a scheme is added", &one, &two, Minor, "capability.widened", CONSENT);
    change("a scheme is dropped", &two, &one, Major, "capability.narrowed", NONE);
    change("a scheme becomes another", &one, &other, Major, "capability.widened", CONSENT);
    change("any scheme will do", &one, &any, Minor, "capability.widened", CONSENT);
    change("one scheme will do", &any, &one, Major, "capability.narrowed", NONE);
    // Beyond the hub's ceiling nothing is gained, so nothing is asked.
    let high = edit("memory_bytes = 16000000", "memory_bytes = 268435456");
    let higher = edit("memory_bytes = 16000000", "memory_bytes = 999999999999");
    assert!(super::judged(Some(&high), &higher.version("1.0.1")).findings.is_empty());
}

#[test]
fn webhooks_and_contracts() {
    let webhook = |header: &str| {
        let text = format!("[webhook]\nalgorithm = \"hmac-sha256\"\nheader = \"{header}\"\nencoding = \"hex\"\n");
        let mut draft = Draft::transform();
        draft.manifest.push_str(&text);
        draft.exports.push("webhook-source");
        draft
    };
    change("it reads webhooks", &Draft::transform(), &webhook("x-sig"), Minor, "webhook.added", NONE);
    change("it reads none any more", &webhook("x-sig"), &Draft::transform(), Major, "webhook.removed", NONE);
    change("they are signed otherwise", &webhook("x-sig"), &webhook("x-mac"), Major, "webhook.changed", NONE);
    let later = Draft::rule().replace("contract = \"1.0.0\"", "contract = \"1.1.0\"");
    change("it needs a later hub", &Draft::rule(), &later, Minor, "contract.changed", NONE);
    let mut code = Draft::rule();
    code.content = "other code";
    let report = super::judged(Some(&Draft::rule()), &code.version("1.0.1"));
    assert!(report.findings.is_empty() && report.bump == Some(Patch), "{:#?}", report.findings);
}
