//! Fields that there are not, of another kind, or that contradict each other.

use super::check;

#[test]
fn lanes_that_there_are_not() {
    check(
        "config: { small: 3 }",
        "config: { small: 3 }\nlane: expres",
        &["11:7 language.lane: `expres` is not a lane → did you mean `express`?"],
    );
    check("config: { small: 3 }", "config: { small: 3 }\nlane: bulk", &[]);
    check("config: { small: 3 }", "config: { small: 3 }\nlane: '${ event.data.urgent ? \"express\" : \"bulk\" }'", &[]);
}

#[test]
fn shape_unknown_field_with_a_near_one() {
    check(
        "    timeout: 5s",
        "    timout: 5s",
        &["16:5 language.unknown-field: a step has no field `timout` → did you mean `timeout`?"],
    );
}

#[test]
fn shape_field_of_another_kind() {
    check(
        "    timeout: 5s",
        "    mode: auto",
        &["16:5 language.misplaced-field: `mode` has no meaning on this kind of step → it belongs to `score`"],
    );
}

#[test]
fn shape_missing_field() {
    check("owner: fulfilment\n", "", &["1:1 language.missing-field: a pipeline needs `owner` → add `owner: …`"]);
}

#[test]
fn shape_missing_with() {
    check("    with: ${ event.data }\n", "", &["13:5 language.missing-field: a step needs `with` → add `with: …`"]);
}

#[test]
fn shape_version_of_two_numbers() {
    check(
        "version: 1.0.0",
        "version: 1.0",
        &["2:10 language.version: `1.0` is not a semantic version → three numbers, such as `1.0.0`"],
    );
}

#[test]
fn shape_duration_without_unit() {
    check(
        "    timeout: 5s",
        "    timeout: 5",
        &["16:14 language.duration: `5` is not a duration → say which unit, such as `5s` or `5m`"],
    );
}

#[test]
fn shape_duration_of_zero() {
    check(
        "    timeout: 5s",
        "    timeout: 0s",
        &[
            "16:14 language.duration: `0s` is not a duration → a whole number above 0 and `ms`, `s`, `m`, `h` or `d`, such as `30s`; at most ten years",
        ],
    );
}

#[test]
fn shape_attempt_longer_than_step() {
    check(
        "    timeout: 5s",
        "    timeout: 5s\n    within: 1s",
        &[
            "16:14 language.bounds: one attempt may take longer than the whole step → `timeout` is per attempt, `within` for the step: make `within` the longer",
        ],
    );
}

#[test]
fn shape_retry_once() {
    check(
        "attempts: 3",
        "attempts: 1",
        &["23:39 language.bounds: `1` is out of bounds → a whole number from 2 to 100"],
    );
}

#[test]
fn shape_retry_of_the_hopeless() {
    check(
        "on: retryable",
        "on: permanent",
        &[
            "23:18 language.retry-class: a `permanent` failure comes again however often it is tried → `retryable` or `uncertain`; for the rest, `fallback` or `on_error`",
        ],
    );
}

#[test]
fn shape_retry_delays_reversed() {
    check(
        "first: 1s, max: 10s",
        "first: 20s, max: 10s",
        &["23:59 language.bounds: the first delay is longer than the longest → make `max` at least `first`"],
    );
}

#[test]
fn shape_unknown_kind_of_step() {
    check(
        "    score: crossdock",
        "    scores: crossdock",
        &["18:5 language.unknown-kind: `scores` is not a kind of step → did you mean `score`?"],
    );
}

#[test]
fn shape_two_kinds_in_one_step() {
    check(
        "    transform: crossdock/shopify-order@^1",
        "    transform: crossdock/shopify-order@^1\n    rule: crossdock/order-validation@^2",
        &["13:5 language.conflict: a step is a `transform` or a `rule`, not both → make a step of each"],
    );
}

#[test]
fn shape_plugin_without_range() {
    check(
        "crossdock/shopify-order@^1",
        "crossdock/shopify-order",
        &[
            "14:16 language.range: `crossdock/shopify-order` does not say which versions will do → add a range, such as `crossdock/shopify-order@^1`",
        ],
    );
}

