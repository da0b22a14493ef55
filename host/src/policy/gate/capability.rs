//! What a version may touch, beside what the one before could: none, narrowed, **widened**. Widening never depends on the
//! version number: it asks for a new consent.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bump, Finding, Severity, subject::Subject};
use crate::model::{auth::Scheme, limits::Limits, manifest::Manifest};

/// One thing that a plugin may do, in words; what it is about, and where the manifest says so.
type Power = (String, String);

/// What a first version asks for, for whoever grants it.
pub(super) fn declared(candidate: &Subject) -> Vec<Finding> {
    powers(&candidate.manifest)
        .into_iter()
        .map(|(text, place)| Finding::new("capability.declared", Severity::Note, place, format!("it may {text}")))
        .collect()
}

/// Everything that a manifest asks for.
fn powers(manifest: &Manifest) -> BTreeSet<Power> {
    let mut powers = BTreeSet::new();
    for http in &manifest.capabilities.http {
        let place = "capabilities.http".to_owned();
        for method in &http.methods {
            let origin = origin(&http.origin);
            powers.insert((format!("send {method} requests to `{origin}`"), place.clone()));
            if http.authenticate {
                let text = format!("have the connection's credentials placed in {method} requests to `{origin}`");
                powers.insert((text, place.clone()));
            }
        }
    }
    for bucket in &manifest.capabilities.state {
        powers.insert((format!("keep state in bucket `{bucket}`"), "capabilities.state".to_owned()));
    }
    for secret in manifest.secrets.keys() {
        powers.insert((format!("sign and verify with secret `{secret}`"), "secrets".to_owned()));
    }
    for (name, operation) in &manifest.operations {
        for method in &operation.read_methods {
            let text = format!("send {method} requests while it only reads, in operation `{name}`");
            powers.insert((text, format!("operations.{name}.read_methods")));
        }
    }
    powers
}

/// Origins are compared as they are called: scheme and host in lower case, no default port, no slash at the end.
fn origin(text: &str) -> String {
    let text = text.trim().trim_end_matches('/');
    if text.starts_with("${") {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let without_port = match lower.split_once("://") {
        Some(("https", _)) => lower.strip_suffix(":443"),
        Some(("http", _)) => lower.strip_suffix(":80"),
        _ => None,
    };
    without_port.map_or_else(|| lower.clone(), str::to_owned)
}

/// What a version may do that the one before could not, and that somebody therefore has to agree to, in words.
#[must_use]
pub fn widened(previous: &Manifest, candidate: &Manifest) -> Vec<String> {
    let found = compare(previous, candidate).into_iter().filter(|finding| finding.severity == Severity::Consent);
    found.map(|finding| finding.found).collect()
}

/// What a version may do that the one before could not, and the other way round.
pub(super) fn compare(previous: &Manifest, candidate: &Manifest) -> Vec<Finding> {
    let (old, new) = (powers(previous), powers(candidate));
    let mut found = Vec::new();
    for (text, place) in new.difference(&old) {
        let finding = Finding::new("capability.widened", Severity::Consent, place, format!("it may now {text}"));
        let finding =
            finding.change("an operator has to agree before it serves anything; leave it out if it can do without");
        // A connection that was configured without the secret does not open any more.
        found.push(if place == "secrets" { finding.bump(Bump::Major) } else { finding.bump(Bump::Minor) });
    }
    for (text, place) in old.difference(&new) {
        let text = format!("it may no longer {text}");
        found.push(Finding::new("capability.narrowed", Severity::Note, place, text).bump(Bump::Patch));
    }
    compare_schemes(&previous.authentication, &candidate.authentication, &mut found);
    compare_limits(&previous.limits, &candidate.limits, &mut found);
    compare_vendor(previous, candidate, &mut found);
    found
}

/// How the host proves to the remote who we are; where nothing is declared, in any way.
fn compare_schemes(old: &[Scheme], new: &[Scheme], found: &mut Vec<Finding>) {
    let place = "authentication";
    let said = |only: &[Scheme]| only.iter().map(|scheme| format!("`{scheme}`")).collect::<Vec<_>>().join(" or ");
    let more: Vec<Scheme> = new.iter().filter(|scheme| !old.contains(scheme)).copied().collect();
    let widened = match (old, new) {
        ([], _) => None,
        (_, []) => Some("any scheme".to_owned()),
        _ => (!more.is_empty()).then(|| said(&more)),
    };
    if let Some(how) = widened {
        let text = format!("it may now have requests authenticated by {how}");
        let finding = Finding::new("capability.widened", Severity::Consent, place, text);
        let change = "an operator has to agree before it serves anything; leave it out if it can do without";
        found.push(finding.change(change).bump(Bump::Minor));
    }
    if !new.is_empty() && (old.is_empty() || old.iter().any(|scheme| !new.contains(scheme))) {
        let text = format!("it may have requests authenticated by {} only", said(new));
        let change =
            "connections that authenticate in another way are refused: keep it, or publish a new major version";
        let finding = Finding::new("capability.narrowed", Severity::Note, place, text);
        found.push(finding.change(change).bump(Bump::Major));
    }
}

fn compare_limits(old: &Limits, new: &Limits, found: &mut Vec<Finding>) {
    let (old, new) = (bounds(&old.capped(&Limits::CEILING)), bounds(&new.capped(&Limits::CEILING)));
    for (name, &now) in &new {
        let before = old.get(name).copied().unwrap_or_default();
        let place = format!("limits.{name}");
        if now > before {
            let text = format!("it may use more: {before} becomes {now}");
            let finding = Finding::new("capability.widened", Severity::Consent, place, text);
            let change = "an operator has to agree before it serves anything; keep the limit if it suffices";
            found.push(finding.change(change).bump(Bump::Minor));
        } else if now < before {
            let text = format!("it may use less: {before} becomes {now}");
            let finding = Finding::new("capability.narrowed", Severity::Note, place, text);
            // Documents that were taken, or given, before are too large now.
            let refuses = *name == "input_bytes";
            found.push(if refuses {
                let change = "inputs that were taken before are refused: keep it, or publish a new major version";
                Finding { severity: Severity::Note, ..finding }.change(change).bump(Bump::Major)
            } else {
                finding.bump(Bump::Patch)
            });
        }
    }
}

fn bounds(limits: &Limits) -> BTreeMap<&'static str, u64> {
    let Limits {
        memory_bytes,
        fuel_base,
        fuel_per_input_kib,
        deadline_ms,
        input_bytes,
        output_bytes,
        log_bytes,
        log_lines,
        http_requests,
    } = *limits;
    BTreeMap::from([
        ("memory_bytes", memory_bytes),
        ("fuel_base", fuel_base),
        ("fuel_per_input_kib", fuel_per_input_kib),
        ("deadline_ms", deadline_ms),
        ("input_bytes", input_bytes),
        ("output_bytes", output_bytes),
        ("log_bytes", log_bytes),
        ("log_lines", log_lines.into()),
        ("http_requests", http_requests.into()),
    ])
}

