//! What is installed in the hub that is killed.

/// A package: its name, its kind, the guest, and the rest of its manifest.
pub(super) const PLUGINS: [(&str, &str, &str, &str); 4] = [
    (
        "native",
        "connector",
        "effects",
        r#"
implements = ["bench/target@1"]
[operations.put]
effect = "write"
doubt = { by = "native-key", settle_ms = 20 }
[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["POST", "GET"]
reason = "Writes"
"#,
    ),
    (
        "natural",
        "connector",
        "effects",
        r#"
implements = ["bench/target@1"]
[operations.put]
effect = "write"
doubt = { by = "natural-key", find = "find", settle_ms = 50 }
[operations.find]
effect = "read"
[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["POST", "GET"]
reason = "Writes, and asks what is there"
"#,
    ),
    (
        "blind",
        "connector",
        "effects",
        r#"
implements = ["bench/target@1"]
[operations.put]
effect = "write"
doubt = { by = "none" }
[[capabilities.http]]
origin = "${connection.base_url}"
methods = ["POST", "GET"]
reason = "Writes"
"#,
    ),
    ("well-behaved", "rule", "well_behaved", "[rule]\noutcomes = [\"proceed\"]\n"),
];

/// A pipeline: its name, the remotes that it writes to, and its steps.
///
/// `PUT remote ref` becomes a call that is tried often enough, `UNDO` the compensation of it; see [`text`].
pub(super) const PIPELINES: &[(&str, &[&str], &str)] = &[
    (
        "straight",
        &["native", "natural"],
        r#"
  - { id: shaped, rule: test/well-behaved@^1, with: { order: "${ event.subject }" } }
  - { id: never, when: vars.n > 0, emit: crash.never.v1, data: {} }
  - { id: a, PUT native a }
  - { id: counted, set: { n: "${ vars.n + 1 }" } }
  - { id: chosen, switch: [{ when: vars.n > 0, steps: [{ id: b, PUT natural b }] }] }
  - { id: tried, call: native#put, with: { ref: "${ event.subject + '/tried' }", refuse: true }, on_error: continue }
  - { id: told, emit: crash.done.v1, subject: "${ event.subject }", data: { order: "${ event.subject }" } }
"#,
    ),
    ("after", &["natural"], "  - { id: p, PUT natural p }\n"),
    (
        "undo",
        &["native", "natural"],
        r#"
  - { id: a, PUT native a, UNDO native a }
  - { id: b, PUT natural b, UNDO natural b }
  - { id: c, REFUSED }
"#,
    ),
    (
        "parallel",
        &["native", "natural"],
        r#"
  - id: both
    parallel:
      join: all
      branches:
        left: [{ id: x, PUT native x, UNDO native x }]
        right: [{ id: y, PUT natural y, UNDO natural y }, { id: v, PUT native v, UNDO native v }]
  - { id: z, REFUSED }
"#,
    ),
    (
        "lines",
        &["natural"],
        r#"
  - id: each
    for:
      each: event.data.lines
      at_once: 2
      steps:
        - id: line
          call: natural#put
          with: { ref: "${ event.subject + '/' + item }" }
          retry: { on: retryable, attempts: 40, first: 50ms, factor: 1, max: 200ms }
          compensate: { call: put, with: { ref: "${ 'undo/' + event.subject + '/' + item }" } }
  - { id: z, REFUSED }
"#,
    ),
    (
        "waits",
        &["native", "natural"],
        r#"
  - { id: a, PUT native a }
  - id: go
    wait: { event: crash.go.v1, match: signal.subject == event.subject, within: 1h, on_expiry: dead_letter }
  - { id: nap, wait: { for: 200ms } }
  - { id: b, PUT natural b }
"#,
    ),
    ("child", &["native"], "  - { id: a, PUT native a }\n"),
    (
        "parent",
        &["natural"],
        r#"
  - { id: inner, run: crash/child@^1, with: {} }
  - { id: b, PUT natural b }
"#,
    ),
    ("blind", &["blind"], "  - { id: a, PUT blind a }\n"),
];

const RETRY: &str = "retry: { on: retryable, attempts: 40, first: 50ms, factor: 1, max: 200ms }";

/// The text of a pipeline.
pub(super) fn text(name: &str, steps: &str) -> String {
    let mut steps = steps.replace(
        "REFUSED",
        "call: natural#put, with: { ref: \"${ event.subject + '/z' }\", refuse: \"${ event.data.refuse }\" }, \
         RETRY, on_error: reject",
    );
    for remote in ["native", "natural", "blind"] {
        for reference in ["a", "b", "p", "v", "x", "y"] {
            let put = format!("call: {remote}#put, with: {{ ref: \"${{ event.subject + '/{reference}' }}\" }}, RETRY");
            let undo = format!(
                "compensate: {{ call: put, with: {{ ref: \"${{ 'undo/' + event.subject + '/{reference}' }}\" }} }}"
            );
            steps = steps
                .replace(&format!("PUT {remote} {reference}"), &put)
                .replace(&format!("UNDO {remote} {reference}"), &undo);
        }
    }
    let event = if name == "after" { "crash.done.v1".to_owned() } else { format!("crash.{name}.v1") };
    let uses: Vec<String> = PIPELINES
        .iter()
        .filter(|(known, ..)| *known == name)
        .flat_map(|(_, remotes, _)| remotes.iter().map(|remote| format!("{remote}: bench/target@1")))
        .collect();
    format!(
        "pipeline: crash/{name}\nversion: 1.0.0\nowner: tests\nsummary: For the crash suite.\nuses: {{ {} }}\n\
         trigger: [{{ event: {event} }}]\nkey: event.subject\nvars: {{ n: 0 }}\nsteps:\n{}",
        uses.join(", "),
        steps.replace("RETRY", RETRY).trim_start_matches('\n')
    )
}
