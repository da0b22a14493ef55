//! The audit log that proves itself: a real hub runs orders and is stopped, its history is exported, and whatever is
//! then done to the export is found, with its place.

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
};

use crossdock::{
    app::audit::{key::read_public, verify::verify},
    model::audit::SignedCheckpoint,
    policy::seal::{PrivateKey, PublicKey},
};
use crossdock_tests::{hub::Hub, retail::Retail, said::Said};
use serde_json::Value;

#[path = "audit/explained.rs"]
mod explained;

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");

fn crossdock(arguments: &[&str]) -> Said {
    Said::by(Command::new(BINARY).args(arguments).env("NO_COLOR", "1").env_remove("CROSSDOCK_HUB"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}{}", said.out, said.err))
}

/// Runs orders to their end on a hub of its own, and stops it.
async fn run_orders(retail: &Retail, orders: usize) {
    let hub = retail.hub();
    for _ in 0..orders {
        let webhook = retail.retailer.shop.ordinary();
        let key = webhook.order.as_ref().expect("an order").name.trim_start_matches('#').to_owned();
        retail.deliver(&hub, &webhook).await.expect("answered");
        let completed = |runs: &[Value]| runs.len() == 1 && runs[0]["state"] == "completed";
        hub.runs_until(&key, completed).await;
    }
    assert!(hub.stop());
}

fn export(retail: &Retail, name: &str) -> PathBuf {
    let dir = retail.folder.path().join(name);
    let said = crossdock(&["audit", "export", path(&dir), "--data", path(&retail.data())]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    dir
}

/// The hub's public key, kept where no export is.
fn public_key(retail: &Retail) -> PathBuf {
    retail.data().join("audit/hub.pub")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("inside"));
        fs::create_dir_all(target.parent().expect("parent")).expect("made");
        fs::copy(&file, target).expect("copied");
    }
}

/// What each file of a folder holds, to see that nothing was altered.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|file| (file.clone(), fs::read(file).expect("read"))).collect()
}

