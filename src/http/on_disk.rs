//! A file without a name, and the room that it takes until it is closed.

use std::fs::File;
use std::io;

use tokio::runtime::Handle;

use super::budget::Held;

/// Such a file.
pub struct OnDisk(Option<(File, Held)>);

impl OnDisk {
    pub fn new(file: File, held: Held) -> Self {
        OnDisk(Some((file, held)))
    }

    /// The file itself.
    ///
    /// # Errors
    /// None while it is held.
    pub fn get(&mut self) -> io::Result<&mut File> {
        let open = self.0.as_mut();
        open.map(|(file, _)| file)
            .ok_or_else(|| io::Error::other("the file is closed"))
    }

    /// Takes room for so many bytes more, where the organization has it.
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.0.as_mut().is_some_and(|(_, held)| held.grow(bytes))
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let open = self.0.take();
        // With its last handle the system gives back all of its pages: for a large one that takes milliseconds,
        // in which a thread that serves requests would serve nobody.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(open)));
        }
    }
}
