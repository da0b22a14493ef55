//! What people get wrong: place, code, problem and advice of each.

use super::{diagnose, lines};

/// The small pipeline with one change, and everything that is found then.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    let text = include_str!("../fixtures/orders.yaml");
    assert!(text.contains(from), "`{from}` is not in the pipeline");
    assert_eq!(lines(&diagnose(&text.replacen(from, to, 1))), expected);
}

#[test]
fn yaml_duplicate_keys() {
    check(
        "    timeout: 5s",
        "    timeout: 5s\n    timeout: 6s",
        &["17:5 yaml.duplicate-key: `timeout` is already there, in line 16 → keep one of the two"],
    );
}

#[test]
fn yaml_merge_keys() {
    check(
        "    timeout: 5s",
        "    <<: { timeout: 5s }",
        &["16:5 yaml.merge-key: merge keys (`<<`) hide what a step does → write the fields out"],
    );
}

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
fn yaml_tags() {
    check(
        "  - id: stock",
        "  - id: stock\n    when: !steps.order.paid",
        &[
            "21:28 yaml.tag: `!steps.order.paid` here is a YAML tag → quote the whole value: an expression that begins with `!` is a tag to YAML",
        ],
    );
}

#[test]
fn yaml_unquoted_conditional() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ steps.order ? 1 : 2 }",
        &[
            "19:11 yaml.quote-expression: an unquoted expression with `:`, `{`, quotes or the like is not one text to YAML → quote this expression as a whole, in the quotes that it does not use itself: '…'",
        ],
    );
}

#[test]
fn yaml_unquoted_in_flow() {
    check(
        "{ pick: \"${ steps.way.pick }\" }",
        "{ pick: ${ steps.way.pick } }",
        &[
            "41:19 yaml.quote-expression: an unquoted expression with `:`, `{`, quotes or the like is not one text to YAML → quote this expression as a whole, in the quotes that it does not use itself: '…'",
        ],
    );
}

#[test]
fn yaml_condition_with_colon() {
    check(
        "      - when: steps.risk.score > 0.9",
        "      - when: steps.risk.score > 0.9 ? true : false",
        &[
            "31:15 yaml.quote-expression: an unquoted expression with `:`, `{`, quotes or the like is not one text to YAML → quote this expression as a whole, in the quotes that it does not use itself: '…'",
        ],
    );
}

#[test]
fn yaml_condition_that_begins_with_a_quote() {
    check(
        "      - when: steps.risk.score > 0.9",
        "      - when: \"high\" == steps.risk.band",
        &[
            "31:15 yaml.quote-expression: an unquoted expression with `:`, `{`, quotes or the like is not one text to YAML → quote this expression as a whole, in the quotes that it does not use itself: '…'",
        ],
    );
}

#[test]
fn yaml_truth_values_of_old_yaml() {
    check(
        "config: { small: 3 }",
        "config: { small: 3, gift: yes }",
        &[
            "10:27 yaml.ambiguous: `yes` is a truth value to some YAML readers and text to others → `true` or `false`, or quoted: `\"yes\"`",
        ],
    );
}

#[test]
fn yaml_codes_with_leading_zero() {
    check(
        "config: { small: 3 }",
        "config: { small: 3, plant: 0040 }",
        &["10:28 yaml.ambiguous: `0040` begins with a zero, and may be a number or a code → quote it: `\"0040\"`"],
    );
}

#[test]
fn yaml_versions_as_numbers() {
    check(
        "config: { small: 3 }",
        "config: { small: 3, since: 1.10 }",
        &["10:28 yaml.ambiguous: `1.10` would change as a number, as versions and amounts do → quote it: `\"1.10\"`"],
    );
}

#[test]
fn yaml_wrong_indentation() {
    check(
        "    score: crossdock/order-risk@^1",
        "   score: crossdock/order-risk@^1",
        &[
            "18:4 yaml.syntax: this is not YAML: while parsing a block collection, did not find expected '-' indicator → mend the indentation, brackets or quotes here; quote texts with `:` or `#`",
        ],
    );
}

#[test]
fn yaml_several_documents() {
    check(
        "key: event.subject",
        "---\nkey: event.subject",
        &["10:1 yaml.documents: there is more than one document → one pipeline per file"],
    );
}