#[tokio::test]
async fn a_history_is_exported_and_proven_and_its_original_is_not_altered() {
    let retail = Retail::start(BINARY).await;
    run_orders(&retail, 2).await;
    let before = contents(&retail.data());
    let dir = export(&retail, "export");
    assert!(contents(&retail.data()) == before, "the evidence is as it was");
    assert!(!fs::read_to_string(dir.join("audit.jsonl")).unwrap().is_empty());

    let key = public_key(&retail);
    let said = crossdock(&["audit", "verify", path(&dir), "--key", path(&key)]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("it holds") && said.out.contains("--anchor"), "{}", said.out);
    assert!(!said.out.contains("taken from the export"), "{}", said.out);
    let own = crossdock(&["audit", "verify", path(&dir), "--key", path(&dir.join("hub.pub"))]);
    assert!(own.out.contains("taken from the export itself"), "{}", own.out);

    let proof = json(&crossdock(&["--json", "audit", "verify", path(&dir), "--key", path(&key)]));
    assert_eq!(proof["holds"], true);
    assert_eq!(proof["anchor"], Value::Null);
    assert!(proof["appends"].as_u64().unwrap() > 10, "{proof:#}");
    let lines = fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(proof["audit_records"].as_u64().unwrap(), records.len() as u64);
    let count = |action: &str| records.iter().filter(|record| record["action"] == action).count();
    assert_eq!(
        ["key.make", "hub.release", "plugin.install", "connection.set", "source.set"].map(count),
        [1, 1, 6, 3, 1],
        "{lines}"
    );
    assert_eq!(["pipeline.accept", "pipeline.activate", "binding.set"].map(count), [1, 1, 1], "{lines}");
    assert!(records.iter().all(|record| !record["reason"].as_str().unwrap().is_empty()));
    // What an audit record names by digest is in the export.
    let erp = records.iter().find(|record| record["subject"] == "connection/erp").expect("the connection");
    assert_eq!(erp["actor"], "operator:config");
    let digest = erp["after"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let connection: Value = serde_json::from_slice(&fs::read(dir.join("blobs").join(digest)).unwrap()).unwrap();
    assert_eq!(connection["plugin"], "crossdock/sap-sales-order");
    // And no secret is, nor the private key.
    let private = fs::read_to_string(retail.data().join("audit/hub.key")).unwrap();
    let private = private.lines().nth(1).unwrap();
    let password = fs::read_to_string(retail.folder.path().join("erp-password")).unwrap();
    for (file, content) in contents(&dir) {
        let content = String::from_utf8_lossy(&content).into_owned();
        assert!(!content.contains(private) && !content.contains(&password), "{}", file.display());
    }
}

#[tokio::test]
async fn an_anchor_proves_that_nothing_is_missing_up_to_it() {
    let retail = Retail::start(BINARY).await;
    run_orders(&retail, 1).await;
    let key = public_key(&retail);
    let early = export(&retail, "early");
    let said = crossdock(&["audit", "checkpoint", "--data", path(&retail.data())]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let anchor = retail.folder.path().join("anchor.json");
    fs::write(&anchor, &said.out).unwrap();
    let proven = |dir: &Path, anchor: &Path| {
        crossdock(&["--json", "audit", "verify", path(dir), "--key", path(&key), "--anchor", path(anchor)])
    };
    assert_eq!(json(&proven(&early, &anchor))["anchor"]["batch"], json(&said)["batch"]);

    // The hub goes on: what was exported before still holds, and what is exported now continues it.
    run_orders(&retail, 1).await;
    let late = export(&retail, "late");
    let proof = json(&proven(&late, &anchor));
    assert_eq!((&proof["holds"], &proof["anchor"]["batch"]), (&true.into(), &json(&said)["batch"]), "{proof:#}");
    assert!(proof["does_not_prove"][0].as_str().unwrap().contains("after batch"), "{proof:#}");
    assert_eq!(crossdock(&["audit", "verify", path(&early), "--key", path(&key)]).code, Some(0));

    // An export that ends before the anchor is refused, however well it is signed.
    let later = retail.folder.path().join("later.json");
    fs::write(&later, crossdock(&["audit", "checkpoint", "--data", path(&retail.data())]).out).unwrap();
    let said = proven(&early, &later);
    assert_eq!(said.code, Some(1));
    let refused = json(&said);
    assert_eq!(refused["holds"], false);
    assert!(refused["problem"].as_str().unwrap().contains("everything between is missing"), "{refused:#}");
    assert!(refused["batch"].as_u64().is_some(), "{refused:#}");

    // So is a changed anchor, and one that is none.
    let mut changed: Value = serde_json::from_str(&fs::read_to_string(&anchor).unwrap()).unwrap();
    changed["batch"] = 1.into();
    fs::write(&later, changed.to_string()).unwrap();
    assert_eq!(json(&proven(&late, &later))["file"], "the anchor");
    fs::write(&later, "{}").unwrap();
    let said = proven(&late, &later);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("audit checkpoint"), "{}", said.out);
}

#[tokio::test]
async fn whoever_uses_it_wrongly_is_told_what_to_do() {
    let retail = Retail::start(BINARY).await;
    let hub = retail.hub();
    let dir = retail.folder.path().join("export");
    let refused = |arguments: &[&str], says: &str| {
        let said = crossdock(arguments);
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        assert!(said.err.contains(says), "{} does not say {says}", said.err);
    };
    let data = retail.data();
    refused(&["audit", "export", path(&dir), "--data", path(&data)], "stop it first");
    refused(&["audit", "checkpoint", "--data", path(&data)], "stop it first");
    assert!(!dir.exists(), "nothing is left behind");

    let said =
        crossdock(&["audit", "list", "--hub", &hub.url, "--token-file", &hub.token_file, "--action", "connection"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("connection/erp") && said.out.contains("operator:config"), "{}", said.out);
    let listed = json(&crossdock(&[
        "--json",
        "audit",
        "list",
        "--hub",
        &hub.url,
        "--token-file",
        &hub.token_file,
        "--limit",
        "2",
    ]));
    let first = listed["records"][0]["sequence"].as_u64().expect("a number");
    assert_eq!(listed["records"][1]["sequence"].as_u64(), Some(first - 1), "newest first, without gaps");
    let shown = crossdock(&["audit", "show", &first.to_string(), "--hub", &hub.url, "--token-file", &hub.token_file]);
    assert!(shown.out.contains("sha256:"), "{}{}", shown.out, shown.err);
    refused(&["audit", "show", "9999", "--hub", &hub.url, "--token-file", &hub.token_file], "audit list");
    assert!(hub.stop());

    refused(&["audit", "export", path(&dir), "--data", path(retail.folder.path())], "start the hub once");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("x"), "x").unwrap();
    refused(&["audit", "export", path(&dir), "--data", path(&data)], "does not exist yet");
    refused(
        &["audit", "verify", path(&dir), "--key", path(&public_key(&retail))],
        "`manifest.json`: the file is missing",
    );
    refused(&["audit", "verify", path(&dir), "--key", path(&dir.join("x"))], "does not hold a key");
}

#[tokio::test]
async fn a_restart_over_another_journal_than_the_signed_one_is_refused() {
    let retail = Retail::start(BINARY).await;
    run_orders(&retail, 1).await;
    let (store, kept) = (retail.data().join("store"), retail.folder.path().join("kept"));
    copy(&store, &kept);
    run_orders(&retail, 1).await;
    fs::remove_dir_all(&store).unwrap();
    copy(&kept, &store);
    let said = crossdock(&["serve", "--listen", "127.0.0.1:0", "--data", path(&retail.data())]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is missing") && said.err.contains("checkpoints.jsonl"), "{}", said.err);
}

/// An export to be tampered with, anew for each case.
struct Case<'a> {
    original: &'a Path,
    key: PublicKey,
    work: PathBuf,
}

impl Case<'_> {
    /// Tampers, and holds what the verifier says against what it must say.
    #[track_caller]
    fn check(&self, name: &str, tamper: impl FnOnce(&Path), file: &str, says: &str) {
        let _ = fs::remove_dir_all(&self.work);
        copy(self.original, &self.work);
        tamper(&self.work);
        match verify(&self.work, &self.key, None) {
            Ok(proof) => panic!("{name}: it holds: {proof:?}"),
            Err(refused) => {
                assert_eq!(refused.file, file, "{name}: {refused}");
                assert!(refused.to_string().contains(says), "{name}: {refused} does not say {says}");
            }
        }
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read");
    change(&mut bytes);
    fs::write(path, bytes).expect("written");
}

/// Where each frame of `entries.bin` begins.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let (mut starts, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        starts.push(at);
        at += u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
    }
    starts
}

