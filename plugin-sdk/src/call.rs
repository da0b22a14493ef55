//! Where a call happens, and with what settings.

use serde::de::DeserializeOwned;

use crate::Failure;

/// Where in which run a call happens. The same for every attempt of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The run's id.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline's version.
    pub pipeline_version: String,
    /// The step's name within the pipeline.
    pub name: String,
    /// The recorded time of this step, RFC 3339. A pure plugin's clock stands still at this instant.
    pub now: String,
    /// The settings as JSON; read them with [`Step::config`].
    pub config: Vec<u8>,
    /// More facts.
    pub attributes: Vec<(String, String)>,
}

impl Step {
    /// The settings as a type.
    ///
    /// # Errors
    /// `permanent` with `config.invalid`, if they are not of that type.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Failure> {
        config(&self.config)
    }
}

/// One operation to carry out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The operation's name in the manifest.
    pub operation: String,
    /// Identifies the intended effect: the same for every attempt, for ever. Give it to the remote.
    pub idempotency_key: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// Where the call happens.
    pub step: Step,
}

impl Call {
    /// The settings as a type. The hub adds `base_url`, where the connection's remote is.
    ///
    /// # Errors
    /// `permanent` with `config.invalid`, if they are not of that type.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Failure> {
        self.step.config()
    }
}

pub(crate) fn config<C: DeserializeOwned>(text: &[u8]) -> Result<C, Failure> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::permanent("config.invalid", format!("the settings do not fit: {error}")))
}
