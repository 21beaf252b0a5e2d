//! The data folder: where the files are, and the lock that keeps it to one runtime.
//!
//! The lock file names the runtime that holds it (process id and AWS-facing address), so that commands on the same
//! folder go through it. The lock itself is the operating system's: it ends with the process, however that ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::StartError;

/// A data folder that is ours as long as this lives.
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

/// Who holds a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its AWS-facing address, such as `http://127.0.0.1:41234`; empty if it is a command that serves nobody.
    pub aws: String,
}

impl Folder {
    /// Creates the folder if need be and takes its lock.
    pub(crate) fn take(path: &Path) -> Result<Folder, StartError> {
        let unwritable = |error: std::io::Error| StartError::Unwritable { folder: path.into(), why: error.to_string() };
        fs::create_dir_all(path).map_err(unwritable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.into(), lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { folder: path.into(), holder: holder(&mut lock) }),
            Err(TryLockError::Error(error)) => Err(unwritable(error)),
        }
    }

    /// Says who holds it.
    pub(crate) fn announce(&mut self, holder: &Holder) -> Result<(), StartError> {
        let unwritable =
            |error: std::io::Error| StartError::Unwritable { folder: self.path.clone(), why: error.to_string() };
        let text = serde_json::to_vec(holder).unwrap_or_default();
        self.lock
            .set_len(0)
            .and_then(|()| self.lock.rewind())
            .and_then(|()| self.lock.write_all(&text))
            .map_err(unwritable)
    }

    /// The file of that name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    /// Closing the file is not enough if a process that we start at this very moment has it for an instant, too.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

fn holder(lock: &mut File) -> Option<Holder> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