fn lines(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).expect("read");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("written");
}

/// Signs a changed export again, as somebody would who has another key.
fn sign_again(dir: &Path, key: &PrivateKey) {
    let text = fs::read_to_string(dir.join("manifest.json")).unwrap();
    let mut manifest: crossdock::app::audit::verify::Manifest = serde_json::from_str(&text).unwrap();
    manifest.head = key.sign_checkpoint(manifest.head.checkpoint);
    let text = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
    fs::write(dir.join("manifest.json.sig"), key.sign(text.as_bytes()) + "\n").unwrap();
    fs::write(dir.join("manifest.json"), text).unwrap();
}

#[tokio::test]
async fn whatever_is_done_to_an_export_is_found_with_its_place() {
    let retail = Retail::start(BINARY).await;
    run_orders(&retail, 2).await;
    run_orders(&retail, 1).await;
    let original = export(&retail, "export");
    let key = read_public(&public_key(&retail)).unwrap();
    let case = Case { original: &original, key: key.clone(), work: retail.folder.path().join("work") };
    assert!(verify(&original, &key, None).is_ok());
    let header = |number: usize| (number - 1) * 85..number * 85;

    // Entries.
    let entries = |dir: &Path| dir.join("entries.bin");
    case.check(
        "an altered entry",
        |dir| {
            edit(&entries(dir), |it| {
                let at = frames(it)[20];
                it[at + 70] ^= 1
            })
        },
        "entries.bin",
        ", append ",
    );
    case.check(
        "a removed entry",
        |dir| {
            edit(&entries(dir), |it| {
                let at = frames(it);
                it.drain(at[4]..at[5]);
            })
        },
        "entries.bin",
        "comes in its place",
    );
    case.check(
        "two entries in another order",
        |dir| {
            edit(&entries(dir), |it| {
                let at = frames(it);
                let moved: Vec<u8> = it.drain(at[4]..at[5]).collect();
                let later = at[6] - moved.len();
                it.splice(later..later, moved);
            })
        },
        "entries.bin",
        "comes in its place",
    );
    case.check(
        "a doubled entry",
        |dir| {
            edit(&entries(dir), |it| {
                let at = frames(it);
                it.splice(at[5]..at[5], it[at[4]..at[5]].to_vec());
            })
        },
        "entries.bin",
        "comes in its place",
    );
    case.check("entries cut off", |dir| edit(&entries(dir), |it| it.truncate(it.len() - 10)), "entries.bin", "cut off");
    case.check(
        "the last entry missing",
        |dir| edit(&entries(dir), |it| it.truncate(*frames(it).last().unwrap())),
        "entries.bin",
        "is missing",
    );
    case.check("a byte behind the entries", |dir| edit(&entries(dir), |it| it.push(0)), "entries.bin", "follow after");

    // Batches.
    let batches = |dir: &Path| dir.join("batches.bin");
    case.check("a removed batch", |dir| edit(&batches(dir), |it| drop(it.drain(header(3)))), "batches.bin", "batch 3");
    case.check(
        "a doubled batch",
        |dir| {
            edit(&batches(dir), |it| {
                let copy = it[header(3)].to_vec();
                it.splice(header(3).end..header(3).end, copy);
            })
        },
        "batches.bin",
        "batch 3 comes again",
    );
    case.check(
        "batches in another order",
        |dir| {
            edit(&batches(dir), |it| {
                let moved: Vec<u8> = it.drain(header(2)).collect();
                it.splice(170..170, moved);
            })
        },
        "batches.bin",
        "batch 2",
    );
    case.check(
        "another time of a batch",
        |dir| edit(&batches(dir), |it| it[header(4).start + 75] ^= 1),
        "batches.bin",
        "continue batch 4",
    );
    case.check(
        "another time of the last batch",
        |dir| {
            edit(&batches(dir), |it| {
                let at = it.len() - 10;
                it[at] ^= 1
            })
        },
        "checkpoints.jsonl",
        "another history",
    );
    case.check(
        "the last batch missing",
        |dir| edit(&batches(dir), |it| it.truncate(it.len() - 85)),
        "batches.bin",
        "end at",
    );
    case.check("a batch cut off", |dir| edit(&batches(dir), |it| it.truncate(it.len() - 1)), "batches.bin", "cut off");
    case.check("a byte behind the batches", |dir| edit(&batches(dir), |it| it.push(1)), "batches.bin", "cut off");

    // Readable records.
    let audit = |dir: &Path| dir.join("audit.jsonl");
    case.check(
        "another actor",
        |dir| lines(&audit(dir), |it| it[4] = it[4].replace("operator:config", "somebody")),
        "audit.jsonl",
        "record 5",
    );
    case.check("a space in a line", |dir| lines(&audit(dir), |it| it[2].insert(1, ' ')), "audit.jsonl", "record 3");
    case.check("a removed line", |dir| lines(&audit(dir), |it| drop(it.remove(3))), "audit.jsonl", "record 4");
    case.check("lines in another order", |dir| lines(&audit(dir), |it| it.swap(3, 4)), "audit.jsonl", "record 4");
    case.check(
        "a doubled line",
        |dir| {
            lines(&audit(dir), |it| {
                let it3 = it[3].clone();
                it.insert(3, it3)
            })
        },
        "audit.jsonl",
        "record 5",
    );
    case.check("the last line missing", |dir| lines(&audit(dir), |it| drop(it.pop())), "audit.jsonl", "missing");
    case.check("an empty line behind", |dir| edit(&audit(dir), |it| it.push(b'\n')), "audit.jsonl", "follow after");

    // Checkpoints, key, other files.
    let checkpoints = |dir: &Path| dir.join("checkpoints.jsonl");
    case.check(
        "an altered checkpoint",
        |dir| lines(&checkpoints(dir), |it| it[0] = it[0].replace("\"batch\":", "\"batch\":1")),
        "checkpoints.jsonl",
        "record 1",
    );
    case.check(
        "a removed checkpoint",
        |dir| lines(&checkpoints(dir), |it| drop(it.remove(0))),
        "checkpoints.jsonl",
        "bytes",
    );
    case.check(
        "checkpoints in another order",
        |dir| lines(&checkpoints(dir), |it| it.swap(0, 1)),
        "checkpoints.jsonl",
        "record 2",
    );
    case.check(
        "a space in a checkpoint",
        |dir| lines(&checkpoints(dir), |it| it[0].push(' ')),
        "checkpoints.jsonl",
        "bytes",
    );
    case.check("another readme", |dir| edit(&dir.join("README.txt"), |it| it[9] = b'!'), "README.txt", "SHA-256");
    case.check("a space behind the key", |dir| edit(&dir.join("hub.pub"), |it| it.push(b' ')), "hub.pub", "bytes");
    case.check("a missing file", |dir| fs::remove_file(dir.join("README.txt")).unwrap(), "README.txt", "missing");
    case.check("a missing part", |dir| fs::remove_file(entries(dir)).unwrap(), "entries.bin", "missing");
    case.check("a further file", |dir| fs::write(dir.join("note.txt"), "x").unwrap(), "note.txt", "not part");
    case.check("a further blob", |dir| fs::write(dir.join("blobs/x"), "x").unwrap(), "blobs/x", "not part");
    case.check("a further folder", |dir| fs::create_dir(dir.join("more")).unwrap(), "more", "not part");
    #[cfg(unix)]
    case.check(
        "a link in the place of a file",
        |dir| {
            fs::remove_file(dir.join("README.txt")).unwrap();
            std::os::unix::fs::symlink(original.join("README.txt"), dir.join("README.txt")).unwrap();
        },
        "README.txt",
        "not part",
    );
    let blob = files(&original.join("blobs")).remove(0);
    let blob = blob.strip_prefix(&original).unwrap();
    case.check("an altered blob", |dir| edit(&dir.join(blob), |it| it[0] ^= 1), path(blob), "SHA-256");
    case.check("a missing blob", |dir| fs::remove_file(dir.join(blob)).unwrap(), path(blob), "missing");

    // The manifest.
    let manifest = |dir: &Path| dir.join("manifest.json");
    case.check("a space in the manifest", |dir| edit(&manifest(dir), |it| it.push(b' ')), "manifest.json", "signature");
    case.check("no manifest", |dir| fs::remove_file(manifest(dir)).unwrap(), "manifest.json", "missing");
    let signature = |dir: &Path| dir.join("manifest.json.sig");
    case.check(
        "a line behind the signature",
        |dir| edit(&signature(dir), |it| it.push(b'\n')),
        "manifest.json.sig",
        "base",
    );
    case.check("no signature", |dir| fs::write(signature(dir), "").unwrap(), "manifest.json.sig", "base 64");
    let other = PrivateKey::from_seed(&[1; 32]);
    case.check("a manifest made again with another key", |dir| sign_again(dir, &other), "manifest.json", "not by key");
    let wrong = Case { key: other.public(), work: case.work.clone(), original: &original };
    wrong.check("a wrong key", |_| (), "manifest.json", "another hub's");
}