#[test]
fn yaml_alias_of_itself() {
    check(
        "config: { small: 3 }",
        "config: { small: &a [*a] }",
        &["10:22 yaml.aliases: this alias is inside what it stands for → write the value out"],
    );
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

#[test]
fn world_unknown_plugin() {
    check(
        "crossdock/order-risk@^1",
        "crossdock/order-rsik@^1",
        &[
            "18:12 language.unknown-plugin: no plugin is called `crossdock/order-rsik` → did you mean `crossdock/order-risk`?",
        ],
    );
}

#[test]
fn world_plugin_of_another_kind() {
    check(
        "    score: crossdock/order-risk@^1",
        "    rule: crossdock/order-risk@^1",
        &[
            "18:11 language.plugin-kind: `crossdock/order-risk` is a scorer, here belongs a rule → `score: crossdock/order-risk@^1`",
        ],
    );
}

#[test]
fn world_scorers_that_are_called() {
    let score = "    score: crossdock/order-risk@^1";
    check(score, "    score: { call: wms#availability }", &[]);
    check(
        score,
        "    score: { call: wms#create_pick }",
        &[
            "18:24 language.operation-effect: `create_pick` writes, and what recommends is a read → name an operation that only reads",
        ],
    );
    check(
        score,
        "    score: { call: llm#assess }",
        &["18:24 language.unknown-connection: `uses` has no `llm` → one of `erp`, `wms`"],
    );
    check(
        score,
        "    score: { call: wms#availability }\n    mode: auto",
        &[
            "19:11 language.conflict: nothing vouches for the model behind an operation, so it may not decide alone → `advise`, and let a rule or people decide",
        ],
    );
}

#[test]
fn world_connector_as_step() {
    check(
        "    transform: crossdock/shopify-order@^1",
        "    transform: crossdock/sap@^1",
        &[
            "14:16 language.plugin-kind: `crossdock/sap` is a connector, here belongs a transform → name a connection in `uses`, and `call` its operation",
        ],
    );
}

#[test]
fn world_no_version_in_range() {
    check(
        "crossdock/order-risk@^1",
        "crossdock/order-risk@^3",
        &[
            "18:12 language.no-version: no version of `crossdock/order-risk` is within `^3` → widen the range, or add a version; there are `1.0.0`",
        ],
    );
}

#[test]
fn world_unknown_contract() {
    check(
        "wms: retail/warehouse@1",
        "wms: retail/warehouse@2",
        &[
            "6:40 language.unknown-contract: no operation contract is called `retail/warehouse@2` → did you mean `retail/warehouse@1`?",
        ],
    );
}

#[test]
fn world_unknown_connection() {
    check(
        "call: wms#availability",
        "call: wsm#availability",
        &["21:11 language.unknown-connection: `uses` has no `wsm` → did you mean `wms`?"],
    );
}

#[test]
fn world_unknown_operation() {
    check(
        "call: wms#availability",
        "call: wms#avalability",
        &[
            "21:15 language.unknown-operation: `retail/warehouse@1` has no operation `avalability` → did you mean `availability`?",
        ],
    );
}

#[test]
fn world_undeclared_erp_write() {
    check(
        "call: wms#create_pick",
        "call: erp#reserve",
        &[
            "29:23 language.undeclared-touchpoint: `reserve` writes to the ERP, and `erp` does not list it → add `reserve` to `erp` at the top, so that everybody sees what is touched",
        ],
    );
}

#[test]
fn world_touchpoint_that_is_not_touched() {
    check(
        "key: event.subject",
        "key: event.subject\nerp: [reserve]",
        &[
            "10:7 language.unused-touchpoint: no step writes to the ERP by `reserve` → leave it out: `erp` lists the writes that there are",
        ],
    );
}

#[test]
fn world_outcomes_not_handled() {
    check(
        "  - id: stock",
        "  - rule: crossdock/order-validation@^2\n    with: {}\n  - id: stock",
        &[
            "20:11 language.outcome-unhandled: `crossdock/order-validation` may answer `hold`, and nobody is asked then → add `outcomes: { hold: { approve: { group: …, within: …, on_expiry: … } } }`, or `hold: dead_letter`",
        ],
    );
}

#[test]
fn world_outcomes_not_listed() {
    check(
        "  - id: stock",
        "  - rule: crossdock/return-disposition@^1\n    with: {}\n    outcomes: { proceed: { end: fine }, route: { keep: [], sendback: [] } }\n  - id: stock",
        &[
            "20:11 language.outcome-unhandled: `crossdock/return-disposition` may take the route `send_back`, and there is no such branch → add it under `outcomes: { route: … }`, as `send_back: []` if nothing is to be done",
            "22:26 language.outcome-not-listed: `crossdock/return-disposition` never answers `proceed` → it answers `route`, `reject`; leave this out",
            "22:60 language.outcome-not-listed: `crossdock/return-disposition` never takes the route `sendback` → did you mean `send_back`?",
        ],
    );
}

#[test]
fn world_unknown_pipeline() {
    check(
        "  - id: way",
        "  - run: retail/three-way-mach@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.unknown-pipeline: no pipeline is called `retail/three-way-mach` → did you mean `retail/three-way-match`?",
        ],
    );
}

