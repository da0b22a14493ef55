//! A plugin author's whole way on the command line: begin, build, test, check, sign, pack, verify; and what happens when
//! somebody changes something on the way.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crossdock::app::parcel::Files;
use crossdock_tests::packages;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
const KINDS: [&str; 4] = ["rule", "transform", "scorer", "connector"];

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        let text = format!("{}{}", self.out, self.err);
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in {text}"));
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

fn run(arguments: &[&str], folder: &Path) -> Said {
    let output = Command::new(BINARY).args(arguments).current_dir(folder).env("NO_COLOR", "1").output().expect("runs");
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A plugin of each kind, begun and tested outside of the workspace; the packages that came of it.
struct Begun {
    folder: tempfile::TempDir,
    told: Vec<Value>,
}

impl Begun {
    fn package(&self, kind: &str) -> PathBuf {
        self.folder.path().join(format!("packages/acme-my-{kind}-0.1.0"))
    }

    /// A copy that a test may change.
    fn copy(&self, kind: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let to = folder.path().join("package");
        Files::of_folder(&self.package(kind)).expect("read").write(&to).expect("written");
        (folder, to)
    }
}

static BEGUN: LazyLock<Begun> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    // One folder for what all of them compile, so that dependencies are compiled once.
    fs::create_dir(at.join(".cargo")).expect("made");
    fs::write(at.join(".cargo/config.toml"), "[build]\ntarget-dir = \"native\"\n").expect("written");
    let mut told = Vec::new();
    for kind in KINDS {
        let name = format!("acme/my-{kind}");
        // A machine that has nothing but this program is given a copy of the SDK.
        let vendor: &[&str] = if kind == "connector" { &["--vendor-sdk"] } else { &[] };
        run(&[&["--json", "plugin", "new", &name, "--kind", kind], vendor].concat(), at).ok();
        let project = at.join(format!("my-{kind}"));
        // The versions that are there already: a test must not depend on a network.
        fs::copy(packages::workspace().join("Cargo.lock"), project.join("Cargo.lock")).expect("copied");
        let said = run(&["--json", "plugin", "test", &format!("my-{kind}"), "--out", "packages"], at).ok();
        told.push(said.json()[0].clone());
    }
    Begun { folder, told }
});

#[test]
fn a_plugin_of_each_kind_begins_builds_and_passes_its_tests() {
    for (kind, told) in KINDS.iter().zip(&BEGUN.told) {
        assert_eq!(told["native"], true, "{kind}: {told}");
        let golden = told["golden"].as_array().expect("golden");
        assert_eq!(golden.len(), usize::from(*kind != "connector"), "{kind}: {told}");
        assert!(golden.iter().all(|test| test["passed"] == true && test["usage"]["fuel"].as_u64() > Some(0)), "{told}");
        let package = BEGUN.package(kind).display().to_string();
        let report = run(&["--json", "plugin", "check", &package], BEGUN.folder.path()).ok().json()[0].clone();
        assert_eq!((&report["verdict"], &report["accepted"]), (&"accepted".into(), &true.into()), "{kind}: {report:#}");
    }
    let again = run(&["plugin", "new", "acme/my-rule", "--kind", "rule"], BEGUN.folder.path());
    again.refused(&["`my-rule` is not empty", "--folder"]);
    run(&["plugin", "new", "Acme/Rule", "--kind", "rule"], BEGUN.folder.path()).refused(&["lower-case"]);
    let source = BEGUN.folder.path().join("my-rule").display().to_string();
    run(&["plugin", "check", &source], BEGUN.folder.path()).refused(&["source, not a package", "plugin build"]);
}

