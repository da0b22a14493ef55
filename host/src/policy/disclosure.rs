//! What leaves the hub for others: events that are delivered to their endpoints, and reads that are published for them. A
//! change that gives them more than before, or gives it to somebody else, needs a second person. Pure.

use super::egress::Origin;
use crate::model::{api::Publication, connection::SecretRef, id::ContractId, subscription::Subscription};

/// What a subscription lets out beyond what it did, in words; before: none, or as it is.
#[must_use]
pub fn delivered_beyond(before: Option<&Subscription>, after: &Subscription) -> Vec<String> {
    let mut wider = Vec::new();
    // A path may be somebody else's on the same host; it may hold a token too, and is not repeated.
    if before.is_none_or(|before| before.url != after.url) {
        let origin = Origin::parse(&after.url).map_or_else(|_| "…".to_owned(), |origin| origin.to_string());
        wider.push(match before {
            None => format!("events are delivered to `{origin}`"),
            Some(_) => format!("events are delivered to another place, at `{origin}`"),
        });
    }
    let known = before.map(|before| before.types.as_slice()).unwrap_or_default();
    let more = after.types.iter().filter(|wanted| !known.iter().any(|known| covers(known, wanted)));
    wider.extend(more.map(|wanted| format!("events of type `{wanted}` are delivered")));
    if after.accepted && before.is_none_or(|before| !before.accepted) {
        wider.push("events that come from outside are delivered too".to_owned());
    }
    if before.is_none_or(|before| before.owner != after.owner) {
        wider.push(format!("`{}` sees it, holds it and has it delivered again", after.owner));
    }
    let known = before.map(|before| before.allow_addresses.as_slice()).unwrap_or_default();
    let more = after.allow_addresses.iter().filter(|block| !known.contains(block));
    wider.extend(more.map(|block| format!("it reaches addresses `{block}`")));
    let known = before.map(|before| before.secrets.as_slice()).unwrap_or_default();
    let more = after.secrets.iter().filter(|secret| !known.contains(secret));
    // One that the hub keeps and nothing else uses proves nothing but this subscription.
    let more = more.filter(|secret| !matches!(secret, SecretRef::Store(_)));
    wider.extend(more.map(|secret| format!("it signs with `{secret}`")));
    wider
}

/// Whether whatever fits one pattern of event types fits another.
fn covers(known: &str, wanted: &str) -> bool {
    match (known.strip_suffix('*'), wanted.strip_suffix('*')) {
        (Some(known), wanted_beginning) => wanted_beginning.unwrap_or(wanted).starts_with(known),
        (None, _) => known == wanted,
    }
}

/// What a publication gives to others beyond what it did, in words; before: none that still answers, or as it is.
#[must_use]
pub fn published_beyond(contract: &ContractId, before: Option<&Publication>, after: &Publication) -> Vec<String> {
    let Publication { connection, .. } = after;
    let mut wider = Vec::new();
    if before.is_none_or(|before| before.connection != *connection) {
        wider.push(format!("whoever may ask `{contract}` is answered through connection `{connection}`"));
    }
    let is_new = |operation: &&String| before.is_none_or(|before| !before.operations.contains(*operation));
    let more = after.operations.iter().filter(is_new);
    wider.extend(more.map(|operation| format!("whoever may ask `{contract}` is given its `{operation}`")));
    if let Some(ended) = before.and_then(|before| before.sunset) {
        match after.sunset {
            None => wider.push(format!("it ends no more, where it was to at {ended}")),
            Some(end) if end > ended => wider.push(format!("it ends at {end}, not at {ended}")),
            Some(_) => {}
        }
    }
    wider
}

#[cfg(test)]
mod tests {
    use super::{delivered_beyond, published_beyond};
    use crate::model::{api::Publication, subscription::Subscription};