#[test]
fn world_pipeline_that_runs_itself() {
    check(
        "  - id: way",
        "  - run: retail/orders@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.cycle: this pipeline would run itself: `retail/orders` → `retail/orders` → repeat with `loop`, or emit an event that a person or a condition lets through",
        ],
    );
}

#[test]
fn world_pipelines_that_run_each_other() {
    check(
        "  - id: way",
        "  - run: retail/ping@^1\n    with: {}\n  - id: way",
        &[
            "24:10 language.cycle: this pipeline would run itself: `retail/orders` → `retail/ping` → `retail/pong` → `retail/orders` → repeat with `loop`, or emit an event that a person or a condition lets through",
        ],
    );
}

#[test]
fn world_emits_its_own_trigger() {
    check(
        "emit: retail.order.planned.v1",
        "emit: retail.order.placed.v1",
        &[
            "39:5 language.cycle: `retail.order.placed.v1` starts this same pipeline again, without end → emit another type, or put a `where` on the trigger",
        ],
    );
}

#[test]
fn references_unknown_step() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ steps.ordr }",
        &["19:14 language.unknown-step: there is no step `ordr` → did you mean `order`?"],
    );
}

#[test]
fn references_step_that_comes_later() {
    check(
        "    with: ${ steps.order }",
        "    with: { order: \"${ steps.order }\", stock: \"${ steps.stock }\" }",
        &["19:51 language.later-step: `stock` comes later, in line 20 → move `stock` before `risk`"],
    );
}

#[test]
fn references_cycle_of_steps() {
    check(
        "    with: ${ event.data }",
        "    with: { event: \"${ event.data }\", stock: \"${ steps.stock }\" }",
        &[
            "15:50 language.cycle: `order` and `stock` (line 20) wait for each other's output: a cycle → let one of them do without the other, or repeat with `loop`",
        ],
    );
}

#[test]
fn references_own_output() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ steps.risk }",
        &[
            "19:14 language.later-step: `risk` has no output yet here → only `confirm`, `compensate` and `outcomes` know the step's own output",
        ],
    );
}

#[test]
fn references_step_inside_a_branch() {
    check(
        "{ pick: \"${ steps.way.pick }\" }",
        "{ pick: \"${ steps.pick }\" }",
        &[
            "41:23 language.hidden-step: `pick` (line 28) is inside `way`, and seen only there → name what leaves in the `output` of `way`",
        ],
    );
}

#[test]
fn references_skipped_without_guard() {
    check(
        "  - id: risk",
        "  - id: risk\n    when: event.data.paid",
        &[
            "32:15 language.unguarded: `risk` may have been skipped, and is null then → guard it: `steps.risk == null ? null : steps.risk.score`, or a `when` with `steps.risk != null`",
        ],
    );
}

#[test]
fn references_branch_not_taken_without_guard() {
    check(
        "steps.pick == null ? null : steps.pick.id",
        "steps.pick.id",
        &[
            "38:25 language.unguarded: `pick` may have been skipped, and is null then → guard it: `steps.pick == null ? null : steps.pick.id`, or a `when` with `steps.pick != null`",
        ],
    );
}

#[test]
fn references_duplicate_id() {
    check(
        "  - id: stock",
        "  - id: risk",
        &["20:5 language.duplicate-id: `risk` is already the id of the step in line 17 → give this step another id"],
    );
}

#[test]
fn references_unknown_variable() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ order }",
        &["19:14 language.unknown-variable: there is no `order` → did you mean `steps.order`?"],
    );
}

