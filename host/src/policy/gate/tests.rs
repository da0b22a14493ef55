//! The gate against a table of changes: what each means for the version number, what it is called, and what becomes of the
//! version that says too little, and of the one that says enough.

mod changes;
mod comparison;
mod documents;
mod refusals;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    difference::{Difference, Reach},
    *,
};
use crate::model::{
    limits::Usage,
    schemas::{OperationSchemas, Schemas},
    surface::{Function, Interface, Shape},
};

/// A version to be changed.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) manifest: String,
    pub(super) schemas: Schemas,
    pub(super) imports: Vec<&'static str>,
    pub(super) exports: Vec<&'static str>,
    pub(super) golden: Vec<GoldenResult>,
    pub(super) files: BTreeMap<String, u64>,
    /// What else is in the package.
    pub(super) content: &'static str,
}

impl Draft {
    fn new(kind: &str, rest: &str) -> Self {
        let manifest = format!(
            "id = \"acme/x\"\nversion = \"1.0.0\"\nkind = \"{kind}\"\ncontract = \"1.0.0\"\nlicense = \"MIT\"\n\
             summary = \"x\"\n{rest}"
        );
        let exports = match kind {
            "rule" => vec!["rule"],
            "transform" => vec!["transform"],
            "scorer" => vec!["scorer"],
            _ => vec!["connector"],
        };
        Self {
            manifest,
            schemas: Schemas::default(),
            imports: vec!["crossdock:plugin/log@1.0.0", "wasi:io/streams@0.2.6"],
            exports,
            golden: Vec::new(),
            files: BTreeMap::from([("plugin.toml".to_owned(), 200), ("component.wasm".to_owned(), 40_000)]),
            content: "",
        }
    }

    /// A rule that reads orders.
    pub(super) fn rule() -> Self {
        let mut draft = Self::new("rule", "[rule]\noutcomes = [\"proceed\", \"hold\"]\n");
        draft.schemas.input = Some(json!({
            "type": "object",
            "required": ["total"],
            "properties": { "total": { "type": "integer", "minimum": 0 }, "class": { "enum": ["a", "b"] } },
        }));
        draft
    }

