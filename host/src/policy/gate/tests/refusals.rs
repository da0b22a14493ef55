//! What is refused whatever the version says, and in which words.

use super::{super::surface::check_exports, *};

#[track_caller]
fn refused(previous: Option<&Draft>, candidate: &Draft, rule: &str, words: &[&str]) {
    let report = judged(previous, candidate);
    assert_eq!(report.verdict, Verdict::Refused, "{rule}: {:#?}", report.findings);
    let finding = report.findings.iter().find(|finding| finding.rule == rule);
    let Some(finding) = finding else { panic!("no {rule} in {:#?}", report.findings) };
    let text = format!("{} {} {}", finding.place, finding.found, finding.change);
    words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in {text}"));
    assert!(!finding.change.is_empty(), "{rule} says nothing about what to change");
}

#[track_caller]
fn accepted(previous: Option<&Draft>, candidate: &Draft) -> Report {
    let report = judged(previous, candidate);
    assert_eq!(report.verdict, Verdict::Accepted, "{:#?}", report.findings);
    report
}

#[test]
fn a_first_version_says_what_it_may_touch() {
    accepted(None, &Draft::rule());
    accepted(None, &Draft::transform());
    accepted(None, &Draft::scorer());
    let report = accepted(None, &Draft::connector());
    assert!(report.has("capability.declared") && report.bump.is_none());
}

#[test]
fn a_version_is_used_once() {
    let before = Draft::rule();
    let mut other = Draft::rule();
    other.content = "other code";
    refused(Some(&before), &other, "version.reused", &["1.0.0", "raise `version`", "1.0.1"]);
    // Build metadata makes no other version.
    refused(Some(&before), &other.clone().version("1.0.0+2"), "version.reused", &["1.0.0+2"]);
    assert!(accepted(Some(&before), &before).has("version.published"));
    refused(Some(&before), &other.version("0.9.0"), "version.not-higher", &["0.9.0 is below 1.0.0", "1.0.1"]);
}

#[test]
fn a_version_that_says_too_much_is_only_noted() {
    assert!(accepted(Some(&Draft::rule()), &Draft::rule().version("2.0.0")).has("version.bump-larger"));
}

#[test]
fn below_1_0_a_minor_number_is_a_major_one() {
    let before = Draft::rule().version("0.1.0");
    let mut after = Draft::rule();
    set(&mut after.schemas.input, "/required", json!(["total", "class"]));
    refused(Some(&before), &after.clone().version("0.1.1"), "schema.input.narrowed", &["`class` is required now"]);
    accepted(Some(&before), &after.version("0.2.0"));
}

#[test]
fn a_kind_or_an_id_stays() {
    let rule = Draft::rule();
    refused(Some(&rule), &Draft::transform().version("2.0.0"), "kind.changed", &["a rule has become a transform"]);
    let other = Draft::rule().version("2.0.0").replace("acme/x", "acme/y");
    refused(Some(&rule), &other, "plugin.other", &["`acme/x`"]);
}

#[test]
fn sizes_are_capped() {
    let with = |path: &str, bytes: u64| {
        let mut draft = Draft::rule();
        draft.files.insert(path.to_owned(), bytes);
        draft
    };
    refused(None, &with("component.wasm", (64 << 20) + 1), "size.exceeded", &["67108865", "67108864", "strip"]);
    refused(None, &with("schemas/input.json", (256 << 10) + 1), "size.exceeded", &["schemas/input.json"]);
    refused(None, &with("assets/model.bin", 96 << 20), "size.exceeded", &["the package is", "leave out assets"]);
    let mut many = Draft::rule();
    many.files.extend((0..1_025).map(|index| (format!("assets/{index}"), 1)));
    refused(None, &many, "size.exceeded", &["1027 files"]);
}

