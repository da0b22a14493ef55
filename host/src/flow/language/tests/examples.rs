//! The four examples are the yardstick: they pass as they stand.

use super::{diagnose, lines};
use crate::flow::language::{parse, schema};

const EXAMPLES: [(&str, &str); 4] = [
    ("fulfilment", include_str!("../fixtures/fulfilment.yaml")),
    ("replenishment", include_str!("../fixtures/replenishment.yaml")),
    ("returns", include_str!("../fixtures/returns.yaml")),
    ("settlement", include_str!("../fixtures/settlement.yaml")),
];

#[test]
fn every_example_is_accepted() {
    for (name, text) in EXAMPLES {
        assert_eq!(lines(&diagnose(text)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_example_follows_the_published_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (name, text) in EXAMPLES {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let problems: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(problems, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_published_schema_refuses_what_has_the_wrong_shape() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (from, to) in [
        ("order: start", "order: sometimes"),
        ("within: 4h", "within: 4"),
        ("    call: erp#create_order", "    call: create_order"),
        ("outcomes:", "outcome:"),
        ("version: 1.0.0", "version: 1.0"),
    ] {
        let text = EXAMPLES[0].1.replacen(from, to, 1);
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert!(!validator.is_valid(&value), "{to}");
    }
}

// SEMANTICS 11
#[test]
fn a_score_may_call_an_operation_and_is_drawn_with_it() {
    let text = include_str!("../fixtures/orders.yaml");
    let text = text.replacen("score: crossdock/order-risk@^1", "score: { call: wms#availability }", 1);
    let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    assert!(validator.is_valid(&value), "the schema knows it");
    assert_eq!(lines(&diagnose(&text)), Vec::<String>::new());
    let drawn = crate::flow::language::graph(&parse(&text).unwrap()).text();
    assert!(drawn.contains("score wms#availability"), "{drawn}");
}

#[test]
fn steps_without_an_id_get_one_from_their_place() {
    let definition = parse(EXAMPLES[0].1).unwrap();
    let ids: Vec<&str> = definition.all_steps().iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids.join(" "),
        "order fraud validate erp_order placed facts facts-stock-call-1 facts-quotes-call-1 ranking plan reservation \
         pick result placed-undo-7 tell on-error-emit-1"
    );
}

#[test]
fn the_pipeline_of_the_tests_is_not_complained_about() {
    assert_eq!(lines(&diagnose(include_str!("../fixtures/orders.yaml"))), Vec::<String>::new());
}

#[test]
fn a_definition_has_a_form_for_programs() {
    let definition = parse(include_str!("../fixtures/orders.yaml")).unwrap();
    let json = serde_json::to_value(&definition).unwrap();
    assert_eq!(json["steps"][0]["action"]["kind"], "transform");
    assert_eq!(json["steps"][0]["action"]["with"]["expression"], "event.data");
    assert_eq!(json["uses"]["wms"], "retail/warehouse@1");
}

#[test]
fn no_missing_line_or_cut_makes_the_reader_panic() {
    for (name, text) in EXAMPLES {
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() {
            let rest: Vec<&str> = [&lines[..missing], &lines[missing + 1..]].concat();
            let _ = parse(&rest.join("\n"));
        }
        for cut in (0..text.len()).step_by(7).filter(|&cut| text.is_char_boundary(cut)) {
            let found = parse(&text[..cut]);
            assert!(cut == 0 || found.is_ok() || !found.unwrap_err().is_empty(), "{name} {cut}");
        }
    }
}

#[test]
fn every_problem_lies_within_the_text() {
    let text = EXAMPLES[0].1;
    for cut in (0..text.len()).step_by(31).filter(|&cut| text.is_char_boundary(cut)) {
        let text = &text[..cut];
        for one in parse(text).err().into_iter().flatten() {
            let lines = u32::try_from(text.lines().count()).unwrap();
            assert!(one.line >= 1 && one.line <= lines + 1 && one.column >= 1, "{one:?}");
        }
    }
}