#[test]
fn shape_call_without_connection() {
    check(
        "call: wms#availability",
        "call: availability",
        &[
            "21:11 language.call-without-connection: `availability` does not name a connection and an operation → `connection#operation`, such as `erp#availability`",
        ],
    );
}

#[test]
fn shape_event_type_as_expression() {
    check(
        "emit: retail.order.large.v1",
        "emit: \"${ event.type }\"",
        &[
            "36:15 language.event-type: `${ event.type }` is not an event type → dotted words, such as `retail.order.placed.v1`; types are never expressions",
        ],
    );
}

#[test]
fn shape_marked_condition() {
    check(
        "      - when: steps.risk.score > 0.9",
        "      - when: \"${ steps.risk.score > 0.9 }\"",
        &[
            "31:16 language.expression-marked: this field is an expression already → leave out the `${ }`: `steps.risk.score > 0.9`",
        ],
    );
}

#[test]
fn shape_unmarked_expression() {
    check(
        "    with: ${ steps.order }",
        "    with: steps.order",
        &[
            "19:11 language.expression-unmarked: `steps.order` is literal text here → mark it as an expression: `${ steps.order }`",
        ],
    );
}

#[test]
fn shape_expression_not_closed() {
    check(
        "    with: ${ event.data }",
        "    with: ${ event.data",
        &["15:11 language.expression: this `${` has no `}` → close it, or write `$${` for a literal `${`"],
    );
}

#[test]
fn shape_money_as_number() {
    check(
        "config: { small: 3 }",
        "config: { small: 3, cap: { amount: 100.5, currency: EUR } }",
        &["10:36 language.money: the amount 100.5 is a number → money is text: `\"100.5\"`"],
    );
}

#[test]
fn shape_order_without_key() {
    check(
        "key: event.subject",
        "order: start",
        &[
            "1:1 language.missing-field: `order` says how runs of one key relate, and there is no `key` → add `key`, such as `key: event.subject`",
        ],
    );
}

#[test]
fn shape_wait_without_bound() {
    check(
        "  - id: way",
        "  - wait: { event: wms.pick.shipped.v1, match: signal.subject == event.subject }\n  - id: way",
        &[
            "24:11 language.wait-without-bound: this wait has no bound, and could hang for ever → add `within`, such as `within: 2d`, and `on_expiry`",
        ],
    );
}

#[test]
fn shape_hold_without_approval() {
    check(
        "  - id: stock",
        "  - rule: crossdock/order-validation@^2\n    with: {}\n    outcomes: { hold: reject }\n  - id: stock",
        &["22:23 language.word: `reject` is not a way to go on here → one of `approve`, `dead_letter`"],
    );
}

#[test]
fn shape_escalation_after_expiry() {
    check(
        "  - id: stock",
        "  - approve: { group: desk, within: 1h, on_expiry: reject, escalate: { to: duty, after: 2h } }\n  - id: stock",
        &["20:70 language.bounds: this comes only after the approval has expired → make it shorter than `within`"],
    );
}

#[test]
fn shape_reserved_id() {
    check(
        "  - id: risk",
        "  - id: event",
        &["17:9 language.reserved: `event` is a word of the language → another name, such as `the_event`"],
    );
}

#[test]
fn shape_id_with_a_dash() {
    check(
        "  - id: risk",
        "  - id: order-risk",
        &[
            "17:9 language.identifier: `order-risk` cannot be a step's id → 1 to 64 of a-z, 0-9 and `_`, a letter first, such as `order_risk`",
        ],
    );
}

#[test]
fn shape_uses_no_contract() {
    check(
        "wms: retail/warehouse@1",
        "wms: retail/warehouse",
        &[
            "6:40 language.contract: `retail/warehouse` is not an operation contract → `namespace/name@major`, such as `retail/erp-orders@1`",
        ],
    );
}

#[test]
fn shape_several_at_once() {
    check(
        "version: 1.0.0\nowner: fulfilment",
        "version: one\nowners: fulfilment",
        &[
            "1:1 language.missing-field: a pipeline needs `owner` → rename `owners` to `owner`",
            "2:10 language.version: `one` is not a semantic version → three numbers, such as `1.0.0`",
            "3:1 language.unknown-field: a pipeline has no field `owners` → did you mean `owner`?",
        ],
    );
}
