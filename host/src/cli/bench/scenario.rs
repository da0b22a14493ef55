//! What a benchmark runs: the pipelines, the plugins they need, what the hub is told, and the events.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::ValueEnum;

use crate::{
    app::build,
    cli::{Failed, out::Out, plugin::spinner},
};

/// The plugins' folders: the pure step, and the write.
const PLUGINS: [&str; 2] = ["bench-transform", "bench-effect"];
/// What every pipeline listens to.
const EVENT_TYPE: &str = "bench.order.placed.v1";

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// Three pure steps and two writes.
    #[value(name = "five-step")]
    Five,
    /// Five pure steps.
    #[value(name = "pure-five-step")]
    PureFive,
    /// Two pure steps and a write.
    #[value(name = "three-step")]
    Three,
    /// Runs that only wait, very many.
    Parked,
}

/// A step of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A transform.
    Pure,
    /// A call that writes.
    Write,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Five => "five-step",
            Self::PureFive => "pure-five-step",
            Self::Three => "three-step",
            Self::Parked => "parked",
        })
    }
}

impl Scenario {
    /// In order.
    pub(super) fn steps(self) -> &'static [Step] {
        use Step::{Pure, Write};
        match self {
            Self::Five => &[Pure, Pure, Write, Pure, Write],
            Self::PureFive => &[Pure, Pure, Pure, Pure, Pure],
            Self::Three => &[Pure, Pure, Write],
            Self::Parked => &[],
        }
    }

    /// How many steps are of a kind.
    pub(super) fn count(self, kind: Step) -> u32 {
        u32::try_from(self.steps().iter().filter(|step| **step == kind).count()).unwrap_or(u32::MAX)
    }

    /// Builds the plugins; their packages, as [`Package`] calls them.
    pub(super) fn build(self, out: &Out, sources: &Path) -> Result<Vec<PathBuf>, Failed> {
        let folder = sources.parent().unwrap_or(sources).join("target/plugins");
        let mut packages = Vec::with_capacity(PLUGINS.len());
        for name in PLUGINS {
            let bar = spinner(out, &format!("building plugin {name}"));
            let built =
                build::build(&sources.join(name), &folder, &mut |artifact| bar.set_message(artifact.to_owned()));
            bar.finish_and_clear();
            packages.push(built?);
        }
        Ok(packages)
    }

    /// Writes the pipeline and the hub's configuration into a data folder; the configuration's file.
    pub(super) fn prepare(self, data: &Path, target: &str, packages: &[PathBuf]) -> Result<PathBuf, Failed> {
        fs::create_dir_all(data)?;
        fs::write(data.join("bench.yaml"), self.pipeline())?;
        let bindings = match self.count(Step::Write) {
            0 => serde_json::json!({}),
            _ => serde_json::json!({ Self::name(self): { "target": "bench-target" } }),
        };
        let config = serde_json::json!({
            "plugins": packages,
            "pipelines": ["bench.yaml"],
            "connections": { "bench-target": {
                "plugin": "crossdock/bench-effect",
                "base_url": target,
                "allow_addresses": ["127.0.0.1/32"],
            } },
            "bindings": bindings,
        });
        let file = data.join(crate::app::config::CONFIG_FILE);
        fs::write(&file, toml::to_string(&config)?)?;
        Ok(file)
    }

    fn name(self) -> String {
        format!("bench/{self}")
    }

    /// Each step hands the document on to the next pure one.
    fn pipeline(self) -> String {
        let uses = if self.count(Step::Write) > 0 { "{ target: bench/target@1 }" } else { "{}" };
        let mut text = format!(
            "pipeline: {}\nversion: 1.0.0\nowner: bench\nsummary: What `crossdock bench` runs.\nuses: {uses}\n\
             trigger: [{{ event: {EVENT_TYPE} }}]\nkey: event.subject\nsteps:\n",
            self.name()
        );
        let mut document = "event.data".to_owned();
        for (number, step) in self.steps().iter().enumerate() {
            let (id, what) = match step {
                Step::Pure => (format!("pass_{number}"), "transform: crossdock/bench-transform@^1"),
                Step::Write => (format!("put_{number}"), "call: target#put"),
            };
            text.push_str(&format!("  - {{ id: {id}, {what}, with: \"${{ {document} }}\" }}\n"));
            if *step == Step::Pure {
                document = format!("steps.{id}");
            }
        }
        text
    }
}

/// Events, each with an id and a key that no other has. Cheap to clone; clones share the numbering.
#[derive(Clone)]
pub(super) struct Events {
    /// Makes ids unlike those of an earlier benchmark on the same data.
    nonce: Arc<str>,
    next: Arc<AtomicU64>,
    payload_bytes: usize,
}

impl Events {
    pub(super) fn new(payload_bytes: u32) -> Result<Self, Failed> {
        let nonce = getrandom::u64()?;
        Ok(Self {
            nonce: format!("{nonce:016x}").into(),
            next: Arc::default(),
            payload_bytes: usize::try_from(payload_bytes)?,
        })
    }

    /// The next event as structured CloudEvents JSON.
    pub(super) fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let nonce = &self.nonce;
        format!(
            r#"{{"specversion":"1.0","id":"{nonce}-{number}","source":"/bench","type":"{EVENT_TYPE}","subject":"{nonce}-{number}","data":{}}}"#,
            order(number, self.payload_bytes)
        )
    }
}

/// An order of about so many bytes, no two alike: articles and quantities that follow from its number.
pub(super) fn order(number: u64, bytes: usize) -> String {
    let mut state = number;
    let mut random = || {
        // SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let mut text = format!(r#"{{"order":"{number:09}","currency":"EUR","lines":["#);
    let mut separator = "";
    loop {
        let line = format!(
            r#"{separator}{{"sku":"ART-{:07}","quantity":{},"unit_price":"{}.{:02}"}}"#,
            random() % 10_000_000,
            1 + random() % 9,
            1 + random() % 400,
            random() % 100
        );
        if text.len() + line.len() + 2 > bytes && !separator.is_empty() {
            break;
        }
        text.push_str(&line);
        separator = ",";
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::{Events, Scenario, Step, order};
    use crate::flow::language;

    #[test]
    fn an_order_is_json_of_about_the_wanted_size() {
        for bytes in [64, 1024, 100_000] {
            let text = order(7, bytes);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            assert!(bytes < 200 || (bytes - 70..=bytes).contains(&text.len()), "{} of {bytes}", text.len());
        }
        assert_ne!(order(1, 1024), order(2, 1024));
    }

    #[test]
    fn no_two_events_have_the_same_id() {
        let events = Events::new(64).unwrap();
        let ids: std::collections::BTreeSet<String> = (0..100)
            .map(|_| serde_json::from_str::<serde_json::Value>(&events.clone().next()).unwrap()["id"].to_string())
            .collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn each_scenario_is_named_after_its_steps() {
        let counts = Scenario::value_variants().iter().map(|it| (it.count(Step::Pure), it.count(Step::Write)));
        assert_eq!(counts.collect::<Vec<_>>(), [(3, 2), (5, 0), (2, 1), (0, 0)]);
        for scenario in Scenario::value_variants().iter().filter(|it| **it != Scenario::Parked) {
            let text = scenario.pipeline();
            assert!(language::parse(&text).is_ok(), "{text}");
        }
    }
}
