//! A component that is ready to be called: compiled, linked, and known by what it exports.

use std::{path::Path, sync::Arc};

use wasmtime::{
    Engine, Store,
    component::{Component, Instance, InstancePre, Linker},
};

use super::{
    bindings::{connector, paging, polling_source, rule, scorer, transform, webhook_source},
    call_state::CallState,
};
use crate::ports::invoker::{Inspection, LoadError};

/// What every call of a component shares.
pub(super) struct Loaded {
    /// As it was inspected.
    pub(super) inspection: Inspection,
    /// Compiled and linked; instantiating it is all that is left.
    pub(super) pre: InstancePre<CallState>,
    /// What can be called.
    pub(super) exports: Exports,
    /// What a guest sees at `/assets`.
    pub(super) assets: Option<Arc<Path>>,
}

/// The interfaces of the contract that a component exports, found once.
pub(super) struct Exports {
    pub(super) transform: Option<transform::GuestIndices>,
    pub(super) rule: Option<rule::GuestIndices>,
    pub(super) scorer: Option<scorer::GuestIndices>,
    pub(super) connector: Option<connector::GuestIndices>,
    pub(super) webhook_source: Option<webhook_source::GuestIndices>,
    pub(super) paging: Option<paging::GuestIndices>,
    pub(super) polling_source: Option<polling_source::GuestIndices>,
}

impl Loaded {
    /// Links a component.
    ///
    /// # Errors
    /// If an import cannot be given, or is of another type than the host's.
    pub(super) fn new(
        component: &Component,
        linker: &Linker<CallState>,
        inspection: Inspection,
        assets: Option<Arc<Path>>,
    ) -> Result<Self, LoadError> {
        let pre = linker.instantiate_pre(component).map_err(|error| LoadError::Contract {
            problem: format!("{error:#}; build against the WIT of this hub, with a toolchain for WASI 0.2"),
        })?;
        let exports = Exports {
            transform: transform::GuestIndices::new(&pre).ok(),
            rule: rule::GuestIndices::new(&pre).ok(),
            scorer: scorer::GuestIndices::new(&pre).ok(),
            connector: connector::GuestIndices::new(&pre).ok(),
            webhook_source: webhook_source::GuestIndices::new(&pre).ok(),
            paging: paging::GuestIndices::new(&pre).ok(),
            polling_source: polling_source::GuestIndices::new(&pre).ok(),
        };
        Ok(Self { inspection, pre, exports, assets })
    }

    /// Checks the types of all exports in an instance: the names alone say nothing about them.
    ///
    /// # Errors
    /// Names the interface that does not have the contract's types.
    pub(super) fn check_types(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError> {
        let exports = &self.exports;
        let mut found = false;
        let mut check = |name: &str, loaded: Option<wasmtime::Result<()>>| match loaded {
            None => Ok(()),
            Some(Ok(())) => {
                found = true;
                Ok(())
            }
            Some(Err(error)) => Err(LoadError::Contract {
                problem: format!(
                    "`crossdock:plugin/{name}` is not as the contract has it: {error:#}; build against this hub's WIT"
                ),
            }),
        };
        macro_rules! check_each {
            ($($field:ident $name:literal),*) => {
                $(check($name, exports.$field.as_ref().map(|found| found.load(&mut *store, instance).map(|_| ())))?;)*
            };
        }
        check_each!(
            transform "transform", rule "rule", scorer "scorer", connector "connector", paging "paging",
            webhook_source "webhook-source", polling_source "polling-source"
        );
        if found {
            return Ok(());
        }
        Err(LoadError::Contract {
            problem: "none of its interfaces can be called by this hub; build against this hub's WIT".into(),
        })
    }
}

/// Compiles a component.
///
/// # Errors
/// What the engine says.
pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> Result<Component, LoadError> {
    Component::new(engine, wasm).map_err(|error| LoadError::Compile { problem: format!("{error:#}") })
}
