//! Whether the files are still where they were opened.
//!
//! A directory that is moved or removed beside the running service takes nothing from it: it goes on
//! writing into files that nobody will open again. So before a write is acknowledged they are looked for
//! by their names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// The files of an open database, and which they are.
pub(super) struct Home(Vec<(PathBuf, Identity)>);

/// Device and number: the same for the same file only, whatever its name.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

impl Home {
    /// Of a database that has just been opened. What is not there is not looked for.
    pub(super) fn of(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let lock = database.with_file_name(super::open::LOCK);
        let files = [database.to_owned(), log.into(), lock].into_iter();
        Home(
            files
                .filter_map(|path| identity(&path).map(|is| (path, is)))
                .collect(),
        )
    }

    /// An error of the storage where one of them has gone.
    pub(super) fn check(&self) -> rusqlite::Result<()> {
        let gone = self
            .0
            .iter()
            .find(|(path, was)| identity(path) != Some(*was));
        match gone {
            None => Ok(()),
            Some((path, _)) => Err(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_IOERR),
                Some(format!(
                    "{} is not there any more, or is another file",
                    path.display()
                )),
            )),
        }
    }
}
