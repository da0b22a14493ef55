//! A copy of a store in use: the committer stands still while the database is copied, and goes on before the copy is
//! looked at.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Store,
    committer::Committer,
    fault::Fault,
    opening::{self, Paths},
};
use crate::ports::journal::ReadError;

impl Store {
    /// Copies the store to a directory that does not exist yet, durably; for how long nothing was committed
    /// meanwhile, milliseconds. The copy is not proven: open it and verify it.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub async fn copy_to(&self, dir: &Path) -> Result<u64, ReadError> {
        let (from, to) = (self.paths.clone(), Paths::new(dir));
        std::fs::create_dir_all(dir).map_err(Fault::from)?;
        let (still, target) = (from.clone(), to.clone());
        let paused = self.at_rest(move |committer| committer.copy_still(&still, &target)).await?;
        let rest = move || opening::copy_constant(&from, &to).map_err(Fault::from);
        tokio::task::spawn_blocking(rest).await.map_err(Fault::failed)??;
        Ok(u64::try_from(paused.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Committer {
    fn copy_still(&mut self, from: &Paths, to: &Paths) -> Result<Duration, Fault> {
        let begun = Instant::now();
        // So that the database is whole without the log, what sled did by itself, such as moving pages, included.
        self.opened()?.settle()?;
        opening::copy_still(from, to)?;
        Ok(begun.elapsed())
    }
}
