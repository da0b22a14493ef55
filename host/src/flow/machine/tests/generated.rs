//! Pipelines of all constructs, and what happens to them, made up from a seed. Whatever happens: the run never hangs
//! without a word, no effect is done twice, and what is undone is undone once, in reverse. What comes of each is compared
//! with a slow reference.
//!
//! Reading and compiling a pipeline takes much longer than one history of it, so each pipeline lives through several, and
//! every core takes its part of them. A failure prints its seed, `PIPELINE` or `PIPELINE.HISTORY`; seeds that once failed
//! are in [`KEPT`]. `CROSSDOCK_LONG=1` runs ten times as many, `CROSSDOCK_SEED=7.3` one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde_json::json;

use super::super::effect::Effect;
use super::{
    author::{Author, Dice},
    reference::Outcome,
    world::{Way, World, plan, verdict},
};
use crate::{
    flow::plan::Plan,
    model::{
        decision,
        entry::{Control, Ending, Entry},
        manifest::Doubt,
    },
};

/// Seeds whose histories once failed.
const KEPT: &[u64] = &[417, 1_803, 1_812, 2_503, 11_533, 16_536, 17_215, 17_547, 19_769];
/// Pipelines of a usual run, and histories of each.
const PIPELINES: u64 = 1_000;
const HISTORIES_OF_EACH: u64 = 10;
/// What may happen in one history, before it is left to come to its end.
const EVENTS_MAX: u64 = 60;

/// What happens next.
fn happen(world: &mut World, dice: &mut Dice) -> Result<(), String> {
    match dice.below(24) {
        0 => {
            world.crash();
            world.boot();
        }
        1 => world.crash_in = Some(usize::try_from(dice.below(6)).expect("small")),
        2 => world.signal("goods.in", json!({"order": if dice.one_in(3) { "other" } else { "o1" }})),
        3 | 4 => decide(world, dice),
        5 => control(world, dice),
        6 => {
            // The clock goes on without anybody's asking.
            world.now = world.now.plus_millis(dice.below(90_000));
            world.tell(super::super::effect::Input::Wake);
        }
        7 if !world.out.is_empty() => {
            let place = usize::try_from(dice.below(world.out.len() as u64)).expect("small");
            let answer = world.answer_at(place);
            // It comes again, after the run has gone on.
            if !world.is_down() && !world.is_asked(&answer) {
                let before = world.facts().len();
                world.tell(super::super::effect::Input::Answer(Box::new(answer)));
                let after = world.facts();
                if !world.is_down() && after.len() != before {
                    return Err(format!("an answer that came again left {:?}", after.last()));
                }
            }
        }
        _ if !world.out.is_empty() => {
            let place = usize::try_from(dice.below(world.out.len() as u64)).expect("small");
            world.answer_at(place);
        }
        _ => world.wake(),
    }
    Ok(())
}

fn decide(world: &mut World, dice: &mut Dice) {
    let open = world.questions();
    if open.is_empty() {
        return;
    }
    let step = dice.pick(&open).clone();
    let decision = {
        let actor = *dice.pick(&["ada", "bob", "cyd"]);
        world.decision(&step, actor, !dice.one_in(4))
    };
    if world.run().check_decision(&decision).is_ok() {
        world.take(decision);
    }
}

fn control(world: &mut World, dice: &mut Dice) {
    let undo = dice.one_in(2);
    let parked = world.parked();
    let action = match dice.below(7) {
        0 => Control::Pause,
        1 => Control::Continue,
        2 if dice.one_in(2) => Control::Cancel { compensate: undo },
        3 if dice.one_in(2) => Control::Close { compensate: undo },
        4 if dice.one_in(2) => Control::Restart { step: "s1".into(), undo },
        5 | 6 if parked.is_some() => Control::Resolve {
            step: parked.clone().unwrap_or_default(),
            // A person looks at the remote and tells the truth.
            output: world.took_effect(&parked.unwrap_or_default()).then(|| json!({"id": "x"}).into()),
        },
        _ => Control::Resume,
    };
    if world.run().check_control(&action).is_ok() {
        world.tell_control(action);
    }
}

