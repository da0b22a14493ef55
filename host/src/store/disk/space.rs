//! Room on the disk: below a limit no new work is taken in, so that what is under way can end; a reserve is given up so
//! that it does.
//!
//! `<dir>/reserve` is a file of a fixed size that holds nothing. It is removed when room gets short or a commit fails,
//! and made again once there is room for it and more.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What room a store asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Below this much free space no new work is taken in, bytes.
    pub intake_free_bytes_min: u64,
    /// Size of the reserve, bytes.
    pub reserve_bytes: u64,
}

impl Default for SpaceLimits {
    fn default() -> Self {
        // What a busy hub writes in a minute or so, with sled's own garbage; and enough to end what is under way.
        Self { intake_free_bytes_min: 256 << 20, reserve_bytes: 32 << 20 }
    }
}

/// Watches the free space of the file system that a store lies on.
#[derive(Debug)]
pub(super) struct Space {
    dir: PathBuf,
    reserve: PathBuf,
    limits: SpaceLimits,
    /// Whether intake is refused now.
    short: bool,
}

impl Space {
    pub(super) fn new(dir: &Path, limits: SpaceLimits) -> Self {
        Self { dir: dir.to_owned(), reserve: dir.join("reserve"), limits, short: false }
    }

    /// Free space for this process, bytes.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(&self.dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Looks at the disk, and makes or gives up the reserve. Why intake is refused, if it is.
    pub(super) fn look(&mut self) -> Option<String> {
        let free = match self.free_bytes() {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the free space of the data folder cannot be told");
                return None;
            }
        };
        let SpaceLimits { intake_free_bytes_min: least, reserve_bytes } = self.limits;
        // Intake begins again only a little above the limit, so that it does not go on and off.
        self.short = free < if self.short { least + least / 8 } else { least };
        if free < least / 4 {
            self.give_up_reserve();
        } else if free >= least.saturating_add(reserve_bytes) && !self.reserve.exists() {
            // Room that cannot be set aside is told by the limit; the reserve is a help, not a promise.
            if let Err(error) = self.make_reserve() {
                tracing::warn!(%error, "no reserve can be set aside in the data folder");
            }
        }
        self.short.then(|| {
            format!(
                "{} MiB are free in `{}`, and intake needs {} MiB: free some space, or archive runs that have ended \
                 (`crossdock archive run`); runs under way go on",
                free >> 20,
                self.dir.display(),
                least >> 20
            )
        })
    }

    fn make_reserve(&self) -> io::Result<()> {
        if self.limits.reserve_bytes == 0 {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&self.reserve)?;
        let made = fallocate(&file, FallocateFlags::empty(), 0, self.limits.reserve_bytes).map_err(io::Error::from);
        if made.is_err() {
            let _ = fs::remove_file(&self.reserve); // half a reserve is none
        }
        made.and_then(|()| file.sync_all())
    }

    /// Gives the reserve back to the file system, at once.
    pub(super) fn give_up_reserve(&self) {
        match fs::remove_file(&self.reserve) {
            Ok(()) => {
                tracing::warn!("room on the disk is short: the reserve was given up so that runs under way can end");
                // Some file systems give room back only with their next commit.
                if let Err(error) = File::open(&self.dir).and_then(|dir| dir.sync_all()) {
                    tracing::warn!(%error, "the data folder cannot be synced");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the reserve cannot be given up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(dir: &Path, least: u64) -> Space {
        Space::new(dir, SpaceLimits { intake_free_bytes_min: least, reserve_bytes: 1 << 20 })
    }

    #[test]
    fn with_room_there_is_a_reserve_and_intake() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(space(dir.path(), 1 << 20).look(), None);
        assert_eq!(fs::metadata(dir.path().join("reserve")).unwrap().len(), 1 << 20);
    }

    #[test]
    fn without_room_intake_is_refused_with_advice_and_the_reserve_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        space(dir.path(), 1 << 20).look();
        let advice = space(dir.path(), 1 << 60).look().unwrap();
        assert!(advice.contains("free some space"), "{advice}");
        assert!(!dir.path().join("reserve").exists());
    }

    #[test]
    fn intake_begins_again_only_above_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let free = space(dir.path(), 0).free_bytes().unwrap();
        let mut short = space(dir.path(), free * 2);
        assert!(short.look().is_some());
        short.limits.intake_free_bytes_min = free - free / 16;
        assert!(short.look().is_some(), "not yet");
        short.limits.intake_free_bytes_min = free / 2;
        assert!(short.look().is_none());
    }
}
