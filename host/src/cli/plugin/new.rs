//! `crossdock plugin new`: a plugin that builds, passes its tests and the gate, to be changed into the one that is meant.

mod sdk;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use crate::{
    cli::{Failed, out::Out},
    model::id::PluginId,
};

/// The plugin to begin.
#[derive(Args, Debug)]
pub(in crate::cli) struct New {
    /// Its id, such as `acme/quantity-limit`; a name alone gets the namespace `example`.
    name: String,
    /// What it does.
    #[arg(long, value_enum)]
    kind: KindName,
    /// Its folder. Without it: the name, here; in Crossdock's own workspace below `plugins/`.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The plugin SDK's folder. Without it: that of the workspace that this program was built from, or a copy.
    #[arg(long, value_name = "DIR", conflicts_with = "vendor_sdk")]
    sdk: Option<PathBuf>,
    /// Put a copy of the SDK into the folder, so that it builds on any machine.
    #[arg(long)]
    vendor_sdk: bool,
}

/// What a plugin does.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum KindName {
    /// Decides; pure.
    Rule,
    /// Turns one document into another; pure.
    Transform,
    /// Recommends; pure.
    Scorer,
    /// Talks to one external system.
    Connector,
}

/// A template file and where it goes.
type TemplateFile = (&'static str, &'static str);

macro_rules! template {
    ($kind:literal, $($from:literal => $to:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../../../templates/", $kind, "/", $from)))),*]
    };
}

const RULE: &[TemplateFile] = template!["rule",
    "lib.rs" => "src/lib.rs",
    "plugin.toml" => "plugin.toml",
    "input.json" => "schemas/input.json",
    "golden.json" => "golden/large-quantity.json",
];
const TRANSFORM: &[TemplateFile] = template!["transform",
    "lib.rs" => "src/lib.rs",
    "plugin.toml" => "plugin.toml",
    "input.json" => "schemas/input.json",
    "output.json" => "schemas/output.json",
    "golden.json" => "golden/trims.json",
];
const SCORER: &[TemplateFile] = template!["scorer",
    "lib.rs" => "src/lib.rs",
    "plugin.toml" => "plugin.toml",
    "input.json" => "schemas/input.json",
    "golden.json" => "golden/sends-most-back.json",
];
const CONNECTOR: &[TemplateFile] = template!["connector",
    "lib.rs" => "src/lib.rs",
    "plugin.toml" => "plugin.toml",
    "config.json" => "schemas/config.json",
    "stock-input.json" => "schemas/stock-input.json",
    "stock-output.json" => "schemas/stock-output.json",
];
const README: &str = include_str!("../../../templates/README.md");

impl KindName {
    fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Transform => "transform",
            Self::Scorer => "scorer",
            Self::Connector => "connector",
        }
    }

    fn template(self) -> &'static [TemplateFile] {
        match self {
            Self::Rule => RULE,
            Self::Transform => TRANSFORM,
            Self::Scorer => SCORER,
            Self::Connector => CONNECTOR,
        }
    }
}

