//! Whom webhook sources let in: a change that lets somebody else start runs, or have them started by more or by other
//! events than before, needs a second person. Pure.

use crate::model::connection::{SecretRef, WebhookSource};

/// What a source lets in beyond what it did, in words; before: none, or as it is. `known` are the secrets that prove its
/// sender already.
#[must_use]
pub fn let_in_beyond(before: Option<&WebhookSource>, known: &[&SecretRef], after: &WebhookSource) -> Vec<String> {
    let mut wider = Vec::new();
    if before.is_none_or(|before| before.source != after.source) {
        wider.push(format!("events come in as `{}`", after.source));
    }
    let known_types = before.map(|before| before.types.as_slice()).unwrap_or_default();
    let more = after.types.iter().filter(|wanted| !known_types.contains(wanted));
    wider.extend(more.map(|wanted| format!("events of type `{wanted}` come in")));
    if !known.contains(&&after.secret) {
        wider.push(format!("whoever signs with `{}` is let in", after.secret));
    }
    if let Some(before) = before.filter(|before| before.plugin != after.plugin) {
        wider.push(format!("the code of `{}` takes the place of `{}`", after.plugin, before.plugin));
    }
    wider
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(change: &str) -> WebhookSource {
        let fields = ["plugin = \"acme/shop\"", "source = \"/eu\"", "types = [\"a\", \"b\"]", "secret = \"env:A\""];
        let changed = change.split(" = ").next().unwrap();
        let mut text: Vec<&str> = fields.into_iter().filter(|field| !field.starts_with(changed)).collect();
        text.push(change);
        toml::from_str(&text.join("\n")).unwrap()
    }

    #[track_caller]
    fn check(before: Option<&str>, after: &str, expected: &[&str]) {
        let before = before.map(source);
        let known: Vec<&SecretRef> = before.iter().map(|before| &before.secret).collect();
        assert_eq!(let_in_beyond(before.as_ref(), &known, &source(after)), expected, "{before:?} {after}");
    }

    #[test]
    fn a_new_source_and_more_of_an_old_one_are_more() {
        let plain = "body_bytes_limit = 1000";
        let all = [
            "events come in as `/eu`",
            "events of type `a` come in",
            "events of type `b` come in",
            "whoever signs with `env:A` is let in",
        ];
        check(None, plain, &all);
        check(Some(plain), "source = \"/us\"", &["events come in as `/us`"]);
        check(Some(plain), "types = [\"b\", \"c\"]", &["events of type `c` come in"]);
        check(Some(plain), "secret = \"store:a\"", &["whoever signs with `store:a` is let in"]);
        check(Some(plain), "plugin = \"acme/other\"", &["the code of `acme/other` takes the place of `acme/shop`"]);
        check(Some(plain), "types = [\"b\"]", &[]);
        check(Some(plain), "body_bytes_limit = 2000", &[]);
    }

    #[test]
    fn a_secret_that_still_proves_its_sender_is_nothing_new() {
        let (old, new) = (SecretRef::Env("OLD".into()), SecretRef::Env("A".into()));
        let back = source("secret = \"env:OLD\"");
        assert_eq!(let_in_beyond(Some(&source("secret = \"env:A\"")), &[&new, &old], &back), Vec::<String>::new());
    }
}
