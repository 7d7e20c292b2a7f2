//! What is asked of an engine, and what it answers.
//!
//! Nothing here is Docker's: names are those of this program, sizes are bytes and billionths of a CPU, and
//! instants are nanoseconds as the engine saw them. A cluster would implement the same verbs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::pin::Pin;

use axum::body::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use super::cores::Cpus;

/// What an engine answers, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// Bytes that come piece by piece.
pub type Pieces = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug)]
pub enum Fault {
    /// There is no engine, or it does not answer: nothing is known.
    Silent(String),
    /// It has no such thing.
    Missing(String),
    /// It cannot do this at all.
    Unable(String),
    /// It answered, and did not do it.
    Refused(String),
}

impl Fault {
    /// What it says, for people.
    pub fn text(&self) -> &str {
        match self {
            Fault::Silent(text)
            | Fault::Missing(text)
            | Fault::Unable(text)
            | Fault::Refused(text) => text,
        }
    }
}

/// What an engine is, and what it can do.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `Docker 20.10.24` or `Podman 4.3.1`.
    pub name: String,
    pub podman: bool,
    /// Of the host.
    pub cpus: i64,
    /// Their numbers, where it can and is to hold a container to some of them.
    pub pins_to: Cpus,
    pub limits_memory: bool,
    pub limits_cpu: bool,
    pub limits_pids: bool,
    pub seccomp: bool,
    pub user_namespaces: bool,
    pub runtimes: Vec<String>,
    /// Where its containers lie on this machine.
    pub data: Option<PathBuf>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It was made, and has not run since the engine's last start.
    Created,
    Running,
    Exited,
    /// In a state that it does not leave by itself.
    Stuck,
}

/// A container in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub life: Life,
    /// Seconds.
    pub created: i64,
}

/// A container, looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: String,
    pub life: Life,
    /// Its first process, as this machine counts processes; `None`: not known.
    pub pid: Option<u32>,
    /// Nanoseconds; when it last began.
    pub started: Option<i64>,
    /// Nanoseconds; when it last ended. Means something only when it has exited.
    pub finished: Option<i64>,
    pub exit_code: i64,
    pub out_of_memory: bool,
    /// The CPUs of the host that it is held to.
    pub cpus: Cpus,
    pub networks: Vec<String>,
    /// Where this machine reaches its ports, if it is in a network.
    pub address: Option<IpAddr>,
    pub labels: BTreeMap<String, String>,
}

/// A network of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    pub name: String,
    /// Addresses in it: the first of them, and how many bits they have in common.
    pub subnets: Vec<(Ipv4Addr, u8)>,
    /// As which interface this machine has it, once somebody is in it.
    pub bridge: String,
}

/// What holds a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// What it weighs where CPUs are scarce; a program outside of containers weighs 1024.
    pub cpu_shares: i64,
    /// Those that it runs on.
    pub cpus: Cpus,
    /// Bytes, without swap.
    pub memory: i64,
    pub processes: i64,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub host_name: String,
    pub image: String,
    /// Instead of what the image says; empty: what the image says.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub limits: Limits,
    /// File handles of a process.
    pub files: i64,
    /// Processes of one user, on the whole host: not what bounds a container.
    pub user_processes: i64,
    /// `None`: no network at all.
    pub network: Option<String>,
    pub runtime: Option<String>,
    /// A volume by name, and where it lies in the container; a new one is filled with what the image has there.
    pub volume: Option<(String, String)>,
    pub read_only: bool,
    pub user: Option<String>,
}

/// What a program in a container is to be.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub command: Vec<String>,
    pub dir: Option<String>,
    pub env: Vec<String>,
    /// Something is sent to it.
    pub input: bool,
    /// It is in a terminal: both streams are one.
    pub terminal: bool,
}

/// What comes from a program.
#[derive(Debug)]
pub enum Output {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// It has ended with this code.
    Exit(i64),
    /// The engine broke off.
    Lost(Fault),
}