/// What a vendor documents is no grant, but a faster pace reaches the vendor's system all the same.
fn compare_vendor(old: &Manifest, new: &Manifest, found: &mut Vec<Finding>) {
    if old.vendor != new.vendor {
        let text = "the pace that the vendor documents is another";
        found.push(Finding::new("vendor.changed", Severity::Note, "vendor", text).bump(Bump::Patch));
    }
}

#[cfg(test)]
mod tests {
    use super::widened;
    use crate::model::manifest::Manifest;

    #[test]
    fn only_what_is_asked_for_in_addition_is_widened() {
        let manifest = |more: &str| -> Manifest {
            let head = "id = \"a/b\"\nversion = \"1.0.0\"\nkind = \"connector\"\ncontract = \"1.0.0\"\n\
                        license = \"MIT\"\nsummary = \"x\"\n";
            toml::from_str(&format!("{head}{more}")).expect("a manifest")
        };
        let http = |methods: &str, authenticate: bool| {
            manifest(&format!(
                "[[capabilities.http]]\norigin = \"https://a.example\"\nmethods = {methods}\nreason = \"r\"\n\
                 authenticate = {authenticate}\n"
            ))
        };
        let (narrow, wide) = (http("[\"GET\"]", false), http("[\"GET\", \"POST\"]", true));
        assert_eq!(widened(&wide, &narrow), Vec::<String>::new());
        assert_eq!(widened(&wide, &wide), Vec::<String>::new());
        assert_eq!(
            widened(&narrow, &wide),
            [
                "it may now have the connection's credentials placed in GET requests to `https://a.example`",
                "it may now have the connection's credentials placed in POST requests to `https://a.example`",
                "it may now send POST requests to `https://a.example`",
            ]
        );
        let secret = manifest("[secrets]\nkey = \"why\"\n");
        assert_eq!(widened(&manifest(""), &secret), ["it may now sign and verify with secret `key`"]);
        let slower = manifest("[limits]\ndeadline_ms = 20000\n");
        assert_eq!(
            widened(&manifest("[limits]\ndeadline_ms = 10000\n"), &slower),
            ["it may use more: 10000 becomes 20000"]
        );
    }
}
