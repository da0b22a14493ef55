//! Which version serves, over pictures made by hand.

use std::{collections::HashMap, sync::Arc};

use semver::Version;

use super::{LineInUse, Live};
use crate::{
    app::{
        installation::{Installation, OpenConnection, Plugin},
        package::Schemas,
    },
    flow::{
        machine::effect::{Bindings, Pick},
        plan::PluginRange,
    },
    model::{
        connection::Connection,
        entry::PluginUse,
        id::{Digest, PluginId},
        limits::Limits,
        manifest::Manifest,
        pace::Pace,
        registry::{Candidate, Line, Thresholds, Trial, VersionRecord, VersionState},
    },
    ports::invoker::Inspection,
};

fn line_id() -> PluginId {
    "test/erp".parse().expect("an id")
}

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn plugin(version: &str, kind: &str) -> Arc<Plugin> {
    let operations = if kind == "connector" {
        "[operations.create]\neffect = \"write\"\ndoubt = { by = \"natural-key\", find = \"gone\" }\n"
    } else {
        ""
    };
    let manifest: Manifest = toml::from_str(&format!(
        "id = \"test/erp\"\nversion = \"{version}\"\nkind = \"{kind}\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\n\
         summary = \"x\"\n{operations}"
    ))
    .expect("a manifest");
    let digest = Digest::of(version.as_bytes());
    Arc::new(Plugin {
        pure: Plugin::used(&manifest, digest, 0),
        inspection: Inspection { digest, bytes: 0, imports: Vec::new(), exports: Vec::new() },
        manifest,
        schemas: Schemas::default(),
        limits: Limits::DEFAULT,
        input: None,
        output: None,
        operations: std::collections::BTreeMap::new(),
        produces: std::collections::BTreeMap::new(),
        signed: None,
        golden: None,
        live: Live::default(),
    })
}

fn picture(versions: &[&str], kind: &str) -> Installation {
    let mut picture = Installation::default();
    for text in versions {
        picture.plugins.entry(line_id()).or_default().insert(version(text), plugin(text, kind));
    }
    picture
}

fn bind(
    picture: &mut Installation,
    pipeline: Option<&str>,
    active: &str,
    earlier: &[&str],
    canary: Option<(&str, u8)>,
) {
    let candidate = canary.map(|(version_text, percent)| Candidate {
        version: version(version_text),
        trial: Trial::Canary { percent, thresholds: Thresholds::default() },
    });
    let earlier = earlier.iter().map(|text| version(text)).collect();
    let line = LineInUse::new(Line { active: Some(version(active)), earlier, candidate, replay: None }, None);
    let lines = picture.lines.entry(line_id()).or_default();
    match pipeline {
        None => lines.everywhere = Some(line),
        Some(pipeline) => drop(lines.pipelines.insert(pipeline.to_owned(), line)),
    }
}

fn state(picture: &mut Installation, text: &str, state: VersionState) {
    picture.states.entry(line_id()).or_default().insert(version(text), VersionRecord::of(state));
    if state == VersionState::Revoked {
        picture.plugins[&line_id()][&version(text)].live.set_revoked(true);
    }
}

#[track_caller]
fn check(picture: &Installation, pipeline: &str, range: &str, pick: Pick<'_>, expected: &str) {
    let range = PluginRange { id: line_id(), range: range.parse().expect("a range") };
    let said = match picture.bound(pipeline, "order-1").plugin(&range, pick) {
        Ok(used) => format!("{}{}", used.version, if used.canary { " on trial" } else { "" }),
        Err(unserved) => unserved.code.to_owned(),
    };
    assert_eq!(said, expected);
}

#[test]
fn a_line_that_nobody_bound_follows_the_latest_that_may_serve() {
    let mut all = picture(&["1.0.0", "1.1.0", "2.0.0"], "rule");
    check(&all, "p", "^1", Pick::Bound, "1.1.0");
    check(&all, "p", "*", Pick::Bound, "2.0.0");
    check(&all, "p", "^3", Pick::Bound, "binding.missing");
    state(&mut all, "2.0.0", VersionState::Draft);
    check(&all, "p", "*", Pick::Bound, "1.1.0");
    state(&mut all, "1.1.0", VersionState::Revoked);
    check(&all, "p", "*", Pick::Bound, "1.0.0");
    state(&mut all, "1.0.0", VersionState::Revoked);
    check(&all, "p", "^1", Pick::Bound, "plugin.revoked");
}

