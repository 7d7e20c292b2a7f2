//! The buckets of one part of a series. There may be a quarter of a million of them in a reply, so each is held
//! once and small, and made into what the reply shows when that is written.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::bucket::Bucket;
use crate::clock::Timestamp;
use crate::usage::meter::units::{Amount, Shown, narrow};

/// What a part consumed in each bucket.
pub struct Split {
    /// Start of each bucket and whether only a part of it is shown, the same for all parts.
    buckets: Arc<[(Timestamp, bool)]>,
    cells: Vec<Cell>,
}

/// What a part consumed in one bucket: exactly, until the other parts are known and with them how it is shown.
#[derive(Clone, Copy)]
enum Cell {
    /// An [`Amount`] of a single bucket, which needs no more than 64 bits.
    Exact {
        ms: i64,
        credit_ms: i64,
        micros: i64,
    },
    Shown(Shown),
}

impl Cell {
    fn of(amount: Amount) -> Self {
        Cell::Exact {
            ms: narrow(amount.ms),
            credit_ms: narrow(amount.credit_ms),
            micros: narrow(amount.micros),
        }
    }

    fn amount(self) -> Amount {
        match self {
            Cell::Exact {
                ms,
                credit_ms,
                micros,
            } => Amount {
                ms: ms.into(),
                credit_ms: credit_ms.into(),
                micros: micros.into(),
            },
            Cell::Shown(_) => Amount::default(),
        }
    }
}

impl Split {
    /// Nothing yet in any of these buckets.
    pub fn new(buckets: &Arc<[(Timestamp, bool)]>) -> Self {
        Split {
            cells: vec![Cell::of(Amount::default()); buckets.len()],
            buckets: buckets.clone(),
        }
    }

    /// Adds to bucket `n`.
    pub fn add(&mut self, n: usize, amount: Amount) {
        self.cells[n] = Cell::of(self.exact(n) + amount);
    }

    /// Adds those of another part.
    pub fn add_all(&mut self, other: &Split) {
        (0..self.cells.len()).for_each(|n| self.add(n, other.exact(n)));
    }

    /// What is in bucket `n`, before it is shown.
    pub fn exact(&self, n: usize) -> Amount {
        self.cells[n].amount()
    }

    /// What is in all buckets, before they are shown.
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        self.cells.iter().for_each(|cell| total += cell.amount());
        total
    }

    /// Says how bucket `n` is shown.
    pub fn show(&mut self, n: usize, shown: Shown) {
        self.cells[n] = Cell::Shown(shown);
    }

    /// The buckets as they are shown, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Bucket> {
        self.buckets
            .iter()
            .zip(self.shown())
            .map(|(bucket, shown)| Bucket::new(*bucket, shown))
    }

    /// What all buckets show.
    pub fn sum(&self) -> Shown {
        let mut sum = Shown::default();
        self.shown().for_each(|shown| sum += shown);
        sum
    }

    fn shown(&self) -> impl Iterator<Item = Shown> {
        self.cells.iter().map(|cell| match cell {
            Cell::Shown(shown) => *shown,
            Cell::Exact { .. } => Shown::default(),
        })
    }
}

impl Serialize for Split {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}