    fn subscription(change: &str) -> Subscription {
        let fields = [
            "owner = \"acme\"",
            "types = [\"retail.*\", \"a.b\"]",
            "url = \"https://acme.example/in\"",
            "secrets = [\"env:A\"]",
        ];
        let changed = change.split(" = ").next().unwrap();
        let mut text: Vec<&str> = fields.into_iter().filter(|field| !field.starts_with(changed)).collect();
        text.push(change);
        toml::from_str(&text.join("\n")).unwrap()
    }

    #[track_caller]
    fn delivered(before: Option<&str>, after: &str, expected: &[&str]) {
        let before = before.map(subscription);
        assert_eq!(delivered_beyond(before.as_ref(), &subscription(after)), expected, "{before:?} {after}");
    }

    #[test]
    fn a_new_subscription_and_more_of_an_old_one_are_more() {
        let plain = "concurrency = 4";
        delivered(
            None,
            "accepted = true",
            &[
                "events are delivered to `https://acme.example`",
                "events of type `retail.*` are delivered",
                "events of type `a.b` are delivered",
                "events that come from outside are delivered too",
                "`acme` sees it, holds it and has it delivered again",
                "it signs with `env:A`",
            ],
        );
        let other = "events are delivered to another place, at `https://acme.example`";
        delivered(Some(plain), "url = \"https://acme.example/other?token=s3cret\"", &[other]);
        delivered(Some(plain), "types = [\"retail.order.*\", \"a.b\"]", &[]);
        delivered(Some(plain), "types = [\"ret*\"]", &["events of type `ret*` are delivered"]);
        delivered(Some(plain), "types = [\"a.*\"]", &["events of type `a.*` are delivered"]);
        delivered(Some(plain), "types = [\"a.bc\"]", &["events of type `a.bc` are delivered"]);
        delivered(Some(plain), "accepted = true", &["events that come from outside are delivered too"]);
        delivered(Some("accepted = true"), plain, &[]);
        delivered(Some(plain), "owner = \"rival\"", &["`rival` sees it, holds it and has it delivered again"]);
        delivered(Some(plain), "allow_addresses = [\"10.0.0.0/8\"]", &["it reaches addresses `10.0.0.0/8`"]);
        delivered(Some(plain), "secrets = [\"env:A\", \"file:/b\"]", &["it signs with `file:/b`"]);
        delivered(Some(plain), "secrets = [\"store:acme\"]", &[]);
        delivered(Some(plain), "timeout_ms = 9", &[]);
    }

    #[track_caller]
    fn published(before: Option<&str>, after: &str, expected: &[&str]) {
        let publication = |text: &str| -> Publication { toml::from_str(text).unwrap() };
        let before = before.map(publication);
        let contract = "retail/erp-orders@1".parse().unwrap();
        assert_eq!(published_beyond(&contract, before.as_ref(), &publication(after)), expected, "{before:?} {after}");
    }

    #[test]
    fn a_new_publication_and_more_of_an_old_one_are_more() {
        let plain = "connection = \"erp\"\noperations = [\"read_order\"]";
        let through = "whoever may ask `retail/erp-orders@1` is answered through connection `erp`";
        let given = |operation: &str| format!("whoever may ask `retail/erp-orders@1` is given its `{operation}`");
        published(None, plain, &[through, &given("read_order")]);
        let more = "connection = \"erp\"\noperations = [\"find_order\", \"read_order\"]\ncache_s = 60";
        published(Some(plain), more, &[&given("find_order")]);
        published(Some(more), plain, &[]);
        published(Some("connection = \"sap\"\noperations = [\"read_order\"]"), plain, &[through]);
        let ends = |year: u32| format!("{plain}\nsunset = \"{year}-01-01T00:00:00Z\"");
        published(Some(plain), &ends(2999), &[]);
        published(Some(&ends(2030)), &ends(2029), &[]);
        let later = "it ends at 2031-01-01T00:00:00.000Z, not at 2030-01-01T00:00:00.000Z";
        published(Some(&ends(2030)), &ends(2031), &[later]);
        published(Some(&ends(2030)), plain, &["it ends no more, where it was to at 2030-01-01T00:00:00.000Z"]);
    }
}