/// What always holds.
fn check(world: &World) -> Result<(), String> {
    let run = world.run();
    if !run.is_settled() && !run.paused && world.out.is_empty() && world.due.is_none() {
        return Err("the run hangs without a word".into());
    }
    // A question whose answer leaves no fact (nothing took effect) is asked again after a crash, needed or not.
    let only_asks = world.out.iter().all(|effect| matches!(effect, Effect::Call(call) if call.operation == "find"));
    if run.is_settled() && run.parked.is_none() && !only_asks {
        return Err(format!("the run has ended with {:?} out", world.outstanding()));
    }
    for done in &world.done {
        if done.repeats > 0 {
            return Err(format!("`{}` of `{}` took effect {} times", done.operation, done.step, done.repeats + 1));
        }
    }
    Ok(())
}

/// What holds of a run's facts: checked from them alone.
fn check_facts(facts: &[Entry]) -> Result<(), String> {
    let mut halted = false;
    // A person may have a step begin again; a crash does not.
    let mut counted_anew = false;
    let mut attempts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut effects: Vec<String> = Vec::new();
    let mut ended = false;
    let mut undone = false;
    let mut seen = BTreeSet::new();
    for fact in facts {
        if ended && !matches!(fact, Entry::Controlled(_) | Entry::ExceptionOpened(_)) {
            return Err(format!("a fact after the end: {fact:?}"));
        }
        match fact {
            Entry::WaitsUndone(_) => undone = true,
            Entry::Signalled(signalled) => drop(seen.insert(signalled.acceptance)),
            Entry::ExceptionOpened(opened) if !seen.insert(opened.acceptance) => {
                return Err(format!("an event that was taken or known is an exception: {opened:?}"));
            }
            Entry::ExceptionOpened(opened) if ended && !undone => {
                return Err(format!("an exception of a run that was not undone: {opened:?}"));
            }
            _ => {}
        }
        match fact {
            Entry::Halted { .. } => halted = true,
            Entry::Controlled(controlled) => match &controlled.action {
                Control::Resolve { step, output: Some(_) } => match step.strip_suffix("~compensate") {
                    Some(undone) => effects.retain(|effect| effect != undone),
                    None => effects.push(step.clone()),
                },
                Control::Cancel { .. } | Control::Close { .. } => halted = true,
                Control::Resume => counted_anew = true,
                Control::Restart { .. } => {
                    ended = false;
                    halted = true;
                }
                _ => {}
            },
            Entry::Restarted { .. } => {
                halted = false;
                counted_anew = true;
            }
            Entry::RunEnded { ending, .. } => {
                ended = true;
                if *ending == Ending::Completed && facts.is_empty() {
                    return Err("nothing happened".into());
                }
            }
            Entry::Intent(intent) if !intent.resolving => {
                let before = attempts.insert(&intent.step, intent.attempt).unwrap_or(0);
                if intent.attempt != before + 1 && !(intent.attempt == 1 && counted_anew) {
                    return Err(format!("attempt {} of `{}` follows attempt {before}", intent.attempt, intent.step));
                }
                let forward = !intent.step.contains('~');
                // Only a native key is repeated to find out about doubt.
                if halted
                    && forward
                    && intent.attempt == 1
                    && !HANDLER
                        .with_borrow(|handler| handler.contains(intent.step.split('[').next().unwrap_or_default()))
                {
                    return Err(format!("`{}` began after the halt", intent.step));
                }
            }
            Entry::StepDone(done) => {
                if let Some(undone) = done.step.strip_suffix("~compensate") {
                    match effects.iter().rposition(|effect| effect == undone) {
                        Some(place) => {
                            effects.remove(place);
                        }
                        None => return Err(format!("`{undone}` was undone and did not take effect")),
                    }
                } else {
                    effects.push(done.step.clone());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

thread_local! {
    /// Steps of the pipeline's `on_error`.
    static HANDLER: std::cell::RefCell<std::collections::BTreeSet<String>> = const { std::cell::RefCell::new(std::collections::BTreeSet::new()) };
}

/// A history: the seed of its pipeline, and its number among the histories of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seed(u64, u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 == 0 { write!(f, "{}", self.0) } else { write!(f, "{}.{}", self.0, self.1) }
    }
}

impl Seed {
    fn read(text: &str) -> Option<Self> {
        let (pipeline, history) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self(pipeline.parse().ok()?, history.parse().ok()?))
    }
}

/// A pipeline that a seed makes up.
struct Made {
    text: String,
    plan: Arc<Plan>,
    seed: u64,
    /// The dice after it.
    dice: Dice,
}

impl Made {
    fn of(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let text = Author { dice: &mut dice, steps: 0, undoable: Vec::new() }.pipeline();
        Self { plan: plan(&text), text, seed, dice }
    }

    /// The dice of one of its histories: the first goes on where the pipeline ends.
    fn dice(&self, history: u64) -> Dice {
        if history == 0 { Dice(self.dice.0) } else { Dice(Dice(self.seed ^ (history << 48)).next()) }
    }
}

/// Lives through one history.
fn history(made: &Made, number: u64) -> Result<(), String> {
    let mut dice = made.dice(number);
    let (text, plan) = (&made.text, Arc::clone(&made.plan));
    let handled = text.split("on_error:\n").nth(1).unwrap_or_default();
    HANDLER.with_borrow_mut(|handler| {
        *handler = handled
            .split("id: s")
            .skip(1)
            .map(|rest| format!("s{}", rest.split(',').next().unwrap_or_default()))
            .collect();
    });
    let doubt = match dice.below(3) {
        0 => Doubt::NativeKey { settle_ms: 10 },
        1 => Doubt::None,
        _ => Doubt::NaturalKey { find: "find".into(), settle_ms: 10 },
    };
    let mut world =
        World::with(plan, json!({"total": 5, "big": false, "order": "o1", "lines": [1, 2, 3]})).doubt(doubt);
    for number in 1..40 {
        for facet in ["", "~compensate", "?"] {
            if dice.one_in(4) {
                let ways = [
                    Way::Refused,
                    Way::Locked,
                    Way::LostBefore,
                    Way::LostAfter,
                    Way::LostAfter,
                    Way::Locked,
                    Way::Differs,
                ];
                let ways = if facet == "?" { [Way::Locked; 7] } else { ways };
                for _ in 0..=dice.below(2) {
                    world.say(&format!("s{number}{facet}"), &[*dice.pick(&ways)]);
                }
            }
        }
        if dice.one_in(2) {
            let said = match dice.below(5) {
                0 => verdict(decision::Outcome::Hold, Some("g")),
                1 => verdict(decision::Outcome::Reject, None),
                2 => verdict(decision::Outcome::Route, Some("short")),
                3 => verdict(decision::Outcome::Route, Some("long")),
                _ => verdict(decision::Outcome::Proceed, None),
            };
            world = world.rules(&format!("s{number}"), &[said]);
        }
    }
    world.boot();
    let told = |world: &World, problem: String| {
        format!("{problem}\n{text}\n{:?}\n{:#?}", world.asked, world.facts().iter().map(short).collect::<Vec<_>>())
    };
    for _ in 0..dice.below(EVENTS_MAX) {
        if world.is_down() {
            world.boot();
        }
        happen(&mut world, &mut dice).map_err(|problem| told(&world, problem))?;
        if world.is_down() {
            world.boot();
        }
        check(&world).map_err(|problem| told(&world, problem))?;
    }
    world.crash_in = None;
    // People let it come to its end.
    for _ in 0..400 {
        if world.is_down() {
            world.boot();
        }
        check(&world).map_err(|problem| told(&world, problem))?;
        if world.run().is_settled() && world.run().parked.is_none() {
            break;
        }
        if world.run().paused {
            world.control(Control::Continue);
        } else if !world.out.is_empty() {
            world.answer_at(0);
        } else if let Some(step) = world.parked() {
            let resolve = Control::Resolve {
                step: step.clone(),
                output: world.took_effect(&step).then(|| json!({"id": "x"}).into()),
            };
            if world.run().check_control(&resolve).is_ok() {
                world.control(resolve);
            } else if dice.one_in(2) && world.run().check_control(&Control::Resume).is_ok() {
                world.control(Control::Resume);
            } else if dice.one_in(2) {
                world.control(Control::Close { compensate: true });
            } else {
                world.control(Control::Cancel { compensate: true });
            }
        } else {
            world.wake();
        }
    }
    if !(world.run().is_settled() && world.run().parked.is_none()) {
        return Err(told(&world, "the run comes to no end".into()));
    }
    check_facts(&world.facts()).map_err(|problem| told(&world, problem))?;
    let facts = world.facts();
    let undoes = facts.iter().rev().find_map(|fact| match fact {
        Entry::Halted { undo, .. } => Some(*undo),
        Entry::Controlled(controlled) => match controlled.action {
            Control::Cancel { compensate } | Control::Close { compensate } => Some(compensate),
            _ => None,
        },
        _ => None,
    });
    if undoes == Some(true) && !facts.iter().any(|fact| matches!(fact, Entry::Restarted { .. })) {
        let left: Vec<String> = world.run().undoable().iter().map(|effect| world.run().path(*effect)).collect();
        let left: Vec<&String> = left
            .iter()
            .filter(|effect| {
                !HANDLER.with_borrow(|handler| handler.contains(effect.split('[').next().unwrap_or_default()))
            })
            .collect();
        if !left.is_empty() {
            return Err(told(&world, format!("not undone: {left:?}")));
        }
    }
    let outcome = Outcome {
        plan: &world.plan,
        facts: &facts,
        done: &world.done,
        undone: undoes == Some(true),
        stays: &|step| HANDLER.with_borrow(|handler| handler.contains(step)),
    };
    outcome.check().map_err(|problem| told(&world, problem))?;
    world.check_replay();
    Ok(())
}

fn short(entry: &Entry) -> String {
    format!("{entry:?}").chars().take(160).collect()
}

/// Lives through histories of pipelines that every `step`th seed from `first` on makes up; what failed.
fn lives(first: u64, step: usize, pipelines: u64) -> Vec<(Seed, String)> {
    let mut failed = Vec::new();
    for seed in (first..=pipelines).step_by(step) {
        match std::panic::catch_unwind(|| Made::of(seed)) {
            Ok(made) => (0..HISTORIES_OF_EACH).for_each(|number| live(&made, number, &mut failed)),
            Err(_) => failed.push((Seed(seed, 0), "its pipeline does not compile".into())),
        }
    }
    failed
}

fn live(made: &Made, number: u64, failed: &mut Vec<(Seed, String)>) {
    let problem = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history(made, number))) {
        Ok(Ok(())) => return,
        Ok(Err(problem)) => problem,
        Err(_) => "it panics".into(),
    };
    failed.push((Seed(made.seed, number), problem));
}

