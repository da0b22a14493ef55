//! A hub under load that is killed all the time: at random moments, while it starts, right before and right after each kind
//! of fact is durable; and a hub whose power is cut. In the end nothing is lost, nothing doubled, nothing stuck.
//!
//! The seed is printed, and `CROSSDOCK_SEED=n` repeats what it chose; the moments of a machine are its own.
//! `CROSSDOCK_LONG=1` kills hundreds of times. A power cut needs root and loop devices, and says NOT TESTED where it cannot
//! be had; with `CROSSDOCK_POWER_CUT_TEST=required` that is an error.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use crossdock::{app::clock::SystemClock, ports::clock::Clock as _};
use crossdock_tests::{
    crashes::{KINDS, Setting, moment},
    dice::Dice,
    disk::Disk,
};

const BINARY: &str = env!("CARGO_BIN_EXE_crossdock-tested");
/// The kinds of facts that these pipelines leave.
const FACTS: [&str; 21] = [
    "accepted",
    "run-started",
    "skipped",
    "started",
    "intent",
    "compensating",
    "result",
    "compensated",
    "attempt-failed",
    "branch-taken",
    "branch-closed",
    "entered",
    "vars-set",
    "wait-started",
    "signalled",
    "wait-over",
    "handled",
    "undo-began",
    "halted",
    "parked",
    "settled",
];
/// How long a hub may take to come to its place, with new orders all the time, before that counts as never.
const PLACE_LIMIT: Duration = Duration::from_secs(60);

fn seed() -> u64 {
    let given = std::env::var("CROSSDOCK_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::try_from(SystemClock::default().now().millis()).unwrap_or(0) % 1_000_000)
}

fn long() -> bool {
    std::env::var("CROSSDOCK_LONG").is_ok_and(|value| value == "1")
}

/// How a life of the hub ends.
#[derive(Clone, Debug)]
enum End {
    /// Where the hub was told to end itself.
    Place(String),
    /// At a random moment.
    Moment,
    /// At a random moment of its start.
    Start,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_it_is_killed_nothing_is_lost_nothing_doubled_nothing_stuck() {
    let seed = seed();
    println!("CROSSDOCK_SEED={seed}");
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut setting = Setting::new(BINARY, folder.path(), folder.path().join("data"), seed).await;
    let rounds = if long() { 8 } else { 1 };
    let begun = Instant::now();
    let mut ends = Vec::new();
    for _ in 0..rounds {
        for fact in FACTS {
            for side in ["before", "after"] {
                ends.push(End::Place(format!("{side}:{fact}:{}", 1 + dice.below(3))));
            }
        }
        ends.extend(std::iter::repeat_n(End::Moment, 6));
        ends.extend(std::iter::repeat_n(End::Start, 4));
    }
    dice.shuffle(&mut ends);
    let mut missed = Vec::new();
    for end in ends {
        let mut kinds = KINDS.to_vec();
        dice.shuffle(&mut kinds);
        setting.send(&kinds, &mut dice);
        match end {
            End::Place(place) => {
                let came = match setting.start(Some(&place)) {
                    None => true,
                    Some(hub) => setting.live_until_it_ends(hub, PLACE_LIMIT, &mut dice).await,
                };
                if !came {
                    missed.push(place);
                }
            }
            End::Moment => {
                let limit = Duration::from_millis(dice.below(600));
                let hub = setting.start(None).expect("starts");
                assert!(!setting.live(hub, limit).await, "it ended by itself");
            }
            End::Start => {
                let limit = Duration::from_millis(dice.below(500));
                let mut command = setting.command(None);
                let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
                let begun = Instant::now();
                while begun.elapsed() < limit {
                    moment().await;
                }
                child.kill().and_then(|()| child.wait()).expect("killed");
                setting.died(false);
            }
        }
    }
    let (kills, aborts, killed_in) = (setting.kills, setting.aborts, begun.elapsed());
    let hub = setting.start(None).expect("starts");
    let result = setting.check(&hub).await;
    println!(
        "seed {seed}: {kills} kills, {aborts} of them at a named place, in {} s; {} events acknowledged, {} of them after a \
         lost acknowledgement; {} writes came, {} took effect, {} times it was asked whether one had; at rest after {} s",
        killed_in.as_secs(),
        setting.acknowledged(),
        setting.duplicates(),
        setting.remotes.arrivals().len(),
        setting.remotes.effects().len(),
        setting.remotes.finds(),
        begun.elapsed().as_secs(),
    );
    if let Err(problems) = result {
        let some = problems.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
        panic!("CROSSDOCK_SEED={seed}: {} things do not hold:\n{some}", problems.len());
    }
    assert!(missed.is_empty(), "seed {seed}: never reached: {missed:?}");
    assert!(hub.stop(), "a hub that is asked to stop ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_power_is_cut_what_was_acknowledged_goes_on_on_what_the_disk_holds() {
    let seed = seed();
    println!("CROSSDOCK_SEED={seed}");
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = match Disk::create(folder.path()) {
        Ok(disk) => disk,
        Err(problem) => {
            let required = std::env::var("CROSSDOCK_POWER_CUT_TEST").is_ok_and(|value| value == "required");
            assert!(!required, "no loop device can be mounted: {problem}");
            println!("NOT TESTED: a power cut under a whole hub; it needs root and loop devices ({problem})");
            return;
        }
    };
    let mut setting = Setting::new(BINARY, folder.path(), disk.mount.join("data"), seed).await;
    let cuts = if long() { 60 } else { 8 };
    for _ in 0..cuts {
        setting.send(&KINDS, &mut dice);
        let hub = setting.start(None).expect("starts");
        let (limit, begun) = (Duration::from_millis(100 + dice.below(900)), Instant::now());
        while begun.elapsed() < limit {
            moment().await;
        }
        // It stands still in the middle of its work: no acknowledgement leaves it any more.
        hub.signal("-STOP");
        let copy = disk.copy().expect("copied");
        hub.kill();
        setting.died(false);
        disk.put_in_place(copy).expect("the copy is mounted");
    }
    let hub = setting.start(None).expect("starts");
    let result = setting.check(&hub).await;
    println!(
        "seed {seed}: {cuts} power cuts; {} events acknowledged, {} of them after a lost acknowledgement; {} writes came, {} \
         took effect",
        setting.acknowledged(),
        setting.duplicates(),
        setting.remotes.arrivals().len(),
        setting.remotes.effects().len(),
    );
    if let Err(problems) = result {
        let some = problems.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
        panic!("CROSSDOCK_SEED={seed}: {} things do not hold:\n{some}", problems.len());
    }
    assert!(hub.stop(), "a hub that is asked to stop ends well");
}