impl New {
    pub(super) fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let id = if self.name.contains('/') { self.name.clone() } else { format!("example/{}", self.name) };
        let id: PluginId = id.parse().map_err(|error| format!("{error}: lower-case letters, digits and `-`"))?;
        let (namespace, name) = id.as_str().split_once('/').unwrap_or(("", id.as_str()));
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None if is_workspace(Path::new(".")) => Path::new("plugins").join(name),
            None => PathBuf::from(name),
        };
        if folder.exists() && fs::read_dir(&folder)?.next().is_some() {
            return Err(format!("`{}` is not empty; name another with --folder", folder.display()).into());
        }
        fs::create_dir_all(&folder)?;
        let home = Home::of(&folder, &self)?;
        let package = format!("{namespace}-{name}-0.1.0");
        let golden_row = match self.kind {
            KindName::Connector => "",
            _ => {
                "| `golden/` | inputs and the answers that they must give; checked in the sandbox before publishing |\n"
            }
        };
        let fill = |text: &str| {
            text.replace("{{id}}", id.as_str())
                .replace("{{name}}", name)
                .replace("{{namespace}}", namespace)
                .replace("{{kind}}", self.kind.name())
                .replace("{{package}}", &package)
                .replace("{{golden_row}}\n", golden_row)
        };
        let mut files: Vec<(PathBuf, String)> =
            self.kind.template().iter().map(|(to, text)| (PathBuf::from(to), fill(text))).collect();
        files.push(("README.md".into(), fill(README)));
        files.push(("Cargo.toml".into(), home.manifest(name, self.kind)));
        if let Home::Copy = home {
            files.extend(sdk::files());
        }
        if !matches!(home, Home::Member) {
            files.push((".gitignore".into(), "/target\n*.key\n".to_owned()));
        }
        for (to, text) in &files {
            let to = folder.join(to);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&to, text).map_err(|error| format!("cannot write `{}`: {error}", to.display()))?;
        }
        if out.is_json() {
            let files: Vec<&PathBuf> = files.iter().map(|(path, _)| path).collect();
            out.value(&serde_json::json!({ "id": id, "folder": folder, "files": files }));
        }
        out.say(format!("{} {} in {}", out.green("began"), out.bold(id.as_str()), folder.display()));
        out.say(format!("next: cd {} && crossdock plugin test", folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the plugin lives, and so where its SDK comes from.
enum Home {
    /// A member of Crossdock's own workspace.
    Member,
    /// On its own, with the SDK in this folder.
    Beside(PathBuf),
    /// On its own, with a copy of the SDK.
    Copy,
}

impl Home {
    fn of(folder: &Path, new: &New) -> Result<Self, Failed> {
        let whole = folder.canonicalize()?;
        let in_workspace = whole.parent().is_some_and(|parent| {
            parent.file_name().is_some_and(|name| name == "plugins") && parent.parent().is_some_and(is_workspace)
        });
        if new.vendor_sdk {
            return Ok(Self::Copy);
        }
        if let Some(sdk) = &new.sdk {
            if !sdk.join("Cargo.toml").is_file() {
                return Err(format!("`{}` holds no plugin SDK", sdk.display()).into());
            }
            return Ok(Self::Beside(sdk.canonicalize()?));
        }
        if in_workspace {
            return Ok(Self::Member);
        }
        Ok(crate::cli::workspace().map_or(Self::Copy, |root| Self::Beside(root.join("plugin-sdk"))))
    }

    fn manifest(&self, name: &str, kind: KindName) -> String {
        let sdk = match self {
            Self::Member => "../../plugin-sdk".to_owned(),
            Self::Beside(sdk) => sdk.display().to_string().replace('\\', "/"),
            Self::Copy => "sdk/plugin-sdk".to_owned(),
        };
        let mut text = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"Apache-2.0\"\n\
             publish = false\n\n[lib]\n# The component, and a library for its tests.\n\
             crate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\ncrossdock-plugin = {{ path = \"{sdk}\" }}\n\
             serde = {{ version = \"1\", features = [\"derive\"] }}\n"
        );
        if kind == KindName::Connector {
            text.push_str("serde_json = \"1\"\n");
        }
        if !matches!(self, Self::Member) {
            text.push_str(
                "\n# On its own, whatever lies around it.\n[workspace]\n\n# Small rather than fast to build: every call \
                 starts a fresh instance.\n[profile.release]\nopt-level = \"s\"\nlto = true\ncodegen-units = 1\n\
                 panic = \"abort\"\nstrip = true\n",
            );
        }
        text
    }
}

/// Whether a folder is the root of Crossdock's own workspace.
fn is_workspace(folder: &Path) -> bool {
    fs::read_to_string(folder.join("plugin-sdk/Cargo.toml"))
        .is_ok_and(|text| text.contains("name = \"crossdock-plugin\""))
        && folder.join("Cargo.toml").is_file()
}