#[test]
fn a_new_version_is_compared_with_the_one_before() {
    let before = BEGUN.package("rule").display().to_string();
    let (folder, after) = BEGUN.copy("rule");
    let edit = |file: &str, from: &str, to: &str| {
        let path = after.join(file);
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).expect("written");
    };
    edit("schemas/input.json", "[\"quantity\"]", "[\"quantity\", \"sku\"]");
    let check = |arguments: &[&str]| {
        let mut all = vec!["plugin", "check", "package", "--against", &before];
        all.extend(arguments);
        run(&all, folder.path())
    };
    check(&[]).refused(&["version.reused", "schema.input.narrowed", "`sku` is required now", "make `sku` optional"]);
    edit("plugin.toml", "version = \"0.1.0\"", "version = \"0.1.1\"");
    check(&[]).refused(&["version.bump-too-small", "raise `version` to 0.2.0"]);
    edit("plugin.toml", "version = \"0.1.1\"", "version = \"0.2.0\"");
    let said = check(&[]).ok();
    assert!(said.out.contains("would be accepted") && said.out.contains("the changes are major"), "{}", said.out);
    // What the plugin's author is told first is what breaks.
    let diff = run(&["plugin", "diff", &before, "package"], folder.path()).ok();
    assert!(diff.out.contains("acme/my-rule 0.1.0 → 0.2.0") && diff.out.contains("0.2.0 or higher"), "{}", diff.out);
    assert!(diff.out.contains("the component is the same"), "{}", diff.out);
    let diff = run(&["--json", "plugin", "diff", &before, "package"], folder.path()).ok().json();
    assert_eq!((&diff["bump"], &diff["from"]), (&"major".into(), &"0.1.0".into()), "{diff:#}");
    // A golden test that no longer holds.
    edit("golden/large-quantity.json", "\"hold\"", "\"proceed\"");
    check(&[]).refused(&["golden.failed", "/outcome is \"hold\", expected \"proceed\""]);
}

#[test]
fn what_may_touch_more_needs_a_consent() {
    let before = BEGUN.package("connector").display().to_string();
    let (folder, after) = BEGUN.copy("connector");
    let manifest = fs::read_to_string(after.join("plugin.toml")).expect("read");
    let manifest = manifest.replace("[\"GET\"]", "[\"GET\", \"DELETE\"]").replace("\"0.1.0\"", "\"0.1.1\"");
    fs::write(after.join("plugin.toml"), manifest).expect("written");
    let said = run(&["--json", "plugin", "check", "package", "--against", &before], folder.path()).ok();
    let report = said.json()[0].clone();
    assert_eq!(report["verdict"], "needs-consent", "{report:#}");
    let widened: Vec<&Value> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|it| it["rule"] == "capability.widened")
        .collect();
    assert_eq!(widened.len(), 2, "{report:#}");
    assert!(widened.iter().all(|it| it["severity"] == "consent"), "{report:#}");
    assert!(
        widened.iter().any(|it| it["found"].as_str().is_some_and(|text| text.contains("credentials"))),
        "{report:#}"
    );
}

