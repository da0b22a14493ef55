//! What an expression may do with values: amounts only as decimals, patterns only constant.

use super::{diagnose, lines};

#[track_caller]
fn check(condition: &str, expected: &[&str]) {
    let text = include_str!("../fixtures/orders.yaml");
    let found = diagnose(&text.replacen("steps.risk.score > 0.9", condition, 1));
    assert_eq!(lines(&found), expected);
}

#[test]
fn amounts_are_compared_as_decimals_only() {
    let refused = |column: u32| {
        format!(
            "31:{column} language.amount-as-text: this takes amounts as texts, in which `9.00` comes after `10.00` → put \
             `decimal()` around both sides"
        )
    };
    check("steps.order.total.amount > event.data.limit.amount", &[&refused(40)]);
    check("event.data.limit.amount == '10.00'", &[&refused(39)]);
    check("event.data.limit.amount <= 10", &[&refused(39)]);
    check("event.data.limit.amount + event.data.fee.amount == ''", &[&refused(39)]);
    check("decimal(steps.order.total.amount) > decimal(event.data.limit.amount)", &[]);
    check("decimal(event.data.limit.amount) > 10", &[]);
    check("event.data.limit.amount != null", &[]);
    check("event.data.shown == 'EUR ' + event.data.limit.amount", &[]);
}

#[test]
fn times_have_functions() {
    check("timestamp(event.time) + duration('72h') > timestamp(event.data.promised)", &[]);
    check("timestamp(event.time).getHours('Europe/Berlin') >= 18", &[]);
}

#[test]
fn patterns_are_constant() {
    let found = "31:15 language.expression-limit: this expression has a pattern for `matches` that is not written out: \
                 write it as a text → do this in a `transform` or a `rule`";
    check("event.data.sku.matches(event.data.pattern)", &[found]);
    check("event.data.sku.matches('^A-[0-9]+$')", &[]);
}
