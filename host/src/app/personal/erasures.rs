//! The keys that were destroyed: a list beside the key of the audit log. An older backup still holds such keys; whoever
//! restores it names this list, and they are destroyed again before the hub starts.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::model::id::SubjectKeyId;

/// Where the list is in a data folder.
#[must_use]
pub fn path_in(data: &Path) -> PathBuf {
    data.join("audit").join("erasures")
}

/// The keys of a list: one on each line. A last line that was cut short is none; there is no list if there is no file.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub fn read(path: &Path) -> io::Result<BTreeSet<SubjectKeyId>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| line.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"))))
        .collect()
}

/// Adds keys, durably; those that are there already are not added again.
///
/// # Errors
/// If it cannot be written: then none of them may be destroyed.
pub fn add(path: &Path, keys: impl IntoIterator<Item = SubjectKeyId>) -> io::Result<()> {
    let mut all = read(path)?;
    let before = all.len();
    all.extend(keys);
    if all.len() == before {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    for key in all {
        writeln!(file, "{key}")?;
    }
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{add, path_in, read};
    use crate::model::id::{SubjectId, SubjectKeyId};

    #[test]
    fn what_was_added_is_there_once_and_a_line_that_was_cut_short_is_not() {
        let data = tempfile::tempdir().unwrap();
        let path = path_in(data.path());
        let key = |number: u8| SubjectKeyId::new(SubjectId::from_bytes([number; 16]), [0; 8]);
        assert!(read(&path).unwrap().is_empty());
        add(&path, [key(2), key(1)]).unwrap();
        add(&path, [key(1), key(3)]).unwrap();
        assert_eq!(read(&path).unwrap().into_iter().collect::<Vec<_>>(), [key(1), key(2), key(3)]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}sky_00")).unwrap();
        assert_eq!(read(&path).unwrap().len(), 3);
        std::fs::write(&path, "something else\n").unwrap();
        assert!(read(&path).is_err(), "a file that is no list is not passed over");
    }
}
