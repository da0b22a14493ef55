//! What people get wrong in YAML itself.

use super::check;

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