#[test]
fn each_kind_imports_what_it_may() {
    let with = |mut draft: Draft, import: &'static str| {
        draft.imports.push(import);
        draft
    };
    for import in ["wasi:cli/environment@0.2.6", "wasi:clocks/wall-clock@0.2.6", "wasi:random/random@0.2.6", "envelope"]
    {
        accepted(None, &with(Draft::rule(), import));
    }
    let http = "wasi:http/outgoing-handler@0.2.0";
    for draft in [Draft::rule(), Draft::transform(), Draft::scorer()] {
        refused(None, &with(draft.clone(), http), "import.not-for-kind", &["is pure", "--disable http"]);
        refused(None, &with(draft.clone(), "state"), "import.not-for-kind", &["it has no state", "-plugin`"]);
        refused(None, &with(draft, "secrets"), "import.not-for-kind", &["it has no secrets"]);
    }
    accepted(None, &with(Draft::connector(), "context"));
    let without = Draft::connector().replace("[[capabilities.http]]", "[[ignored]]");
    let text = without.manifest.split("[[ignored]]").next().expect("head").to_owned();
    let without = Draft { manifest: text, ..without };
    refused(None, &without, "import.without-capability", &["[[capabilities.http]]"]);
    refused(None, &with(Draft::connector(), "acme:door/open@1.0.0"), "import.unknown", &["`acme:door/open@1.0.0`"]);
    refused(None, &with(Draft::connector(), "wasi:nn/graph@0.2.0"), "import.unknown", &["wasi:nn"]);
    refused(None, &with(Draft::rule(), "crossdock:plugin/log@2.0.0"), "import.unknown", &["log@2.0.0"]);
    refused(None, &with(Draft::rule(), "crossdock:plugin/log@1.7.0"), "import.unknown", &["log@1.7.0"]);
    // Python brings sockets along whatever the author does; they are never given.
    assert!(accepted(None, &with(Draft::rule(), "wasi:sockets/tcp@0.2.6")).has("import.refused-at-run"));
    // A transform that is a webhook source has secrets to verify with.
    let mut source = with(Draft::transform(), "secrets");
    source.manifest.push_str("[webhook]\nalgorithm = \"hmac-sha256\"\nheader = \"x\"\nencoding = \"hex\"\n");
    source.exports.push("webhook-source");
    accepted(None, &source);
}

#[test]
fn what_is_promised_is_exported() {
    let mut empty = Draft::rule();
    empty.exports.clear();
    refused(None, &empty, "world.export-missing", &["needs `crossdock:plugin/rule@1.0.0`", "exports nothing"]);
    let mut other = Draft::rule();
    other.exports = vec!["transform"];
    refused(None, &other, "world.export-missing", &["`crossdock:plugin/transform@1.0.0`", "rule-plugin"]);
    let mut unknown = Draft::rule();
    unknown.exports.push("door");
    refused(None, &unknown, "world.export-unknown", &["door"]);
    let mut more = Draft::rule();
    more.exports.push("wasi:cli/run@0.2.6");
    assert!(accepted(None, &more).has("world.export-unused"));
}

/// Changes a record's fields.
type Edit<'a> = &'a dyn Fn(&mut Vec<(String, Shape)>);

#[test]
fn a_type_that_is_not_the_contracts_is_told_in_its_words() {
    let edit = |change: &dyn Fn(&mut Function)| {
        let mut subject = Draft::rule().subject();
        let rule = subject.surface.exports.get_mut("crossdock:plugin/rule@1.0.0").expect("rule");
        change(rule.get_mut("evaluate").expect("evaluate"));
        let found = check_exports(&subject, &contract());
        let texts: Vec<String> = found.iter().map(|it| format!("{}: {}", it.place, it.found)).collect();
        texts.join("; ")
    };
    let simple = |name: &str| Shape::Simple(name.to_owned());
    let verdict = |change: Edit<'_>| {
        edit(&|function| {
            let Some(Shape::Result(Some(ok), _)) = &mut function.result else { panic!("{function:?}") };
            let Shape::Record(_, fields) = &mut **ok else { panic!("{ok:?}") };
            change(fields);
        })
    };
    assert_eq!(edit(&|_| {}), "");
    for (actual, expected) in [
        (
            edit(&|it| it.result = Some(simple("string"))),
            "rule.evaluate: `evaluate` returns string, the contract says result<verdict, failure>",
        ),
        (
            edit(&|it| it.params[0].1 = simple("string")),
            "rule.evaluate: `evaluate` takes `input` string, the contract says list<u8>",
        ),
        (
            edit(&|it| it.params[0].0 = "order".to_owned()),
            "rule.evaluate: `evaluate` names a parameter `order`, the contract says `input`",
        ),
        (
            edit(&|it| it.params.truncate(1)),
            "rule.evaluate: `evaluate` takes (input: list<u8>), the contract says (input: list<u8>, step: step)",
        ),
        (
            verdict(&|fields| fields.push(("score".to_owned(), simple("f64")))),
            "rule.evaluate: `evaluate` returns result<verdict, failure>: record `verdict` with a field `score`, which the \
             contract does not have",
        ),
        (
            verdict(&|fields| drop(fields.pop())),
            "rule.evaluate: `evaluate` returns result<verdict, failure>: record `verdict` without the field `reasons`, \
             which the contract has",
        ),
        (
            verdict(&|fields| fields.swap(0, 1)),
            "rule.evaluate: `evaluate` returns result<verdict, failure>: record `verdict` with `reasons` where the \
             contract has `target`: the order counts",
        ),
        (
            verdict(&|fields| fields[0].1 = simple("u32")),
            "rule.evaluate: `evaluate` returns result<verdict, failure>: record `verdict` whose field `target` is u32, \
             the contract says option<string>",
        ),
        (
            edit(&|it| {
                let Some(Shape::Result(_, Some(error))) = &mut it.result else { panic!("{it:?}") };
                let Shape::Record(_, fields) = &mut **error else { panic!("{error:?}") };
                let Shape::Enum(_, cases) = &mut fields[0].1 else { panic!("{fields:?}") };
                cases.push("lost".to_owned());
            }),
            "rule.evaluate: `evaluate` returns result<verdict, failure>: record `failure` whose field `kind` is enum \
             `failure-kind` with a case `lost`, which the contract does not have",
        ),
    ] {
        assert_eq!(actual, expected);
    }
}