#[test]
fn references_unknown_config() {
    check(
        "config.small",
        "config.smal",
        &["26:42 language.unknown-variable: `config` has no `smal` → did you mean `small`?"],
    );
}

#[test]
fn references_item_outside_for() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ item.sku }",
        &["19:14 language.unknown-variable: there is no `item` here → only steps inside a `for` have an `item`"],
    );
}

#[test]
fn references_steps_in_a_key() {
    check(
        "key: event.subject",
        "key: steps.order.id",
        &[
            "9:6 language.unknown-variable: there is no `steps` here → before a run begins there are only `event` and `config`",
        ],
    );
}

#[test]
fn references_expression_syntax() {
    check(
        "steps.risk.score > 0.9",
        "steps.risk.score >> 0.9",
        &[
            "31:33 language.expression-syntax: this expression cannot be read: extraneous input '>' → mend it here; texts are quoted, `==` compares, `&&` and `||` join",
        ],
    );
}

#[test]
fn references_expression_syntax_inside_text() {
    check(
        "order ${ event.subject } of",
        "order ${ event..subject } of",
        &[
            "22:68 language.expression-syntax: this expression cannot be read: no viable alternative at input '..' → mend it here; texts are quoted, `==` compares, `&&` and `||` join",
        ],
    );
}

#[test]
fn references_unknown_function() {
    check(
        "size(steps.order.lines)",
        "len(steps.order.lines)",
        &[
            "26:18 language.unknown-function: there is no function `len` → one of `size`, `contains`, `startsWith`, `endsWith`, `matches`, `string`, `int`, `uint`, `double`, `bool`, `bytes`, `type`, …",
        ],
    );
}

#[test]
fn references_verdict_of_no_rule() {
    check(
        "    with: ${ steps.order }",
        "    with: ${ verdict.order.outcome }",
        &["19:14 language.unknown-step: `order` is not a rule, and has no verdict → `steps.order` is its output"],
    );
}

#[test]
fn references_unknown_var_set() {
    check(
        "  - id: way",
        "  - set: { count: 1 }\n  - id: way",
        &["24:12 language.unknown-variable: `vars` has no `count` → declare it in `vars`, with its initial value"],
    );
}

#[test]
fn references_undo_of_what_cannot_be_undone() {
    check(
        "  - id: way",
        "  - undo: [stock]\n  - id: way",
        &[
            "24:12 language.nothing-to-undo: `stock` does not say how it is undone → give `stock` a `compensate`, or leave it out here",
        ],
    );
}

#[test]
fn references_after_the_end() {
    check(
        "  - id: way",
        "  - end: enough\n  - id: way",
        &[
            "25:5 language.unreachable: the run has ended before this step → put a `when` on the `end`, or leave out what follows it",
        ],
    );
}

#[test]
fn references_unknown_signal() {
    check(
        "  - id: way",
        "  - wait: { event: wms.pick.shipped.v1, match: signal.subject == event.subject, within: 1d, on_expiry: { as: shiped } }\n  - id: way",
        &["24:104 language.unknown-signal: this wait has no signal `shiped` → only `signal` is possible here"],
    );
}

#[test]
fn references_match_of_nothing() {
    check(
        "  - id: way",
        "  - wait: { event: wms.pick.shipped.v1, match: signal.data.ok, within: 1d }\n  - id: way",
        &[
            "24:48 language.match: this does not tie the signal to this run → compare something of both, such as `signal.data.order == event.subject`",
        ],
    );
}

#[test]
fn an_erp_write_without_read_back_is_advised_against_but_accepted() {
    let world = super::stubs::World::new();
    let advice = |text: &str| {
        let definition = crate::flow::language::parse(text).unwrap();
        lines(&crate::flow::language::advise(&definition, &world.environment()))
    };
    let text = include_str!("../fixtures/orders.yaml");
    assert_eq!(advice(text), [""; 0]);
    assert_eq!(
        advice(&text.replacen("wms#create_pick", "erp#reserve", 1)),
        ["29:23 language.write-without-read-back: nothing reads back what `reserve` wrote to the ERP → read it back \
             with a `call` after it, so that \"sent\" becomes \"posted\""]
    );
    for text in [include_str!("../fixtures/fulfilment.yaml"), include_str!("../fixtures/replenishment.yaml")] {
        assert_eq!(advice(text), [""; 0]);
    }
}
