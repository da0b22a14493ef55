//! Registered schemas of events, read from their records.

use std::sync::Arc;

use super::{InstallError, Installer, read};
use crate::{
    app::installation::Installation,
    model::event_schema::{SchemaRecord, TypeRecord},
};

/// What keys of versions of schemas begin with.
pub(in crate::app) const SCHEMAS: &str = "schema/";
/// What keys of what holds for a type as a whole begin with.
pub(in crate::app) const TYPES: &str = "schema-type/";

impl Installer {
    /// The event types that come with the hub, and those that are recorded.
    pub(super) async fn load_schemas(&self, next: &mut Installation) -> Result<(), InstallError> {
        let mut types = (*self.library.events).clone();
        for (key, stored) in self.all(TYPES).await? {
            let record: TypeRecord = read(&key, &stored)?;
            types.set(key.trim_start_matches(TYPES), record);
        }
        for (key, stored) in self.all(SCHEMAS).await? {
            let record: SchemaRecord = read(&key, &stored)?;
            let damaged = |problem: String| InstallError::Damaged { key: key.clone(), problem };
            let (name, number) = key
                .strip_prefix(SCHEMAS)
                .and_then(|rest| rest.rsplit_once('/'))
                .and_then(|(name, number)| Some((name, number.parse().ok()?)))
                .ok_or_else(|| damaged("it names no version of an event type".to_owned()))?;
            types.add(name, number, self.library.version(record).map_err(damaged)?);
        }
        next.events = Arc::new(types);
        Ok(())
    }
}
