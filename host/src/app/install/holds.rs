//! Pipelines that are paused as a whole, as they are recorded.

use super::{InstallError, Installer, read};
use crate::{
    app::installation::Installation,
    model::{audit::Cause, hold::Hold},
};

const PREFIX: &str = "hold/";

impl Installer {
    /// Every pipeline that is paused.
    pub(super) async fn load_holds(&self, next: &mut Installation) -> Result<(), InstallError> {
        for (key, stored) in self.all(PREFIX).await? {
            next.holds.insert(key.trim_start_matches(PREFIX).to_owned(), read(&key, &stored)?);
        }
        Ok(())
    }

    /// Records that a pipeline is paused, or is not any more.
    ///
    /// # Errors
    /// As [`InstallError`] says; nothing has changed then.
    pub(in crate::app) async fn hold(
        &self,
        cause: &Cause,
        pipeline: &str,
        hold: Option<&Hold>,
    ) -> Result<(), InstallError> {
        let key = format!("{PREFIX}{pipeline}");
        match hold {
            Some(hold) => self.put_as(cause, "pipeline.pause", &key, hold).await,
            None => Ok(self.audit.delete_as(&*self.records, cause, "pipeline.continue", &key).await?),
        }
    }
}