/// Deterministic, so that a failure can be repeated: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

#[tokio::test]
async fn any_byte_of_any_file_that_is_changed_removed_or_added_is_found() {
    const CASES: u64 = 600;
    let retail = Retail::start(BINARY).await;
    run_orders(&retail, 1).await;
    let dir = export(&retail, "export");
    let key = read_public(&public_key(&retail)).unwrap();
    let anchor = crossdock(&["audit", "checkpoint", "--data", path(&retail.data())]);
    let anchor: SignedCheckpoint = serde_json::from_str(&anchor.out).unwrap();
    let all = files(&dir);
    for seed in 0..CASES {
        let mut random = Random(seed);
        // Each file in turn, so that small ones are not left out.
        let file = &all[usize::try_from(seed).unwrap() % all.len()];
        let bytes = fs::read(file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let mut changed = bytes.clone();
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => drop(changed.remove(at)),
            1 => changed.insert(at, changed[at]),
            _ => changed[at] ^= 1 << random.below(8),
        }
        fs::write(file, &changed).unwrap();
        let anchor = (seed % 2 == 0).then_some(&anchor);
        match verify(&dir, &key, anchor) {
            Ok(_) => panic!("seed {seed}: byte {at} of {} is not held", file.display()),
            Err(refused) => assert!(!refused.file.is_empty() && !refused.problem.is_empty()),
        }
        fs::write(file, &bytes).unwrap();
    }
    assert!(verify(&dir, &key, Some(&anchor)).is_ok(), "and the original holds");
}

#[test]
fn a_folder_that_is_not_there_is_not_called_an_export_that_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("hub.pub"), "x").expect("written");
    for (given, words) in [("nowhere", "there is no folder"), ("hub.pub", "is a file")] {
        let said = crossdock(&["audit", "verify", &at(given), "--key", &at("hub.pub")]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(words) && said.err.contains("crossdock audit export DIR --data DATA"), "{said:?}");
        assert!(!said.err.contains("proves nothing"), "{said:?}");
    }
}
