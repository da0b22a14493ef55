//! Two versions beside each other, whichever two: what is told of them.

use super::{
    super::difference::{Difference, Names, Reach},
    *,
};

fn between(before: &Draft, after: &Draft) -> Difference {
    Difference::between(&before.subject(), &after.subject(), &references())
}

#[test]
fn capabilities_are_unchanged_narrowed_or_widened() {
    let (both, one) = ("methods = [\"GET\", \"POST\"]", "methods = [\"GET\"]");
    let (all, less) = (Draft::connector(), Draft::connector().replace(both, one));
    let more_memory = less.clone().replace("memory_bytes = 16000000", "memory_bytes = 32000000");
    for (name, before, after, expected) in [
        ("the same", &all, &all, Reach::Unchanged),
        ("a method less", &all, &less, Reach::Narrowed),
        ("a method more", &less, &all, Reach::Widened),
        ("a method less and more memory", &all, &more_memory, Reach::Widened),
    ] {
        assert_eq!(between(before, &after.clone().version("1.1.0")).capabilities, expected, "{name}");
    }
}

#[test]
fn what_the_manifest_says_otherwise_is_told_field_by_field() {
    let after = Draft::rule().version("1.0.1").replace("summary = \"x\"", "summary = \"y\"");
    let mut after = after.replace("outcomes = [\"proceed\", \"hold\"]", "outcomes = [\"proceed\"]");
    after.imports = vec!["crossdock:plugin/log@1.0.0", "crossdock:plugin/context@1.0.0"];
    after.content = "other code";
    let found = between(&Draft::rule(), &after);
    let fields: Vec<&str> = found.manifest.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(fields, ["summary", "rule.outcomes"], "the number is told apart: {found:#?}");
    assert_eq!(found.manifest[0].after, Some(json!("y")));
    let imports = Names {
        added: vec!["crossdock:plugin/context@1.0.0".to_owned()],
        removed: vec!["wasi:io/streams@0.2.6".to_owned()],
    };
    assert_eq!((found.imports, found.exports), (imports, Names::default()));
    assert_ne!(found.component.from, found.component.to);
    assert_eq!((found.from.to_string(), found.to.to_string()), ("1.0.0".to_owned(), "1.0.1".to_owned()));
}

#[test]
fn the_later_version_may_be_the_earlier_number() {
    let (first, second) = (Draft::rule(), Draft::rule().version("1.1.0"));
    let found = between(&second, &first);
    assert!(found.findings.iter().any(|finding| finding.rule == "version.not-higher"), "{found:#?}");
    let found = between(&first, &first);
    assert_eq!((found.findings.len(), found.manifest.len(), found.bump), (0, 0, Bump::Patch), "{found:#?}");
}
