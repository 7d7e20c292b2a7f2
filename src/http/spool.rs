//! Bytes that wait for a client: bodies that are still coming, replies that are not read yet.
//!
//! A few of them are kept in memory, more in a file without a name beside the database, which is gone
//! with its last handle whatever becomes of the process. So a client that is slow, or does not mean well,
//! costs disk and no memory; and of the disk an organization has its share (see [`Budget`]).

use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream::try_unfold;
use http_body_util::BodyExt;

use super::budget::{Budget, Held};
use super::on_disk::OnDisk;
use super::pace::Pace;
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Bytes that are kept in memory.
pub const MEMORY: usize = 64 << 10;
/// Bytes of all larger replies that are kept in memory all the same: most clients read at once, and the way over the
/// disk costs more than the reply.
const AT_HAND: usize = 8 << 20;
/// Bytes of all files together.
const DISK: usize = 1 << 30;
/// Of these for one organization.
const SHARE: usize = DISK / 4;
/// The file grows by so much at a time.
const STEP: usize = 256 << 10;
/// Bytes that are read from the file at once. There may be a thousand clients: each has one such piece on its way
/// through the file, and one on its way to the socket.
const PIECE: usize = 16 << 10;

/// Where the files are.
pub struct Spools {
    directory: PathBuf,
    budget: Arc<Budget>,
    at_hand: Arc<Budget>,
    pace: Pace<TenantId>,
}

/// Bytes in memory that count for as long as anybody has them.
struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Spools {
    /// Beside this database.
    pub fn new(database: &Path) -> Self {
        Spools {
            directory: database.parent().unwrap_or(Path::new(".")).to_owned(),
            budget: Budget::new(DISK, SHARE),
            at_hand: Budget::new(AT_HAND, AT_HAND / 4),
            pace: Pace::default(),
        }
    }

    /// Keeps a reply in memory until it is sent, where there is room for it; else it comes back.
    pub fn keep(&self, owner: TenantId, bytes: Bytes) -> Result<Bytes, Bytes> {
        match self.at_hand.try_take(owner, bytes.len()) {
            Some(_held) => Ok(Bytes::from_owner(Counted { bytes, _held })),
            None => Err(bytes),
        }
    }

    /// A file with room for the first bytes.
    fn file(&self, owner: TenantId) -> io::Result<OnDisk> {
        let held = self.budget.try_take(owner, STEP);
        let held = held.ok_or_else(|| io::Error::other(NoRoom))?;
        Ok(OnDisk::new(tempfile::tempfile_in(&self.directory)?, held))
    }

    /// A body that is still coming, until it is whole; more than a little of it waits on disk.
    pub async fn receive<B>(&self, owner: Option<TenantId>, body: B) -> Result<Received, Broken>
    where
        B: axum::body::HttpBody<Data = Bytes, Error = axum::BoxError>,
    {
        let mut body = std::pin::pin!(body);
        // What is not in the file yet: all of a small body.
        let mut piece = Vec::new();
        let mut file: Option<OnDisk> = None;
        let (mut length, mut room) = (0, STEP);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Broken::Body)?.into_data() else {
                continue;
            };
            length += data.len();
            piece.extend_from_slice(&data);
            if let Some(begun) = &mut file {
                while length > room {
                    if !begun.grow(STEP) {
                        return Err(full().into());
                    }
                    room += STEP;
                }
            }
            let Some(owner) = owner.filter(|_| piece.len() > MEMORY) else {
                continue;
            };
            let to = match file {
                Some(begun) => begun,
                None => self.file(owner).map_err(not_kept)?,
            };
            let came = piece.len();
            let (to, empty) = written(to, piece).await?;
            self.pace.sent(owner, came).await;
            (file, piece) = (Some(to), empty);
        }
        Ok(match file {
            None => Received::Memory(piece.into()),
            Some(file) => {
                let (file, _) = written(file, piece).await?;
                Received::Disk { file, length }
            }
        })
    }

    /// A reply as `write` makes it, and its length; more than a little of it goes to disk as it is made,
    /// and is sent from there.
    pub async fn reply<F>(self: &Arc<Self>, owner: TenantId, write: F) -> Result<(Body, u64)>
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    {
        let mut spool = self.writer(owner);
        tokio::task::spawn_blocking(move || {
            write(&mut spool).map_err(not_kept)?;
            let length = spool.length as u64;
            Ok((spool.into_body()?, length))
        })
        .await
        .map_err(Error::internal)?
    }

    /// Where a reply is written to before it is sent.
    pub fn writer(self: &Arc<Self>, owner: TenantId) -> Spool {
        Spool {
            spools: self.clone(),
            owner,
            start: Vec::new(),
            file: None,
            room: STEP,
            length: 0,
        }
    }
}

/// Writes a piece behind what a file has, and gives both back: many clients may send at the same time, so a thread
/// that writes is woken for a good piece and not for each packet.
async fn written(mut file: OnDisk, mut piece: Vec<u8>) -> Result<(OnDisk, Vec<u8>)> {
    let write = move || {
        let written = file.get().and_then(|file| file.write_all(&piece));
        written.map_err(not_kept)?;
        piece.clear();
        Ok((file, piece))
    };
    tokio::task::spawn_blocking(write)
        .await
        .map_err(Error::internal)?
}

