//! Why something is not installed, and what to do about it.

use crate::{
    app::audit::AuditError,
    flow::{language::Diagnostic, plan::compile},
    model::id::Digest,
    ports::{blobs::BlobError, invoker::LoadError, records::RecordError},
};

/// Why something is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The component is refused.
    #[error("plugin `{plugin}` is refused")]
    Component {
        /// Its id and version.
        plugin: String,
        /// Why.
        source: LoadError,
    },
    /// The manifest does not hold.
    #[error("plugin `{plugin}` is refused: {problem}")]
    Manifest {
        /// Its id and version.
        plugin: String,
        /// What, and what to change.
        problem: String,
    },
    /// The plugin's assets cannot be kept.
    #[error("the assets of plugin `{plugin}` cannot be copied into the data folder")]
    Assets {
        /// Its id and version.
        plugin: String,
        /// Why.
        source: std::io::Error,
    },
    /// The version is taken by other content.
    #[error("plugin `{plugin}` is installed with digest {installed}; a version never changes: raise `version`")]
    VersionTaken {
        /// Its id and version.
        plugin: String,
        /// The digest that is installed.
        installed: Digest,
    },
    /// The pipeline has mistakes.
    #[error("pipeline `{name}` is refused: {}", first(diagnostics))]
    Pipeline {
        /// Its name, or the file's.
        name: String,
        /// Every mistake.
        diagnostics: Vec<Diagnostic>,
    },
    /// The pipeline's version is taken by another text.
    #[error("pipeline `{name}` {version} is installed with another text; a version never changes: raise `version`")]
    PipelineTaken {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The pipeline cannot be made to run.
    #[error("pipeline `{name}` is refused")]
    Plan {
        /// Its name.
        name: String,
        /// Why.
        source: compile::PlanError,
    },
    /// A connection, source or binding does not hold.
    #[error("{what} is refused: {problem}")]
    Setting {
        /// Which.
        what: String,
        /// What, and what to change.
        problem: String,
    },
    /// The store does not take it.
    #[error("cannot be recorded")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
    /// The audit log does not take it, or the store does not take what was recorded there.
    #[error("cannot be changed")]
    Audit {
        /// Why.
        #[from]
        source: AuditError,
    },
    /// The store does not take the component.
    #[error("the component cannot be stored")]
    Blob {
        /// Why.
        #[from]
        source: BlobError,
    },
    /// What is recorded cannot be understood.
    #[error("record `{key}` cannot be understood: {problem}")]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        problem: String,
    },
    /// The component of an installed plugin is gone.
    #[error(
        "the component of plugin `{plugin}` is missing from the store: restore it from a backup, or install it again"
    )]
    MissingComponent {
        /// Its id and version.
        plugin: String,
    },
}

fn first(diagnostics: &[Diagnostic]) -> String {
    let more = diagnostics.len().saturating_sub(1);
    let Some(first) = diagnostics.first() else { return String::new() };
    let text = format!(
        "line {}, column {}: {} [{}]; instead: {}",
        first.line, first.column, first.problem, first.code, first.instead
    );
    if more == 0 { text } else { format!("{text} (and {more} more: `crossdock pipeline check` shows all)") }
}