#[test]
fn a_package_is_signed_packed_and_verified_and_every_change_shows() {
    let (folder, _) = BEGUN.copy("rule");
    let at = folder.path();
    let key = run(&["--json", "plugin", "key", "new", "acme.key", "--namespace", "acme"], at).ok().json();
    run(&["plugin", "key", "new", "other.key"], at).ok();
    run(&["plugin", "verify", "package", "--key", "acme.key.pub"], at).refused(&["signature.absent", "plugin sign"]);
    run(&["plugin", "sign", "package", "--key", "acme.key"], at).ok();
    run(&["plugin", "pack", "package", "--out", "rule.crossdock"], at).ok();
    let verify = |file: &str| run(&["plugin", "verify", file, "--key", "acme.key.pub"], at);
    for file in ["package", "rule.crossdock"] {
        let said = verify(file).ok();
        assert!(
            said.out.contains("is what was signed") && said.out.contains(key["key"].as_str().unwrap()),
            "{}",
            said.out
        );
    }
    // The same content gives the same file.
    run(&["plugin", "pack", "package", "--out", "again.crossdock"], at).ok();
    assert_eq!(fs::read(at.join("rule.crossdock")).unwrap(), fs::read(at.join("again.crossdock")).unwrap());
    let checked = run(&["--json", "plugin", "check", "rule.crossdock", "--key", "acme.key.pub", "--signed"], at).ok();
    assert_eq!(checked.json()[0]["signed_by"][0], key["key"]);

    let other = run(&["plugin", "verify", "rule.crossdock", "--key", "other.key.pub"], at);
    other.refused(&["signature.untrusted", "[[trust.keys]]"]);
    run(&["plugin", "check", "rule.crossdock", "--key", "other.key.pub", "--signed"], at)
        .refused(&["signature.untrusted"]);

    let signed = Files::open(&at.join("rule.crossdock")).expect("read");
    let tampered = |change: &dyn Fn(&mut Files)| {
        let mut files = signed.clone();
        change(&mut files);
        fs::write(at.join("tampered.crossdock"), files.pack().expect("packed")).expect("written");
        verify("tampered.crossdock")
    };
    let text = |path: &str| String::from_utf8(signed.get(path).expect("file").to_vec()).expect("text");
    let manifest = text("plugin.toml").replace("Asks buyers", "Asks nobody");
    tampered(&|it| it.set("plugin.toml", manifest.clone())).refused(&["`plugin.toml` was changed after signing"]);
    let (_other, transform) = BEGUN.copy("transform");
    let component = fs::read(transform.join("component.wasm")).expect("read");
    tampered(&|it| it.set("component.wasm", component.clone()))
        .refused(&["`component.wasm` was changed after signing"]);
    tampered(&|it| it.set("assets/more", "x")).refused(&["`assets/more` was added after signing"]);
    tampered(&|it| it.set("golden/large-quantity.json", "{}")).refused(&["signature.content-differs"]);
    // Another version, under the signature of this one.
    let raised = text("plugin.toml").replace("0.1.0", "0.1.1");
    tampered(&|it| it.set("plugin.toml", raised.clone())).refused(&["it was made for `acme/my-rule@0.1.0`"]);
    // The signature of another package.
    let name = transform.display().to_string();
    run(&["plugin", "sign", &name, "--key", "acme.key"], at).ok();
    let theirs = fs::read(transform.join("signature.dsse.json")).expect("read");
    let replayed = tampered(&|it| it.set("signature.dsse.json", theirs.clone()));
    replayed.refused(&["signature.of-another-package", "`acme/my-transform@0.1.0`"]);
    // A signature whose payload was made to fit, which then nobody signed.
    run(&["plugin", "sign", "tampered.crossdock", "--key", "other.key"], at).ok();
    verify("tampered.crossdock").refused(&["signature.untrusted"]);
    let envelope: Value = serde_json::from_slice(signed.get("signature.dsse.json").expect("file")).expect("JSON");
    let mut forged = envelope.clone();
    forged["signatures"][0]["sig"] = "AAAA".into();
    tampered(&|it| it.set("signature.dsse.json", forged.to_string())).refused(&["signature.untrusted"]);
    // Both may sign: keys are changed this way.
    run(&["plugin", "sign", "rule.crossdock", "--key", "other.key"], at).ok();
    verify("rule.crossdock").ok();
    run(&["plugin", "verify", "rule.crossdock", "--key", "other.key.pub"], at).ok();
}

#[test]
fn a_private_key_is_its_owners_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    run(&["plugin", "key", "new", "acme.key"], at).ok();
    run(&["plugin", "key", "new", "acme.key"], at).refused(&["is there already"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let path = at.join("acme.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let package = BEGUN.package("rule").display().to_string();
        run(&["plugin", "sign", &package, "--key", "acme.key"], at).refused(&["others may read", "chmod 600"]);
    }
    let shown = run(&["plugin", "key", "show", "acme.key.pub", "--namespace", "acme"], at).ok();
    assert!(shown.out.contains("[[trust.keys]]\nnamespace = \"acme\""), "{}", shown.out);
    assert!(!format!("{}{}", shown.out, shown.err).contains("PRIVATE"), "{}", shown.out);
}

#[test]
fn what_is_no_package_file_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("x.crossdock"), "not a package").expect("written");
    run(&["plugin", "check", "x.crossdock"], folder.path()).refused(&["package.complete", "not a package file"]);
    run(&["plugin", "check", "nowhere"], folder.path()).refused(&["cannot use `nowhere`"]);
}
