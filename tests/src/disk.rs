//! An ext4 file system of its own on a loop device, whose power can be cut: what the device holds at a moment is copied,
//! which leaves out whatever had not reached it, and the copy takes the place of the original. That needs root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How large it is, bytes: a hub wants 256 MiB free before it takes in anything. What is not written takes no room.
const SIZE_BYTES: u64 = 1 << 30;

/// The file system, mounted. Unmounted when dropped.
pub struct Disk {
    /// The device's file.
    image: PathBuf,
    /// Where it is mounted.
    pub mount: PathBuf,
    cuts: usize,
}

impl Disk {
    /// Makes one below a folder.
    ///
    /// # Errors
    /// Why none can be had here.
    pub fn create(folder: &Path) -> Result<Self, String> {
        let (image, mount) = (folder.join("disk.0"), folder.join("mount"));
        let made = fs::File::create(&image).and_then(|file| file.set_len(SIZE_BYTES));
        made.and_then(|()| fs::create_dir(&mount)).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let disk = Self { image, mount, cuts: 0 };
        disk.mount_it()?;
        Ok(disk)
    }

    fn mount_it(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// Copies what the device holds now, while whoever writes to it stands still; the copy's number.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn copy(&mut self) -> Result<usize, String> {
        self.cuts += 1;
        let to = self.image.with_extension(self.cuts.to_string());
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(to))?;
        Ok(self.cuts)
    }

    /// Puts a copy in the original's place, at the same folder; nobody may have anything open there any more.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn put_in_place(&mut self, copy: usize) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount))?;
        let image = self.image.with_extension(copy.to_string());
        let before = std::mem::replace(&mut self.image, image);
        let _ = fs::remove_file(before);
        self.mount_it()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).output();
        let _ = fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