/// Why a body did not come to its end.
pub enum Broken {
    /// It is the client's.
    Body(axum::BoxError),
    Store(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Store(error)
    }
}

/// A body that has come.
pub enum Received {
    Memory(Bytes),
    /// It waits on disk.
    Disk {
        file: OnDisk,
        length: usize,
    },
}

impl Received {
    pub fn len(&self) -> usize {
        match self {
            Received::Memory(bytes) => bytes.len(),
            Received::Disk { length, .. } => *length,
        }
    }

    /// To be read where it is, more than once.
    pub fn source(self) -> Source {
        match self {
            Received::Memory(bytes) => Source::Memory(bytes),
            Received::Disk { file, .. } => Source::Disk(file),
        }
    }

    /// All of it, in memory.
    pub async fn bytes(self) -> Result<Bytes> {
        match self {
            Received::Memory(bytes) => Ok(bytes),
            Received::Disk { mut file, length } => {
                let read = move || {
                    let mut bytes = Vec::with_capacity(length);
                    let file = file.get()?;
                    file.rewind()?;
                    file.read_to_end(&mut bytes)?;
                    Ok(bytes.into())
                };
                tokio::task::spawn_blocking(read)
                    .await
                    .map_err(Error::internal)?
                    .map_err(not_kept)
            }
        }
    }
}

/// A body that is read where it is: a small one in memory, others on disk.
pub enum Source {
    Memory(Bytes),
    Disk(OnDisk),
}

impl Source {
    /// From its beginning.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn rewound(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(match self {
            Source::Memory(bytes) => Box::new(&bytes[..]),
            Source::Disk(file) => {
                let file = file.get()?;
                file.rewind()?;
                Box::new(BufReader::with_capacity(PIECE, file))
            }
        })
    }
}

/// What is written, and then read once.
pub struct Spool {
    spools: Arc<Spools>,
    owner: TenantId,
    /// All of it while it is little, and what the file does not have yet.
    start: Vec<u8>,
    file: Option<OnDisk>,
    /// Bytes that there is room for, and those that are written.
    room: usize,
    length: usize,
}

impl Spool {
    /// Bytes that were written.
    pub fn len(&self) -> usize {
        self.length
    }

    /// What was written, as the body of a reply.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn into_body(mut self) -> Result<Body> {
        if self.file.is_none() {
            return Ok(self.start.into());
        }
        self.spill().map_err(not_kept)?;
        let Some(mut file) = self.file else {
            return Err(Error::internal("a spool without its file"));
        };
        file.get().and_then(|f| f.rewind()).map_err(not_kept)?;
        Ok(Body::from_stream(try_unfold(file, |file| async {
            let read = tokio::task::spawn_blocking(|| next_piece(file)).await;
            read.map_err(io::Error::other)?
        })))
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.spools.file(self.owner)?);
        }
        if let Some(file) = &mut self.file {
            file.get()?.write_all(&self.start)?;
            self.start.clear();
        }
        Ok(())
    }
}

/// What comes next in a file, and the file; nothing at its end.
fn next_piece(mut file: OnDisk) -> io::Result<Option<(Bytes, OnDisk)>> {
    let mut piece = vec![0; PIECE];
    let read = file.get()?.read(&mut piece)?;
    piece.truncate(read);
    Ok((read > 0).then(|| (piece.into(), file)))
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.start.len() + bytes.len() > MEMORY {
            self.spill()?;
            crate::store::pause();
        }
        self.length += bytes.len();
        match &mut self.file {
            Some(file) if bytes.len() > MEMORY => {
                while self.length > self.room {
                    if !file.grow(STEP) {
                        return Err(io::Error::other(NoRoom));
                    }
                    self.room += STEP;
                }
                file.get()?.write_all(bytes)?;
            }
            Some(file) if self.length > self.room => {
                if !file.grow(STEP) {
                    return Err(io::Error::other(NoRoom));
                }
                self.room += STEP;
                self.start.extend_from_slice(bytes);
            }
            _ => self.start.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The organization has its share of the disk.
#[derive(Debug)]
struct NoRoom;

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too much is waiting")
    }
}

impl std::error::Error for NoRoom {}

fn full() -> Error {
    Error::unavailable(
        "too much is waiting to be read by the clients of this organization; read it, or ask for pages",
        1,
    )
}

/// Why a reply could not be kept: ours, or that of the disk.
pub fn not_kept(error: io::Error) -> Error {
    match error.downcast::<NoRoom>() {
        Ok(_) => full(),
        Err(error) => Error::of_io(&error, Path::new("the data directory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_counts_until_nobody_has_it() {
        let spools = Spools::new(Path::new("never.db"));
        let [one, other] = [1, 2].map(|n| TenantId(uuid::Uuid::from_u128(n)));
        let large = Bytes::from(vec![0; AT_HAND / 4]);
        let kept = spools.keep(one, large.clone()).unwrap();
        assert!(spools.keep(one, large.clone()).is_err(), "it has its share");
        assert!(
            spools.keep(other, large.clone()).is_ok(),
            "nobody else's matter"
        );
        let part = kept.slice(..10);
        drop(kept);
        assert!(
            spools.keep(one, large.clone()).is_err(),
            "some of it is not sent yet"
        );
        drop(part);
        assert!(spools.keep(one, large).is_ok());
    }
}