#[test]
fn golden_tests_hold_with_room_to_spare() {
    let with = |golden: GoldenResult| Draft { golden: vec![golden], ..Draft::rule() };
    accepted(None, &with(super::golden("small", true, 10)));
    refused(None, &with(super::golden("wrong", false, 10)), "golden.failed", &["golden/wrong.json", "expected"]);
    assert!(accepted(None, &with(super::golden("large", true, 800))).has("golden.near-limit"));
}

#[test]
fn a_schema_outside_the_profile_is_refused_by_the_keywords_name() {
    for (schema, words) in [
        (json!({ "not": { "type": "string" } }), &["`not`", "anyOf"][..]),
        (json!({ "allOf": [{}] }), &["`allOf`"]),
        (json!({ "if": {}, "then": {} }), &["`if`"]),
        (json!({ "patternProperties": { "^x": {} } }), &["`patternProperties`", "additionalProperties"]),
        (json!({ "dependentRequired": { "a": ["b"] } }), &["`dependentRequired`"]),
        (json!({ "unevaluatedProperties": false }), &["`unevaluatedProperties`"]),
        (json!({ "properties": { "a": { "contains": {} } } }), &["`contains`", "/properties/a"]),
        (json!({ "nullable": true }), &["`nullable`"]),
        (json!({ "definitions": {} }), &["`definitions`", "$defs"]),
        (json!({ "type": "money" }), &["`\"money\"` is no type"]),
        (json!({ "properties": { "a": { "$defs": {} } } }), &["`$defs` below the top"]),
        (json!({ "$ref": "#/$defs/x", "$defs": { "x": {} }, "type": "object" }), &["`$ref` and `type`"]),
        (json!({ "oneOf": [{ "type": "string" }, { "type": ["string", "null"] }] }), &["may fit two of them"]),
        (json!({ "anyOf": [] }), &["it lists no schemas"]),
        (json!({ "required": "a" }), &["no list of names"]),
        (json!({ "minLength": -1 }), &["whole number"]),
        (json!({ "multipleOf": 0 }), &["no number"]),
        (json!([]), &["neither an object nor a boolean"]),
    ] {
        let draft = Draft { schemas: Schemas { input: Some(schema), ..Schemas::default() }, ..Draft::rule() };
        refused(None, &draft, "schema.profile", words);
    }
    for (reference, words) in [("#/$defs/y", "`#/$defs/y` is not known"), ("https://x.example/y", "is not known")] {
        let schema = json!({ "$ref": reference });
        let draft = Draft { schemas: Schemas { input: Some(schema), ..Schemas::default() }, ..Draft::rule() };
        refused(None, &draft, "schema.reference", &[words, "retail/order@1"]);
    }
    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({ "items": deep });
    }
    let draft = Draft { schemas: Schemas { input: Some(deep), ..Schemas::default() }, ..Draft::rule() };
    refused(None, &draft, "schema.profile", &["32 deep"]);
    let fine = json!({ "$ref": "acme/money@1", "description": "beside a reference only words" });
    accepted(None, &Draft { schemas: Schemas { input: Some(fine), ..Schemas::default() }, ..Draft::rule() });
}