#[test]
fn whatever_happens_a_run_says_where_it_stands_and_does_nothing_twice() {
    let mut failed = Vec::new();
    let mut count = 1;
    if let Some(Seed(seed, number)) = std::env::var("CROSSDOCK_SEED").ok().and_then(|seed| Seed::read(&seed)) {
        live(&Made::of(seed), number, &mut failed);
    } else {
        let long = std::env::var("CROSSDOCK_LONG").is_ok_and(|value| value == "1");
        let pipelines = if long { PIPELINES * 10 } else { PIPELINES };
        count = pipelines * HISTORIES_OF_EACH;
        KEPT.iter().for_each(|seed| live(&Made::of(*seed), 0, &mut failed));
        #[expect(clippy::disallowed_methods, reason = "a test measures how long it takes")]
        let begun = std::time::SystemTime::now();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(16);
        std::thread::scope(|scope| {
            let parts: Vec<_> =
                (1..=cores as u64).map(|first| scope.spawn(move || lives(first, cores, pipelines))).collect();
            failed.extend(parts.into_iter().flat_map(|part| part.join().expect("a part comes to its end")));
        });
        let took_ms = begun.elapsed().map_or(1, |took| took.as_millis().max(1));
        println!("{count} histories, {} a second", u128::from(count) * 1_000 / took_ms);
    }
    let seeds: Vec<String> = failed
        .iter()
        .map(|(seed, problem)| format!("{seed}: {}", problem.lines().next().unwrap_or_default()))
        .collect();
    if let Some((seed, problem)) = failed.iter().min_by_key(|(_, problem)| problem.len()) {
        panic!("{} of {count} histories fail: {seeds:#?}\nCROSSDOCK_SEED={seed}: {problem}", failed.len());
    }
}