#[test]
fn a_bound_line_serves_what_it_is_bound_to() {
    let mut all = picture(&["1.0.0", "1.1.0", "1.2.0", "2.0.0"], "rule");
    bind(&mut all, None, "1.0.0", &[], None);
    bind(&mut all, Some("own"), "1.1.0", &[], Some(("1.2.0", 99)));
    check(&all, "p", "^1", Pick::Bound, "1.0.0");
    check(&all, "own", "^1", Pick::Active, "1.1.0");
    let everybody = (0..200).filter(|key| {
        let range = PluginRange { id: line_id(), range: "^1".parse().expect("a range") };
        let used = all.bound("own", &format!("order-{key}")).plugin(&range, Pick::Bound).expect("served");
        assert_eq!(used.canary, used.version == "1.2.0");
        used.canary
    });
    assert!(everybody.count() > 180, "nearly every key is the canary's");
    state(&mut all, "1.1.0", VersionState::Revoked);
    check(&all, "own", "^1", Pick::Active, "plugin.revoked");
    check(&all, "p", "^1", Pick::Bound, "1.0.0");
}

#[test]
fn a_run_of_an_older_pipeline_goes_on_with_what_served_it() {
    let mut all = picture(&["1.0.0", "1.1.0", "2.0.0"], "rule");
    bind(&mut all, None, "2.0.0", &["1.0.0", "1.1.0"], Some(("1.0.0", 99)));
    check(&all, "p", "^1", Pick::Active, "1.1.0");
    state(&mut all, "1.1.0", VersionState::Retired);
    check(&all, "p", "^1", Pick::Active, "1.0.0");
    check(&all, "p", "^3", Pick::Active, "binding.missing");
}

fn open(picture: &Installation, text: &str) -> Arc<OpenConnection> {
    let plugin = Arc::clone(&picture.plugins[&line_id()][&version(text)]);
    let connection: Connection =
        toml::from_str("plugin = \"test/erp\"\nbase_url = \"https://erp.example\"\n").expect("a connection");
    Arc::new(OpenConnection {
        name: "erp-main".to_owned(),
        pace: Pace::narrowest(&plugin.manifest.vendor, &connection.limits),
        connection,
        revision: 7,
        secret_versions: Vec::new(),
        used: Plugin::used(&plugin.manifest, plugin.inspection.digest, 7),
        plugin,
        outlets: HashMap::new(),
    })
}

#[test]
fn a_connection_is_called_under_the_version_that_made_an_effect() {
    let mut all = picture(&["1.0.0", "2.0.0"], "connector");
    bind(&mut all, None, "2.0.0", &["1.0.0"], None);
    all.connections.insert("erp-main".to_owned(), open(&all, "2.0.0"));
    all.alternates.insert("erp-main".to_owned(), vec![open(&all, "1.0.0")]);
    all.bindings.entry("p".to_owned()).or_default().insert("erp".to_owned(), "erp-main".to_owned());
    let made = Plugin::used(&all.plugins[&line_id()][&version("1.0.0")].manifest, Digest::of(b"1.0.0"), 3);
    let version_of = |all: &Installation, pick: Pick<'_>| {
        all.bound("p", "order-1").operation("erp", "create", pick).map(|served| served.plugin.version.clone())
    };
    assert_eq!(version_of(&all, Pick::Bound).as_deref(), Ok("2.0.0"));
    assert_eq!(version_of(&all, Pick::Same(&made)).as_deref(), Ok("1.0.0"));
    let served = all.bound("p", "k").operation("erp", "create", Pick::Same(&made)).expect("served");
    assert_eq!(served.plugin.grant, 7, "under the grant of now");
    let called = all.connection_for("p", "erp", &served.plugin).expect("open");
    assert_eq!(called.plugin.manifest.version, version("1.0.0"));

    let unknown = PluginUse { digest: Digest::of(b"other"), ..(*made).clone() };
    assert_eq!(version_of(&all, Pick::Same(&unknown)).as_deref(), Ok("2.0.0"), "gone: as it is bound");
    state(&mut all, "1.0.0", VersionState::Revoked);
    assert_eq!(version_of(&all, Pick::Same(&made)).as_deref(), Ok("2.0.0"), "revoked: as it is bound");
    assert!(all.connection_for("p", "erp", &served.plugin).is_err(), "even where it was decided before");
    state(&mut all, "2.0.0", VersionState::Revoked);
    assert_eq!(version_of(&all, Pick::Bound).map_err(|unserved| unserved.code), Err("plugin.revoked"));
}

#[tokio::test]
async fn a_revocation_reaches_calls_in_every_picture() {
    let all = picture(&["1.0.0"], "rule");
    let older = Arc::clone(&all.plugins[&line_id()][&version("1.0.0")]);
    let calling = older.live.begin();
    assert_eq!(older.live.calls(), 1);
    let waits = older.live.revoked();
    tokio::pin!(waits);
    assert!(futures::poll!(waits.as_mut()).is_pending());
    all.plugins[&line_id()][&version("1.0.0")].live.set_revoked(true);
    waits.await;
    drop(calling);
    assert_eq!(older.live.calls(), 0);
}
