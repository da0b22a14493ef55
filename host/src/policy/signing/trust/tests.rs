//! Who signed what, whose signature counts, and when.

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{
        id::Digest,
        manifest::Kind,
        surface::{Interface, Surface},
    },
    policy::seal::PrivateKey,
};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn descriptor(id: &str, version: &str) -> Descriptor {
    let manifest = format!(
        "id = \"{id}\"\nversion = \"{version}\"\nkind = \"rule\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\nsummary = \"x\""
    );
    let files = BTreeMap::from([
        ("component.wasm".to_owned(), Digest::of(b"wasm")),
        ("plugin.toml".to_owned(), Digest::of(manifest.as_bytes())),
    ]);
    let manifest = toml::from_str(&manifest).expect("manifest");
    let exports = BTreeMap::from([("crossdock:plugin/rule@1.0.0".to_owned(), Interface::new())]);
    let surface = Surface { exports, ..Surface::default() };
    Descriptor::of(&manifest, Digest::of(b"wasm"), &surface, files)
}

fn signed(descriptor: &Descriptor, seeds: &[u8]) -> Envelope {
    let mut envelope = Envelope::of(descriptor);
    for seed in seeds {
        envelope.sign(&key(*seed)).expect("signed");
    }
    envelope
}

fn trusted(seed: u8, namespace: &str) -> TrustedKey {
    TrustedKey {
        namespace: namespace.to_owned(),
        key: key(seed).public().to_line(),
        not_before: None,
        not_after: None,
        revoked: None,
        note: None,
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// The rules that refuse a package of `acme/x` which key 1 has signed, under these keys.
fn refusals(keys: Vec<TrustedKey>, moments: Moments) -> Vec<String> {
    let package = descriptor("acme/x", "1.0.0");
    let trust = Trust { unsigned: Some(Unsigned::Refuse), keys };
    let found = check(&package, Some(&signed(&package, &[1])), &trust, moments);
    found
        .iter()
        .filter(|finding| finding.severity == Severity::Refuse)
        .map(|finding| finding.rule.to_string())
        .collect()
}

#[test]
fn a_signature_counts_for_its_namespace_while_its_key_is_valid() {
    let now = Moments::at(at(1_000));
    assert_eq!(refusals(vec![trusted(1, "acme")], now), [""; 0]);
    assert_eq!(refusals(vec![], now), ["signature.untrusted"]);
    assert_eq!(refusals(vec![trusted(2, "acme")], now), ["signature.untrusted"]);
    assert_eq!(refusals(vec![trusted(1, "globex")], now), ["signature.other-namespace"]);
    let later = TrustedKey { not_before: Some(at(1_001)), ..trusted(1, "acme") };
    assert_eq!(refusals(vec![later], now), ["signature.key-not-valid"]);
    let earlier = TrustedKey { not_after: Some(at(1_000)), ..trusted(1, "acme") };
    assert_eq!(refusals(vec![earlier.clone()], now), ["signature.key-not-valid"]);
    // What was taken in time goes on.
    assert_eq!(refusals(vec![earlier], Moments { taken: at(999), now: at(5_000) }), [""; 0]);
}

#[test]
fn a_revoked_key_stops_everything_it_ever_signed() {
    let revoked = TrustedKey { revoked: Some(at(500)), ..trusted(1, "acme") };
    let taken_long_before = Moments { taken: at(1), now: at(1_000) };
    assert_eq!(refusals(vec![revoked.clone()], taken_long_before), ["signature.key-revoked"]);
    // Until then it counts, so that a revocation can be announced.
    assert_eq!(refusals(vec![revoked.clone()], Moments { taken: at(1), now: at(499) }), [""; 0]);
    // Another entry of the same key does not save it.
    assert_eq!(refusals(vec![revoked, trusted(1, "acme")], taken_long_before), ["signature.key-revoked"; 2]);
}

#[test]
fn keys_are_changed_by_signing_with_both() {
    let package = descriptor("acme/x", "1.0.0");
    let (old, new) = (TrustedKey { revoked: Some(at(10)), ..trusted(1, "acme") }, trusted(2, "acme"));
    let both = signed(&package, &[1, 2]);
    let keys = [old, new];
    assert!(still_holds(&both, "acme", &keys, Moments { taken: at(1), now: at(20) }));
    assert!(!still_holds(&signed(&package, &[1]), "acme", &keys, Moments { taken: at(1), now: at(20) }));
    let states: Vec<Standing> = standings(&both, "acme", &keys, Moments { taken: at(1), now: at(20) })
        .into_iter()
        .map(|it| it.standing)
        .collect();
    assert_eq!(states, [Standing::Revoked { at: at(10) }, Standing::Holds]);
}

#[test]
fn a_signature_of_another_package_says_nothing() {
    let trust = Trust { unsigned: Some(Unsigned::Note), keys: vec![trusted(1, "acme")] };
    let package = descriptor("acme/x", "1.0.0");
    let mut changed = package.clone();
    changed.files.insert("component.wasm".to_owned(), Digest::of(b"other"));
    let mut more = package.clone();
    more.files.insert("assets/door".to_owned(), Digest::of(b"x"));
    let mut less = package.clone();
    less.files.remove("plugin.toml");
    let mut imports = package.clone();
    imports.imports.push("wasi:http/outgoing-handler@0.2.0".to_owned());
    for (other, rule, said) in [
        (descriptor("acme/y", "1.0.0"), "signature.of-another-package", "`acme/y@1.0.0`"),
        (descriptor("acme/x", "1.0.1"), "signature.of-another-package", "`acme/x@1.0.1`"),
        (changed, "signature.content-differs", "`component.wasm` was changed"),
        (more, "signature.content-differs", "`assets/door` was removed"),
        (less, "signature.content-differs", "`plugin.toml` was added"),
        (imports, "signature.content-differs", "imports"),
    ] {
        let found = check(&package, Some(&signed(&other, &[1])), &trust, Moments::at(at(0)));
        assert!(found.len() == 1 && found[0].rule == rule && found[0].found.contains(said), "{found:?}");
        assert_eq!(found[0].severity, Severity::Refuse, "even where nothing has to be signed");
    }
}

#[test]
fn a_document_of_another_type_or_a_hint_at_a_key_proves_nothing() {
    let package = descriptor("acme/x", "1.0.0");
    let mut envelope = signed(&package, &[2]);
    // Says that key 1 made it.
    envelope.signatures[0].keyid = key(1).public().id().to_string();
    assert!(standings(&envelope, "acme", &[trusted(1, "acme")], Moments::at(at(0))).is_empty());
    // Key 1 signed the same bytes, but as something else.
    let mut envelope = Envelope::of(&package);
    envelope.signatures = vec![crate::policy::signing::envelope::Signature {
        keyid: String::new(),
        sig: key(1).sign(&package.to_bytes()),
    }];
    assert!(standings(&envelope, "acme", &[trusted(1, "acme")], Moments::at(at(0))).is_empty());
    let renamed = signed(&package, &[1]).to_bytes();
    let renamed = String::from_utf8(renamed).expect("text").replace("vnd.crossdock.plugin", "vnd.crossdock.other");
    assert!(Envelope::read(renamed.as_bytes()).is_err());
}

#[test]
fn what_is_not_signed_is_noted_or_refused_as_the_operator_says() {
    let package = descriptor("acme/x", "1.0.0");
    for (unsigned, severity) in [(Unsigned::Note, Severity::Note), (Unsigned::Refuse, Severity::Refuse)] {
        let found = check(&package, None, &Trust { unsigned: Some(unsigned), keys: vec![] }, Moments::at(at(0)));
        assert_eq!((&*found[0].rule, found[0].severity), ("signature.absent", severity));
    }
    assert_eq!(package.kind, Kind::Rule);
}

#[test]
fn a_descriptor_is_one_text() {
    let bytes = descriptor("acme/x", "1.0.0").to_bytes();
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.starts_with("{\"format\":1,\"id\":\"acme/x\",\"version\":\"1.0.0\",\"kind\":\"rule\""), "{text}");
    let again: Descriptor = serde_json::from_str(&text).expect("read");
    assert_eq!(String::from_utf8(again.to_bytes()).expect("text"), text);
}

#[test]
fn trust_is_written_in_toml() {
    let line = key(1).public().to_line();
    let text = format!(
        "unsigned = \"refuse\"\n[[keys]]\nnamespace = \"acme\"\nkey = \"{line}\"\nnot_after = \"2027-01-01T00:00:00.000Z\"\n"
    );
    let trust: Trust = toml::from_str(&text).expect("trust");
    assert_eq!(trust.unsigned(), Unsigned::Refuse);
    assert!(trust.keys[0].not_after.is_some() && trust.keys[0].revoked.is_none());
    assert!(toml::from_str::<Trust>("[[keys]]\nnamespace = \"a\"\nkey = \"b\"\nowner = \"c\"").is_err());
}

#[test]
fn what_was_taken_is_lost_only_with_every_signature_that_counted() {
    let package = descriptor("acme/x", "1.0.0");
    let envelope = signed(&package, &[1, 2]);
    let revoked = |seed| TrustedKey { revoked: Some(at(500)), ..trusted(seed, "acme") };
    let moments = |now| Moments { taken: at(100), now: at(now) };
    let why = |keys: Vec<TrustedKey>, now| lost(&envelope, "acme", &keys, moments(now));
    assert_eq!(why(vec![trusted(1, "acme")], 1_000), None);
    assert_eq!(why(vec![revoked(1)], 499), None, "it is revoked from then on");
    let told = why(vec![revoked(1)], 500).expect("lost");
    assert!(told.contains("the key was revoked at 1970-01-01T00:00:00.500Z"), "{told}");
    assert_eq!(why(vec![revoked(1), trusted(2, "acme")], 1_000), None, "the other one holds");
    assert!(why(vec![revoked(1), revoked(2)], 1_000).is_some_and(|told| told.contains("; ")));
    // A key that ran out signed it in time; one that had run out before did not.
    let until = |time| TrustedKey { not_after: Some(at(time)), ..trusted(1, "acme") };
    assert_eq!(why(vec![until(200)], 1_000), None);
    assert!(why(vec![until(50)], 1_000).is_some());
    assert_eq!(why(vec![], 1_000), None, "a key that is gone says nothing");
    assert_eq!(why(vec![trusted(3, "acme")], 1_000), None, "nor does one that signed something else");
}

#[test]
fn whoever_trusts_a_key_asks_for_signatures_unless_they_say_otherwise() {
    let read = |text: &str| toml::from_str::<Trust>(text).unwrap().unsigned();
    assert_eq!(read(""), Unsigned::Note);
    assert_eq!(read("[[keys]]\nnamespace = \"a\"\nkey = \"x\""), Unsigned::Refuse);
    assert_eq!(read("unsigned = \"note\"\n[[keys]]\nnamespace = \"a\"\nkey = \"x\""), Unsigned::Note);
}
