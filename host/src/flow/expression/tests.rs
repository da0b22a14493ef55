//! Expressions over two documents.

use serde_json::json;

use super::{Expression, Scope};
use crate::flow::document::Document;

struct Two {
    event: Document,
    order: Document,
}

impl Scope for Two {
    fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
        match path {
            [root, rest @ ..] if root == "event" => Some((self.event.clone(), rest)),
            [root, step, rest @ ..] if root == "steps" && step == "order" => Some((self.order.clone(), rest)),
            _ => None,
        }
    }
}

#[track_caller]
fn check(expression: &str, expected: &str) {
    let scope = Two {
        event: json!({"data": {"status": "paid", "lines": [{"q": 1}, {"q": 2}]}, "subject": null}).into(),
        order: json!({"total": "10.00", "count": 3}).into(),
    };
    let shown = match Expression::compile(expression) {
        Err(error) => format!("compile: {error}"),
        Ok(compiled) => match compiled.evaluate(&scope) {
            Ok(document) => document.value().to_string(),
            Err(error) => format!("evaluate: {error}"),
        },
    };
    assert!(shown.contains(expected), "{expression} gave {shown}, expected {expected}");
}

#[test]
fn a_path_gives_the_document_or_its_part() {
    check("steps.order", r#"{"count":3,"total":"10.00"}"#);
    check("event.data.status", r#""paid""#);
    check("event.data.nope", "evaluate: `event.data.nope` finds no `nope`; there is");
    check("event.subject.x", "asks null for `x`");
    check("steps.later", "names something that is not there");
}

#[test]
fn anything_else_is_cel() {
    check(r#"event.data.status == "paid""#, "true");
    check("size(event.data.lines) + steps.order.count", "5");
    check("event.data.lines.map(line, line.q * 2)", "[2,4]");
    check("has(event.data.nope) ? 1 : 2", "2");
    check("event.subject == null", "true");
    check(r#"{"a": steps.order.total}"#, r#"{"a":"10.00"}"#);
    check("1 +", "compile:");
    check("event.data.status + 1", "evaluate:");
}

#[test]
fn an_expression_cannot_run_away() {
    check("[1].map(a, [1].map(b, [1].map(c, c)))", "compile: nests list macros 3 deep");
    check(&"(".repeat(40), "compile: it nests deeper");
    check(&"1+".repeat(1000), "compile: it has more than 256 operators");
    check(&"1".repeat(6000), "compile: is 6000 bytes");
}

#[test]
fn a_whole_document_passes_through_byte_for_byte() {
    let json = crate::model::json::Json::parse(&br#"{"b" : 1.10,"a":2}"#[..]).expect("valid");
    let scope = Two { event: Document::new(json.clone()), order: json!(null).into() };
    let passed = Expression::compile("event").expect("compiles").evaluate(&scope).expect("evaluates");
    assert_eq!(passed.json(), &json);
}

#[test]
fn decimals_are_exact() {
    check(r#"decimal("0.1") + decimal("0.2")"#, r#""0.3""#);
    check(r#"decimal("0.1") + decimal("0.2") == decimal("0.30")"#, "true");
    check("decimal(steps.order.total) > decimal(\"9.99\")", "true");
    check("decimal(steps.order.total) > 9", "true");
    check("decimal(steps.order.total) == 10", "true");
    check("decimal(steps.order.total) * steps.order.count", r#""30.00""#);
    check("decimal(10.1) - decimal(0.1)", r#""10.0""#);
    check("-decimal(\"1.50\")", r#""-1.50""#);
    check("string(decimal(\"1.50\")) == \"1.50\"", "true");
    check(r#"["2", "10"].exists(x, decimal(x) == decimal("10.0"))"#, "true");
    check(r#"{"sum": [decimal("1"), decimal("2.5")]}"#, r#"{"sum":["1","2.5"]}"#);
    check("type(decimal(1)) == decimal ? 1 : 2", "1");
}

#[test]
fn a_decimal_is_never_rounded_and_never_compared_with_text() {
    check(r#"decimal("1e3")"#, "`1e3` is not a decimal");
    check(r#"decimal("1_000")"#, "is not a decimal");
    check(r#"decimal(" 1")"#, "is not a decimal");
    check(r#"decimal(".5")"#, "is not a decimal");
    check(r#"decimal("")"#, "is not a decimal");
    check(r#"decimal(1e300)"#, "is not a decimal");
    check(r#"decimal("0.00000000000001") * decimal("0.000000000000001")"#, "would have to be rounded");
    check(r#"decimal("79228162514264337593543950335") + 1"#, "would have to be rounded");
    check(r#"decimal("7922816251426433759354395033") * 100"#, "would have to be rounded");
    check(r#"decimal("7922816251426433759354395033") + decimal("0.01")"#, "would have to be rounded");
    check("decimal(steps.order.total) > steps.order.total", "wrap the other side in `decimal()`");
    check("decimal(steps.order.total) == steps.order.total", "compile: compares a decimal with something else");
    check("steps.order.total != decimal(1) + 1", "compile: compares a decimal with something else");
    check("decimal(1) / decimal(3)", "evaluate:");
}

#[test]
fn times_and_durations_have_arithmetic_and_a_json_form() {
    check(r#"timestamp("2026-03-29T02:30:00+01:00")"#, r#""2026-03-29T01:30:00Z""#);
    check(r#"timestamp("2026-01-01T00:00:00Z") + duration("36h")"#, r#""2026-01-02T12:00:00Z""#);
    check(r#"timestamp("2026-01-02T00:00:00Z") - timestamp("2026-01-01T22:30:00Z")"#, r#""5400s""#);
    check(r#"timestamp("2026-01-02T00:00:00Z") - timestamp("2026-01-01T22:30:00Z") > duration("1h")"#, "true");
    check(r#"duration("1.5s") - duration("2s")"#, r#""-0.5s""#);
    check(r#"timestamp("2026-03-29T23:30:00Z").getDayOfMonth("Europe/Berlin")"#, "29");
    check(r#"timestamp("2026-03-29T23:30:00Z").getDate("Europe/Berlin")"#, "30");
    check(r#"timestamp("yesterday")"#, "evaluate:");
    check(r#"duration("14 days")"#, "evaluate:");
    check(r#"timestamp("9999-12-31T00:00:00Z") + duration("2400000h")"#, "evaluate:");
    check(r#"timestamp("0001-01-01T00:00:00Z") - duration("2400000h")"#, "evaluate:");
    check(r#"duration("2500000h") + duration("2500000h")"#, "evaluate:");
}

#[test]
fn patterns_are_constant_and_bounded() {
    check(r#"event.data.status.matches("^pa+id$")"#, "true");
    check(r#"matches(event.data.status, "x")"#, "false");
    check("event.data.status.matches(event.data.status)", "compile: has a pattern for `matches` that is not written");
    check(r#""a".matches("(a{1000}){1000}")"#, "compile: has a pattern that takes more than");
    check(r#""a".matches("(a")"#, "compile: has a pattern that cannot be read: unclosed group");
}

/// The classic of patterns that run away; linear here.
#[test]
fn a_nasty_pattern_over_a_long_text_ends_at_once() {
    let scope = Two { event: json!({"data": "a".repeat(500_000)}).into(), order: json!(null).into() };
    let expression = Expression::compile(r#"event.data.matches("^(a+)+$|(a|a)*b")"#).expect("compiles");
    assert_eq!(expression.evaluate(&scope).expect("evaluates").value(), &json!(true));
}

#[track_caller]
fn check_work(expression: &str, items: usize, expected: &str) {
    let lines: Vec<_> = (0..items).map(|number| json!({"q": number, "sku": "A"})).collect();
    let scope = Two { event: json!({ "data": lines }).into(), order: json!(null).into() };
    let shown = match Expression::compile(expression).expect("compiles").evaluate(&scope) {
        Ok(document) => document.value().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(shown.contains(expected), "{expression} gave {shown}");
}

#[test]
fn work_is_refused_before_it_begins() {
    check_work("event.data.filter(line, line.q > 10).map(line, line.q).size()", 20_000, "19989");
    check_work("event.data.map(a, event.data.map(b, a.q + b.q)).size()", 100, "100");
    check_work("event.data.map(a, event.data.map(b, a.q + b.q)).size()", 2_000, "its lists are too long");
    check_work("event.data.map(a, event.data).size()", 2_000, "its lists are too long");
    check_work("event.data.map(a, event.data.map(b, a)).size()", 2_000, "its lists are too long");
    check_work("event.data.map(a, [a, a, a, a]).map(b, event.data).size()", 2_000, "its lists are too long");
    check_work(r#"event.data.filter(line, line.sku.matches("A")).size()"#, 50_000, "its lists are too long");
}

#[test]
fn a_decimal_agrees_with_integers_of_its_last_digit() {
    use proptest::prelude::*;
    let amount = || (-10_000_000_i64..10_000_000, 0_u32..4);
    let text = |(units, scale): (i64, u32)| {
        let unit = 10_i64.pow(scale);
        let sign = if units < 0 { "-" } else { "" };
        let (whole, rest) = (units.abs() / unit, units.abs() % unit);
        if scale == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{rest:0width$}", width = scale as usize)
        }
    };
    proptest!(|(a in amount(), b in amount())| {
        let at_six = |(units, scale): (i64, u32)| i128::from(units) * 10_i128.pow(6 - scale);
        let scope = Two { event: json!({"a": text(a), "b": text(b)}).into(), order: json!(null).into() };
        let given = |source: &str| {
            Expression::compile(source).expect("compiles").evaluate(&scope).expect("evaluates").value().clone()
        };
        for (operator, holds) in [
            ("<", at_six(a) < at_six(b)), ("<=", at_six(a) <= at_six(b)), ("==", at_six(a) == at_six(b)),
            (">", at_six(a) > at_six(b)), ("!=", at_six(a) != at_six(b)),
        ] {
            prop_assert_eq!(given(&format!("decimal(event.a) {operator} decimal(event.b)")), json!(holds));
        }
        let six = |value: serde_json::Value| {
            let text = value.as_str().expect("text").to_owned();
            let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
            format!("{whole}{rest:0<6}").parse::<i128>().expect("digits")
        };
        prop_assert_eq!(six(given("decimal(event.a) + decimal(event.b)")), at_six(a) + at_six(b));
        prop_assert_eq!(six(given("decimal(event.a) - decimal(event.b)")), at_six(a) - at_six(b));
        prop_assert_eq!(
            six(given("decimal(event.a) * decimal(event.b)")) * 1_000_000,
            at_six(a) * at_six(b)
        );
    });
}