    /// A transform with settings and output.
    pub(super) fn transform() -> Self {
        let mut draft = Self::new("transform", "produces = [\"acme.order.read\"]\n");
        let order = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["key"],
            "properties": { "key": { "type": "string", "maxLength": 35 }, "class": { "enum": ["a", "b"] } },
        });
        draft.schemas.output = Some(order.clone());
        draft.schemas.events.insert("acme.order.read".to_owned(), order);
        draft.schemas.config = Some(json!({
            "type": "object",
            "additionalProperties": false,
            "properties": { "mode": { "type": "string", "default": "quick" } },
        }));
        draft
    }

    /// A scorer that recommends one of two.
    pub(super) fn scorer() -> Self {
        let card = "[model_card]\nmodel = \"m\"\nversion = \"1\"\nrecommendations = [\"look\", \"accept\"]\n\
                    training_data = \"x\"\nmetrics = \"x\"\nlimits = \"x\"\n";
        Self::new("scorer", card)
    }

    /// A connector with a read and a write.
    pub(super) fn connector() -> Self {
        let rest = "implements = [\"retail/warehouse@1\"]\n[operations.find]\neffect = \"read\"\n[operations.create]\n\
                    effect = \"write\"\ndoubt = { by = \"native-key\" }\ncompensate = \"cancel\"\n[operations.cancel]\n\
                    effect = \"write\"\n[secrets]\nhmac = \"signs\"\n[[capabilities.http]]\n\
                    origin = \"https://api.acme.example\"\nmethods = [\"GET\", \"POST\"]\nreason = \"x\"\n\
                    authenticate = false\n[capabilities]\nstate = [\"cursors\"]\n[limits]\nmemory_bytes = 16000000\n\
                    fuel_base = 1000000\n";
        // TOML wants the table before its array.
        let rest = rest.replace("[capabilities]\nstate = [\"cursors\"]\n", "");
        let rest =
            rest.replace("[[capabilities.http]]", "[capabilities]\nstate = [\"cursors\"]\n[[capabilities.http]]");
        let mut draft = Self::new("connector", &rest);
        draft.imports.extend(["wasi:http/outgoing-handler@0.2.0", "crossdock:plugin/state@1.0.0"]);
        let schemas = OperationSchemas {
            input: Some(
                json!({ "type": "object", "required": ["sku"], "properties": { "sku": { "type": "string" } } }),
            ),
            output: Some(
                json!({ "type": "object", "required": ["free"], "properties": { "free": { "type": "integer" } } }),
            ),
        };
        draft.schemas.operations.insert("find".to_owned(), schemas);
        draft
    }

    /// Replaces a part of the manifest, which has to be there.
    #[track_caller]
    pub(super) fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.manifest.contains(from), "no `{from}` in {}", self.manifest);
        self.manifest = self.manifest.replacen(from, to, 1);
        self
    }

    pub(super) fn version(self, version: &str) -> Self {
        self.replace("version = \"1.0.0\"", &format!("version = \"{version}\""))
    }

    pub(super) fn subject(&self) -> Subject {
        let manifest = toml::from_str(&self.manifest).unwrap_or_else(|error| panic!("{error}: {}", self.manifest));
        let contract = contract();
        let typed = |names: &[&str], of: &BTreeMap<String, Interface>| -> BTreeMap<String, Interface> {
            names
                .iter()
                .map(|name| {
                    let full =
                        if name.contains(':') { (*name).to_owned() } else { format!("crossdock:plugin/{name}@1.0.0") };
                    let functions = of.get(&full).cloned().unwrap_or_default();
                    (full, functions)
                })
                .collect()
        };
        Subject {
            manifest,
            component: Digest::of(self.content.as_bytes()),
            content: Digest::of(format!("{}{:?}{}", self.manifest, self.schemas, self.content).as_bytes()),
            schemas: self.schemas.clone(),
            surface: Surface {
                imports: typed(&self.imports, &contract.imports),
                exports: typed(&self.exports, &contract.exports),
                sbom: None,
            },
            files: self.files.clone(),
        }
    }
}

/// The contract in short: the real one is read where the tools for it are.
pub(super) fn contract() -> Surface {
    let simple = |name: &str| Shape::Simple(name.to_owned());
    let json = || Shape::List(Box::new(simple("u8")));
    let step = Shape::Record(
        "step".to_owned(),
        vec![("run".to_owned(), simple("string")), ("now".to_owned(), simple("string"))],
    );
    let kinds = ["retryable", "uncertain"].map(str::to_owned).to_vec();
    let failure = Shape::Record(
        "failure".to_owned(),
        vec![("kind".to_owned(), Shape::Enum("failure-kind".to_owned(), kinds)), ("code".to_owned(), simple("string"))],
    );
    let target = Shape::Option(Box::new(simple("string")));
    let verdict =
        Shape::Record("verdict".to_owned(), vec![("target".to_owned(), target), ("reasons".to_owned(), json())]);
    let pure = |result: Shape| Function {
        params: vec![("input".to_owned(), json()), ("step".to_owned(), step.clone())],
        result: Some(Shape::Result(Some(Box::new(result)), Some(Box::new(failure.clone())))),
    };
    let interface = |name: &str, function: &str, of: Function| {
        (format!("crossdock:plugin/{name}@1.0.0"), Interface::from([(function.to_owned(), of)]))
    };
    let nothing = || Function::default();
    Surface {
        imports: BTreeMap::from([
            interface(
                "log",
                "write",
                Function { params: vec![("message".to_owned(), simple("string"))], result: None },
            ),
            interface("state", "get", nothing()),
            interface("context", "annotate", nothing()),
            interface("secrets", "sign", nothing()),
            interface("envelope", "none", nothing()),
        ]),
        exports: BTreeMap::from([
            interface("rule", "evaluate", pure(verdict)),
            interface("transform", "apply", pure(json())),
            interface("scorer", "score", pure(json())),
            interface("connector", "invoke", nothing()),
            interface("paging", "fetch", nothing()),
            interface("webhook-source", "receive", nothing()),
            interface("polling-source", "poll", nothing()),
        ]),
        sbom: None,
    }
}

