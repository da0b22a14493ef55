//! Why a hub does not start, and what to do then.

use std::path::PathBuf;

use crate::{
    app::{
        access::AccessError, audit, facts::FactsError, install::InstallError, package::PackageError,
        personal::keyring::KeyringError, reseal::ResealError, secrets::store::StoreError,
    },
    ports::{apis::ApiError, records::RecordError, registry::RegistryError, subscriptions::SubscriptionError},
    store::disk::OpenError,
};

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("cannot use data folder `{path}`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store refuses to open.
    #[error("the store in `{path}` does not open")]
    Store {
        /// Its folder.
        path: PathBuf,
        /// What is wrong, and how to proceed.
        source: OpenError,
    },
    /// The sandbox cannot be made.
    #[error("the sandbox cannot be made")]
    Sandbox {
        /// Why.
        source: crate::wasm::SandboxError,
    },
    /// The way out cannot be made.
    #[error("the egress client cannot be made: {problem}")]
    Egress {
        /// Why.
        problem: String,
    },
    /// The contracts that come with the hub do not hold.
    #[error("a built-in contract does not hold: {problem}")]
    Contracts {
        /// Which, and why.
        problem: String,
    },
    /// Something declared or recorded cannot be installed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A package that the configuration names cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A pipeline's file cannot be read.
    #[error("cannot read pipeline `{path}`")]
    Pipeline {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Facts {
        /// Why.
        #[from]
        source: FactsError,
    },
    /// The hub's own records cannot be used.
    #[error("the hub's records cannot be used")]
    Record {
        /// Why.
        #[from]
        source: RecordError,
    },
    /// Who may come in cannot be set up.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Reads that are declared to be published cannot be.
    #[error("an API of the configuration or the records is refused")]
    Api {
        /// Why.
        #[from]
        source: ApiError,
    },
    /// A subscription that is declared or recorded cannot be taken up.
    #[error("a subscription of the configuration or the records is refused")]
    Subscription {
        /// Why.
        #[from]
        source: SubscriptionError,
    },
    /// Whose signatures count cannot be told.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The secrets that the hub keeps cannot be used.
    #[error(transparent)]
    Secrets(#[from] StoreError),
    /// The keys of personal data cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// What was being sealed anew cannot be.
    #[error(transparent)]
    Reseal(#[from] ResealError),
    /// The audit log cannot be used, and without it nothing may be changed.
    #[error(transparent)]
    Audit(#[from] audit::begin::BeginError),
    /// Who is to keep checkpoints cannot be set up.
    #[error(transparent)]
    Anchor(#[from] audit::anchor::AnchorError),
}
