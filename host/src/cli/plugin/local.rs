//! A package loaded into a sandbox of its own, to be called without a hub.

use std::path::Path;

use tempfile::TempDir;

use super::opened::Opened;
use crate::{
    app::package::Package,
    cli::Failed,
    model::{id::hash32, json::Json, limits::Limits, manifest::Kind, timestamp::Timestamp},
    ports::invoker::{Authority, Component, Invocation, Invoker as _, StepContext, Work},
    wasm::Sandbox,
};

/// A rule, scorer or transform that can be called.
pub(super) struct Local {
    /// The package.
    pub(super) package: Package,
    /// Where it is loaded.
    pub(super) sandbox: Sandbox,
    _opened: Opened,
    _cache: TempDir,
}

impl Local {
    /// Loads a package.
    ///
    /// # Errors
    /// If it cannot be read, does not load, or is a connector.
    pub(super) async fn load(path: &Path) -> Result<Self, Failed> {
        let opened = Opened::new(path)?;
        let package = Package::read(&opened.folder)?;
        if !package.manifest.kind.is_pure() {
            let id = &package.manifest.id;
            return Err(
                format!("`{id}` is a connector: `plugin test` runs its own tests against a scripted remote").into()
            );
        }
        let cache = tempfile::tempdir()?;
        let sandbox = Sandbox::new(cache.path())?;
        let (digest, wasm, assets) = (package.digest, package.wasm.clone(), package.assets.clone());
        sandbox.load(Component { digest, wasm, assets }).await?;
        Ok(Self { package, sandbox, _opened: opened, _cache: cache })
    }

    /// The bounds of a call, as a hub would set them.
    pub(super) fn limits(&self) -> Limits {
        self.package.manifest.limits.capped(&Limits::CEILING)
    }

    /// Why a hub would not call it with an input, if so.
    pub(super) fn misfit(&self, input: &Json) -> Option<String> {
        let validator = jsonschema::validator_for(self.package.schemas.input.as_ref()?).ok()?;
        validator.iter_errors(&input.to_value()).next().map(|error| error.to_string())
    }

    /// A call with an input; the same input is the same call.
    ///
    /// # Errors
    /// If it is no rule, scorer or transform.
    pub(super) fn call(&self, input: Json, now: Timestamp) -> Result<Invocation, Failed> {
        let seed = hash32("crossdock local 1", &[input.as_bytes()]);
        let step = StepContext {
            run: "run_local".to_owned(),
            pipeline: "local/run".to_owned(),
            pipeline_version: "1.0.0".to_owned(),
            name: "run".to_owned(),
            config: Json::empty_object(),
            attributes: Vec::new(),
        };
        let work = match self.package.manifest.kind {
            Kind::Rule => Work::Rule { input, step },
            Kind::Scorer => Work::Score { input, step },
            Kind::Transform => Work::Transform { input, step },
            Kind::Connector => return Err("a connector is not called without a hub".into()),
        };
        let (component, limits, authority) = (self.package.digest, self.limits(), Authority::default());
        Ok(Invocation { component, work, limits, now, seed, authority })
    }
}
