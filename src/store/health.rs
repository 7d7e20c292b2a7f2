//! What is known of the storage: the last write says whether it works.

use std::sync::atomic::{AtomicU8, Ordering};

use super::failure::Fault;

/// The storage as the last write that touched the disk left it. Damage stays until a restart.
#[derive(Default)]
pub struct Health(AtomicU8);

const WORKS: u8 = 0;
const FULL: u8 = 1;
const IO: u8 = 2;
const DAMAGED: u8 = 3;

impl Health {
    /// What is wrong; `None` = nothing known.
    pub fn fault(&self) -> Option<Fault> {
        match self.0.load(Ordering::Acquire) {
            FULL => Some(Fault::Full),
            IO => Some(Fault::Io),
            DAMAGED => Some(Fault::Damaged),
            _ => None,
        }
    }

    /// A page of the database was found damaged: no more writes.
    pub fn is_damaged(&self) -> bool {
        self.fault() == Some(Fault::Damaged)
    }

    pub(super) fn failed(&self, fault: Fault) {
        let code = match fault {
            Fault::Full => FULL,
            Fault::Io => IO,
            Fault::Damaged => DAMAGED,
        };
        let before = self.0.fetch_max(code, Ordering::AcqRel);
        if code == DAMAGED && before != DAMAGED {
            tracing::error!(
                "the database is damaged: nothing is written any more. Stop the service, look with \
                 `workspaced check FILE`, go back with `workspaced restore BACKUP`"
            );
        }
    }

    /// A sound database has taken the place of the one before.
    pub(super) fn replaced(&self) {
        if self.0.swap(WORKS, Ordering::AcqRel) == DAMAGED {
            tracing::info!("the damaged database was replaced; writes go on");
        }
    }

    /// A commit reached the disk.
    pub(super) fn works(&self) {
        for fault in [FULL, IO] {
            let mended = self
                .0
                .compare_exchange(fault, WORKS, Ordering::AcqRel, Ordering::Relaxed);
            if mended.is_ok() {
                tracing::info!("the storage works again");
            }
        }
    }
}