/// A program that runs: what it says, and what is said to it. Dropping the sender ends its input.
pub struct Running {
    /// The engine's name of it.
    pub id: String,
    pub output: mpsc::Receiver<Output>,
    pub input: Option<mpsc::Sender<Vec<u8>>>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds of CPU since it began.
    pub cpu: u64,
    /// Bytes in use, without what could be dropped.
    pub memory: u64,
    pub memory_limit: u64,
    pub received: u64,
    pub sent: u64,
    pub processes: u64,
}

/// A verb each. None of them is called inside a transaction; whoever calls bounds the time.
pub trait Engine: Send + Sync {
    /// Who it is, and what it can do.
    fn about(&self) -> Answer<'_, About>;
    /// All containers with this label.
    fn list<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Listed>>;
    /// One container, by name or id.
    fn inspect<'a>(&'a self, name: &'a str) -> Answer<'a, Seen>;
    /// Whether the processes of a container can be listed: the proof that one that is said to run does.
    fn alive<'a>(&'a self, name: &'a str) -> Answer<'a, bool>;
    /// Makes a container, which does not run yet; returns its id.
    fn create<'a>(&'a self, spec: &'a Spec) -> Answer<'a, String>;
    fn start<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
    /// Asks it to end, and ends it after `grace` seconds.
    fn stop<'a>(&'a self, name: &'a str, grace: i32) -> Answer<'a, ()>;
    /// Ends and removes it; its volume stays.
    fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
    fn remove_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
    /// Holds a container to other limits while it runs.
    fn update<'a>(&'a self, name: &'a str, limits: Limits) -> Answer<'a, ()>;
    /// Makes a network if there is none of this name.
    fn network<'a>(&'a self, name: &'a str, label: &'a str, internal: bool) -> Answer<'a, ()>;
    /// All networks with this label.
    fn networks<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Net>>;
    fn remove_network<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
    /// Puts a container into this network, and out of those.
    fn plug<'a>(&'a self, name: &'a str, into: &'a str, out_of: &'a [String]) -> Answer<'a, ()>;
    /// Whether there is such an image.
    fn has_image<'a>(&'a self, image: &'a str) -> Answer<'a, bool>;
    /// Bytes of an image, with all that it is made from; `None`: there is none.
    fn image_size<'a>(&'a self, image: &'a str) -> Answer<'a, Option<u64>>;
    fn remove_image<'a>(&'a self, image: &'a str) -> Answer<'a, ()>;
    /// Makes an image of what a container has written, which its volumes are not part of.
    fn commit<'a>(&'a self, name: &'a str, image: &'a str) -> Answer<'a, ()>;
    /// Copies a directory from one container that runs to the same place in another, which need not.
    fn carry<'a>(&'a self, from: &'a str, to: &'a str, dir: &'a str) -> Answer<'a, ()>;
    /// All files of a container as a tar file, those of its volumes too.
    fn disk<'a>(&'a self, name: &'a str) -> Answer<'a, Pieces>;
    /// Runs a program in a running container.
    fn exec<'a>(&'a self, name: &'a str, program: Program) -> Answer<'a, Running>;
    /// Another size of a program's terminal.
    fn resize<'a>(&'a self, program: &'a str, columns: u16, rows: u16) -> Answer<'a, ()>;
    /// The last lines that the container's own program has written; with `follow` also what comes.
    fn logs<'a>(
        &'a self,
        name: &'a str,
        lines: u32,
        since: i64,
        follow: bool,
    ) -> Answer<'a, mpsc::Receiver<Output>>;
    fn usage<'a>(&'a self, name: &'a str) -> Answer<'a, Usage>;
    /// Tells the ids of containers to which something happened, from `since` (seconds) on.
    fn events(&self, since: i64) -> Answer<'_, mpsc::Receiver<String>>;
}