fn references() -> BTreeMap<String, Value> {
    BTreeMap::from([("acme/money@1".to_owned(), json!({ "type": "object", "required": ["amount"] }))])
}

pub(super) fn judged(previous: Option<&Draft>, candidate: &Draft) -> Report {
    let (previous, candidate_subject) = (previous.map(Draft::subject), candidate.subject());
    let published: Vec<Published> = previous
        .iter()
        .map(|subject| Published { version: subject.manifest.version.clone(), content: subject.content })
        .collect();
    judge(&Facts {
        candidate: &candidate_subject,
        previous: previous.as_ref(),
        published: &published,
        contract: &contract(),
        references: &references(),
        golden: (!candidate.golden.is_empty()).then_some(&candidate.golden),
    })
}

/// One change: what it is called, what it means, and whether an operator has to agree.
#[track_caller]
pub(super) fn change(name: &str, before: &Draft, after: &Draft, bump: Bump, rule: &str, consent: bool) {
    let too_little = if bump == Bump::Major { "1.1.0" } else { "1.0.1" };
    let report = judged(Some(before), &after.clone().version(too_little));
    assert_eq!(report.bump, Some(bump), "{name}: {:#?}", report.findings);
    assert!(report.has(rule), "{name}: no {rule} in {:#?}", report.findings);
    compared(name, before, &after.clone().version(too_little), &report);
    let refused = bump > Bump::Patch;
    assert_eq!(report.verdict == Verdict::Refused, refused, "{name} as {too_little}: {:#?}", report.findings);
    assert_eq!(report.has("version.bump-too-small"), refused, "{name}: {:#?}", report.findings);
    // Whoever is refused is told what to do.
    let silent = report.findings.iter().find(|it| it.severity != Severity::Note && it.change.is_empty());
    assert!(silent.is_none(), "{name}: {silent:?}");
    let enough = version::next(&Version::new(1, 0, 0), bump).to_string();
    let report = judged(Some(before), &after.clone().version(&enough));
    let expected = if consent { Verdict::NeedsConsent } else { Verdict::Accepted };
    assert_eq!(report.verdict, expected, "{name} as {enough}: {:#?}", report.findings);
}

/// The comparison alone says of two versions what the gate says of the second.
#[track_caller]
fn compared(name: &str, before: &Draft, after: &Draft, report: &Report) {
    let found = Difference::between(&before.subject(), &after.subject(), &references());
    assert_eq!(Some(found.bump), report.bump, "{name}");
    // An interface that is new or gone is a change; whether what is there is the contract's is asked of a candidate alone.
    let alone = |finding: &&Finding| {
        let changes = finding.rule.starts_with("world.interface-");
        !changes
            && ["size.", "import.", "world.", "schema.profile", "golden."].iter().any(|of| finding.rule.starts_with(of))
    };
    let judged: Vec<&Finding> = report.findings.iter().filter(|finding| !alone(finding)).collect();
    assert_eq!(found.findings.iter().collect::<Vec<_>>(), judged, "{name}");
    let widened = found.findings.iter().any(|finding| finding.severity == Severity::Consent);
    assert_eq!(found.capabilities == Reach::Widened, widened, "{name}: {found:#?}");
}

pub(super) fn golden(name: &str, passed: bool, fuel: u64) -> GoldenResult {
    GoldenResult {
        name: name.to_owned(),
        passed,
        difference: (!passed).then(|| "/outcome is \"hold\", expected \"proceed\"".to_owned()),
        usage: Usage { fuel, memory_bytes: 1, elapsed_us: 1, log_lines_dropped: 0 },
        fuel_limit: 1_000,
        memory_limit: 1_000,
    }
}

pub(super) fn set(schema: &mut Option<Value>, pointer: &str, value: Value) {
    let schema = schema.as_mut().expect("schema");
    let (parent, name) = pointer.rsplit_once('/').expect("pointer");
    let parent = schema.pointer_mut(parent).expect("parent").as_object_mut().expect("object");
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
}
