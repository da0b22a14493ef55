//! Names that stand for nothing, or for something else.

use super::check;

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
