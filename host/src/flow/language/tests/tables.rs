//! Reference tables in a pipeline: where they may be named, and what people get wrong.

use super::{diagnose, lines};

const TABLES: &str = "    with: ${ tables.prices[event.data.sku] }\n    tables: { prices: retail/prices@^1 }\n";

/// The small pipeline whose first step has these lines in place of its `with`, and everything that is found then.
#[track_caller]
fn check(first: &str, expected: &[&str]) {
    let text = include_str!("../fixtures/orders.yaml");
    let text = text.replacen("    with: ${ event.data }\n", first, 1);
    assert_eq!(lines(&diagnose(&text)), expected);
}

#[test]
fn a_step_that_names_a_table_may_look_into_it() {
    check(TABLES, &[]);
    check(&TABLES.replace("[event.data.sku]", ""), &[]);
    check(&TABLES.replace("tables.prices[event.data.sku]", "tables['prices']['A']"), &[]);
    let both =
        TABLES.replace("${ tables.prices[event.data.sku] }", "{ all: '${ tables.prices }', d: \"${ event.data }\" }");
    check(&both, &[]);
}

#[test]
fn a_table_that_there_is_not_is_refused_where_it_is_written() {
    check(
        &TABLES.replace("retail/prices@", "retail/price@"),
        &["16:23 language.unknown-table: no table is called `retail/price` → did you mean `retail/prices`?"],
    );
    check(
        &TABLES.replace("@^1", "@^2"),
        &["16:23 language.no-version: no version of table `retail/prices` is within `^2` → there is: 1.2.0"],
    );
    check(
        &TABLES.replace("@^1", ""),
        &[
            "16:23 language.range: `retail/prices` does not say which versions will do → add a range, such as `retail/prices@^1`",
        ],
    );
    check(
        &TABLES.replace("retail/prices@^1", "prices@^1"),
        &[
            "16:23 language.name: `prices` is not a table's name → `namespace/name`, of a-z, 0-9 and `-`, such as `retail/prices@^1`",
        ],
    );
}

#[test]
fn a_step_looks_only_into_the_tables_that_it_names() {
    check(
        &TABLES.replace("tables.prices", "tables.price"),
        &["15:14 language.unknown-table: this step has no table `price` → did you mean `prices`?"],
    );
    check(
        &TABLES.replace("tables.prices[event.data.sku]", "size(tables)"),
        &[
            "15:19 language.unknown-table: `tables` alone is every table of the step → name one, such as `tables.prices`",
        ],
    );
}

#[test]
fn only_a_steps_own_input_has_tables() {
    let elsewhere = "only the `with` of a step that names them in its `tables` has tables";
    check(
        &format!("{TABLES}    on_error: {{ use: '${{ tables.prices }}' }}\n"),
        &[&format!("17:26 language.unknown-variable: there is no `tables` here → {elsewhere}")],
    );
    check(
        &format!("{TABLES}    fallback: {{ value: '${{ tables.prices }}' }}\n"),
        &[&format!("17:28 language.unknown-variable: there is no `tables` here → {elsewhere}")],
    );
}
