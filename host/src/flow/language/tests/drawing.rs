//! Drawings, and how a problem looks to people.

use super::diagnose;
use crate::flow::language::{graph, parse};

#[test]
fn the_tree_reads_like_the_text() {
    let definition = parse(include_str!("../fixtures/orders.yaml")).unwrap();
    insta::assert_snapshot!(graph(&definition).text(), @r#"
    retail/orders 1.0.0
    ◆ retail.order.placed.v1
    ├─ order  transform crossdock/shopify-order@^1
    ├─ risk   score crossdock/order-risk@^1
    ├─ stock  call wms#availability  (up to 3 attempts)
    ├─ way    switch
    │  ├╴when size(steps.order.lines) <= config.small
    │  │ └─ pick  call wms#create_pick
    │  ├╴when steps.risk.score > 0.9
    │  │ └─ ·  emit retail.order.suspicious.v1
    │  └╴otherwise
    │    └─ ·  emit retail.order.large.v1
    └─ ·      emit retail.order.planned.v1
    "#);
}

#[test]
fn loops_and_parallel_branches_are_drawn() {
    let definition = parse(include_str!("../fixtures/fulfilment.yaml")).unwrap();
    insta::assert_snapshot!(graph(&definition).text(), @r#"
    retail/distributed-fulfilment 1.0.0
    ◆ retail.order.placed.v1 where event.data.financial_status == "paid"
    ├─ order      transform crossdock/shopify-order@^1
    ├─ fraud      score crossdock/order-risk@^1  (with a fallback)
    ├─ validate   rule crossdock/order-validation@^2  (hold: ask fraud-desk within 2h)
    ├─ erp_order  call erp#create_order  (confirmed by read_order; up to 8 attempts; within 4h; undone by cancel_order)
    ├─ placed     loop until steps.result.kind == "shipped"  (if exhausted, park for people)
    │  ├─ facts        parallel
    │  │  ├╴stock
    │  │  │ └─ ·  call wms#availability
    │  │  └╴quotes
    │  │    └─ ·  call carriers#quote  (with a fallback)
    │  ├─ ranking      score crossdock/node-ranking@^1
    │  ├─ plan         rule crossdock/fulfilment-policy@^1  (hold: ask fulfilment-leads within 1h)
    │  ├─ reservation  call erp#reserve  (confirmed by read_reservation; undone by release)
    │  ├─ pick         call wms#create_pick  (undone by cancel_pick)
    │  ├─ result       wait wms.pick.shipped.v1 or wms.pick.rejected.v1  (within 1d; else as rejected)
    │  └─ ·            undo pick, reservation  (when steps.result.kind != "shipped")
    ├─ tell       emit retail.order.shipped.v1
    └─ on_error   if a step fails for good  (compensates all)
       └─ ·  emit retail.order.failed.v1
    "#);
}

#[test]
fn mermaid_joins_the_branches_again() {
    let definition = parse(include_str!("../fixtures/orders.yaml")).unwrap();
    insta::assert_snapshot!(graph(&definition).mermaid(), @r#"
    flowchart TD
        start(["retail.order.placed.v1"])
        n1["<b>order</b><br/>transform crossdock/shopify-order@^1"]
        start --> n1
        n2["<b>risk</b><br/>score crossdock/order-risk@^1"]
        n1 --> n2
        n3["<b>stock</b><br/>call wms#availability<br/><i>up to 3 attempts</i>"]
        n2 --> n3
        n4{{"<b>way</b><br/>switch"}}
        n3 --> n4
        n5["<b>pick</b><br/>call wms#create_pick"]
        n4 -->|"when size(steps.order.lines) &lt;= config.small"| n5
        n6["emit retail.order.suspicious.v1"]
        n4 -->|"when steps.risk.score &gt; 0.9"| n6
        n7["emit retail.order.large.v1"]
        n4 -->|"otherwise"| n7
        n8["emit retail.order.planned.v1"]
        n5 --> n8
        n6 --> n8
        n7 --> n8
        done(["done"])
        n8 --> done
    "#);
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_caret() {
    let text = include_str!("../fixtures/orders.yaml").replacen("${ steps.order }", "${ steps.ordr }", 1);
    let rendered: String = diagnose(&text).iter().map(|one| one.render("orders.yaml", &text)).collect();
    insta::assert_snapshot!(rendered, @r#"
    error[language.unknown-step]: there is no step `ordr`
      --> orders.yaml:19:14
       |
    19 |     with: ${ steps.ordr }
       |              ^
       = instead: did you mean `order`?
    "#);
}
