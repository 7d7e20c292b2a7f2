//! Docker's API over a unix socket, which Podman speaks too: the one file that knows the crate.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum,
    ContainerSummaryStateEnum, ContainerUpdateBody, ExecConfig, HostConfig, HostConfigLogConfig,
    Mount, MountType, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
    ResourcesUlimits,
};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, DownloadFromContainerOptions, EventsOptions,
    InspectContainerOptions, ListContainersOptions, ListNetworksOptions, LogsOptions,
    RemoveContainerOptions, RemoveImageOptions, RemoveVolumeOptions, StatsOptions,
    StopContainerOptions, TopOptions, UploadToContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker, body_try_stream};
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::cores::{Cpus, parse, to_text};
use super::host::online_cpus;
use super::seam::{
    About, Answer, Engine, Fault, Life, Limits, Listed, Net, Output, Pieces, Program, Running,
    Seen, Spec, Usage,
};
use super::spec;
use crate::clock::{Clock, Timestamp};

/// Seconds after which the crate gives up a call; whoever calls is less patient.
const TIMEOUT_S: u64 = 600;
/// Pieces of output that wait for a slow reader.
const WAITING: usize = 16;
/// So long after the end of a container Podman may still clean up after it, milliseconds.
const CLEANED_UP_MS: u64 = 3000;
/// What a container does not need of what engines grant by default.
const DROPPED: [&str; 3] = ["NET_RAW", "MKNOD", "AUDIT_WRITE"];

/// An engine at a socket.
pub struct DockerApi {
    socket: PathBuf,
    docker: Docker,
    podman: bool,
}

/// Connects to an engine and asks who it is.
///
/// # Errors
/// In a sentence: nobody there, no permission, no answer.
pub async fn connect(socket: &Path) -> Result<(DockerApi, About), Fault> {
    let path = socket.display();
    if let Err(e) = tokio::net::UnixStream::connect(socket).await {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        return Err(match e.kind() {
            NotFound => Fault::Missing(format!("there is no {path}")),
            PermissionDenied => Fault::Silent(format!(
                "may not open {path}: add the user of this service to the group that owns it (docker) and start it again; that group is as good as root"
            )),
            ConnectionRefused => Fault::Silent(format!(
                "{path} exists but nobody answers: is the daemon running? systemctl status docker"
            )),
            _ => Fault::Silent(format!("{path}: {e}")),
        });
    }
    let text = socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&text, TIMEOUT_S, API_DEFAULT_VERSION).map_err(fault)?;
    let docker = docker.negotiate_version().await.map_err(fault)?;
    let mut api = DockerApi {
        socket: socket.to_owned(),
        docker,
        podman: false,
    };
    let about = api.about().await?;
    api.podman = about.podman;
    Ok((api, about))
}

fn fault(e: Error) -> Fault {
    match e {
        Error::DockerResponseServerError {
            status_code: 404,
            message,
        } => Fault::Missing(message),
        Error::DockerResponseServerError {
            status_code: 405 | 501,
            message,
        } => Fault::Unable(message),
        Error::DockerResponseServerError {
            status_code,
            message,
        } => Fault::Refused(format!("{} ({status_code})", message.trim())),
        // Podman 4 answers some questions about a container that a loss of power has ended with nothing.
        e @ (Error::JsonDataError { .. } | Error::JsonSerdeError { .. }) => {
            Fault::Refused(format!("the container engine's answer cannot be read: {e}"))
        }
        other => Fault::Silent(format!("the container engine does not answer: {other}")),
    }
}

/// An instant of the API, nanoseconds; `None` where it says "never".
fn nanos(text: Option<&str>) -> Option<i64> {
    let text = text.filter(|text| !text.starts_with("0001-"))?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let zone = if rest.is_empty() {
        ""
    } else {
        &rest[digits.len()..]
    };
    let seconds = Timestamp::parse(&format!("{whole}{zone}"))?
        .0
        .checked_mul(1_000_000)?;
    let fraction = format!("{digits:0<9}").get(..9)?.parse::<i64>().ok()?;
    seconds.checked_add(fraction).filter(|at| *at > 0)
}

impl DockerApi {
    async fn look(&self, name: &str) -> Result<ContainerInspectResponse, Fault> {
        let options = None::<InspectContainerOptions>;
        self.docker
            .inspect_container(name, options)
            .await
            .map_err(fault)
    }
}

impl DockerApi {
    /// Podman takes the network of a container that has ended down a little later, in a process of its own that
    /// nothing tells of. What comes up on that network meanwhile would lose the rules that keep it apart.
    async fn cleaned_up(&self, name: &str) -> Result<(), Fault> {
        let found = match self.look(name).await {
            Ok(found) if self.podman => found,
            Ok(_) | Err(Fault::Missing(_)) => return Ok(()),
            Err(e) => return Err(e),
        };
        let state = found.state.unwrap_or_default();
        if let Some(ended) = nanos(state.finished_at.as_deref())
            && state.running != Some(true)
        {
            let ago = Clock::System.now().0 - ended / 1_000_000;
            let left = CLEANED_UP_MS.saturating_sub(ago.max(0).unsigned_abs());
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
        Ok(())
    }
}

impl DockerApi {
    /// Starts a program in a terminal. The crate takes the bytes of a terminal for the frames of what is none, as
    /// soon as one of them is small enough, and then waits for as much as a program in a computer likes.
    async fn attach(
        &self,
        id: &str,
    ) -> Result<
        (
            impl Stream<Item = Result<Output, Fault>> + use<>,
            impl AsyncWrite + Send + Unpin + use<>,
        ),
        Fault,
    > {
        let silent = |e: &dyn std::fmt::Display| {
            Fault::Silent(format!("the container engine broke off: {e}"))
        };
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|e| silent(&e))?;
        let (mut sender, connection) = http1::handshake::<_, String>(TokioIo::new(stream))
            .await
            .map_err(|e| silent(&e))?;
        tokio::spawn(connection.with_upgrades());
        let version = self.docker.client_version();
        let request = Request::post(format!("/v{version}/exec/{id}/start"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("connection", "Upgrade")
            .header("upgrade", "tcp")
            .body(r#"{"Detach":false,"Tty":true}"#.to_owned())
            .map_err(|e| silent(&e))?;
        let mut answer = sender.send_request(request).await.map_err(|e| silent(&e))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status();
            let text = answer.into_body().collect().await.map_err(|e| silent(&e))?;
            let text = String::from_utf8_lossy(&text.to_bytes()).into_owned();
            return Err(Fault::Refused(format!("{} ({status})", text.trim())));
        }
        let switched = hyper::upgrade::on(&mut answer).await;
        let switched = TokioIo::new(switched.map_err(|e| silent(&e))?);
        let (read, write) = tokio::io::split(switched);
        let pieces = ReaderStream::new(read).map(|piece| match piece {
            Ok(bytes) => Ok(Output::Out(bytes.into())),
            Err(e) => Err(Fault::Silent(format!(
                "the container engine broke off: {e}"
            ))),
        });
        Ok((pieces, write))
    }
}

/// Carries what is typed to a program; its end is the end of its input.
async fn feed(mut typed: mpsc::Receiver<Vec<u8>>, mut pipe: impl AsyncWrite + Unpin) {
    while let Some(bytes) = typed.recv().await {
        if pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err() {
            break;
        }
    }
    let _ = pipe.shutdown().await;
}

/// Tells what a program says, and how it ended.
async fn tell(
    docker: Docker,
    id: String,
    mut pieces: Pin<Box<dyn Stream<Item = Result<Output, Fault>> + Send>>,
    out: mpsc::Sender<Output>,
) {
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap_or_else(Output::Lost);
        if out.send(piece).await.is_err() {
            return;
        }
    }
    let end = match docker.inspect_exec(&id).await.map_err(fault) {
        Ok(exec) => Output::Exit(exec.exit_code.unwrap_or(-1)),
        Err(e) => Output::Lost(e),
    };
    let _ = out.send(end).await;
}

/// Bytes of a stream, as what they are.
fn output(log: LogOutput) -> Output {
    match log {
        LogOutput::StdErr { message } => Output::Err(message.into()),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => Output::Out(message.into()),
    }
}

fn limits_of(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        nano_cpus: Some(limits.nano_cpus),
        cpu_shares: Some(limits.cpu_shares),
        cpuset_cpus: Some(to_text(&limits.cpus)),
        memory: Some(limits.memory),
        memory_swap: Some(limits.memory),
        pids_limit: Some(limits.processes),
        ..ContainerUpdateBody::default()
    }
}

fn volume_of((name, place): &(String, String)) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.clone()),
        target: Some(place.clone()),
        ..Mount::default()
    }
}

fn body(spec: &Spec) -> ContainerCreateBody {
    let ulimit = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.into()),
        soft: Some(value),
        hard: Some(value),
    };
    let limits = &spec.limits;
    let tmp = ("/tmp".to_owned(), "rw,nosuid,nodev,mode=1777".to_owned());
    let log = [("max-size", "10m"), ("max-file", "3")].map(|(k, v)| (k.into(), v.into()));
    let given = (!spec.command.is_empty()).then(|| spec.command.clone());
    ContainerCreateBody {
        hostname: Some(spec.host_name.clone()),
        image: Some(spec.image.clone()),
        entrypoint: given.as_ref().map(|_| Vec::new()),
        cmd: given,
        user: spec.user.clone(),
        env: Some(spec.env.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        host_config: Some(HostConfig {
            nano_cpus: Some(limits.nano_cpus),
            cpu_shares: Some(limits.cpu_shares),
            cpuset_cpus: Some(to_text(&limits.cpus)),
            memory: Some(limits.memory),
            memory_swap: Some(limits.memory),
            pids_limit: Some(limits.processes),
            ulimits: Some(vec![
                ulimit("nofile", spec.files),
                ulimit("nproc", spec.user_processes),
            ]),
            init: Some(true),
            tmpfs: Some(HashMap::from([tmp])),
            mounts: Some(spec.volume.iter().map(volume_of).collect()),
            network_mode: Some(spec.network.clone().unwrap_or_else(|| "none".into())),
            runtime: spec.runtime.clone(),
            cap_drop: Some(DROPPED.map(String::from).into()),
            security_opt: Some(vec!["no-new-privileges".into()]),
            // Should memory run out all the same, the host's own programs are not the first to go.
            oom_score_adj: Some(500),
            readonly_rootfs: Some(spec.read_only),
            privileged: Some(false),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".into()),
                config: Some(HashMap::from(log)),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

impl DockerApi {
    /// Docker keeps bridges apart; Podman routes between them unless it is told not to.
    fn network_options(&self, name: &str) -> HashMap<String, String> {
        let bridge = ("com.docker.network.bridge.name", spec::bridge(name));
        let apart = self.podman.then(|| ("isolate", "true".to_owned()));
        let options = std::iter::once(bridge).chain(apart);
        options
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// Removes all but one of the networks of this name, those that nothing is plugged into.
    async fn leave_one_network(&self, name: &str) -> Result<(), Fault> {
        let options = ListNetworksOptions {
            filters: Some(HashMap::from([("name".into(), vec![name.to_owned()])])),
        };
        let found = self.docker.list_networks(Some(options)).await;
        let mut ids: Vec<String> = found
            .map_err(fault)?
            .into_iter()
            .filter(|network| network.name.as_deref() == Some(name))
            .filter_map(|network| network.id)
            .collect();
        // Whoever else does the same now keeps the same one.
        ids.sort_unstable();
        let mut left = ids.len();
        for id in ids.iter().rev() {
            if left > 1 && self.docker.remove_network(id).await.is_ok() {
                left -= 1;
            }
        }
        Ok(())
    }
}

impl DockerApi {
    /// A directory of a container that runs, packed there: what Podman 4 hands out itself belongs to root.
    async fn packed(
        &self,
        from: &str,
        dir: &str,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>, Fault> {
        let place = Path::new(dir);
        let parent = place.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let program = Program {
            command: ["tar", "-C", &*parent, "-cf", "-", &*name]
                .map(str::to_owned)
                .into(),
            ..Program::default()
        };
        let running = self.exec(from, program).await?;
        Ok(stream::unfold(running.output, |mut output| async move {
            loop {
                let piece = match output.recv().await? {
                    Output::Out(bytes) => Ok(Bytes::from(bytes)),
                    Output::Err(_) => continue,
                    Output::Exit(0) => return None,
                    Output::Exit(code) => Err(format!("tar in the computer's image exited {code}")),
                    Output::Lost(e) => Err(e.text().to_owned()),
                };
                return Some((piece.map_err(std::io::Error::other), output));
            }
        }))
    }
}

impl Engine for DockerApi {
    fn about(&self) -> Answer<'_, About> {
        Box::pin(async {
            let info = self.docker.info().await.map_err(fault)?;
            let version = self.docker.version().await.map_err(fault)?;
            let components = version.components.unwrap_or_default();
            let podman = components
                .iter()
                .any(|c| c.name.to_lowercase().contains("podman"));
            let number = version.version.unwrap_or_default();
            let cpus = info.ncpu.unwrap_or(1).max(1);
            let security = info.security_options.unwrap_or_default();
            let has = |what: &str| security.iter().any(|option| option.contains(what));
            Ok(About {
                name: format!("{} {number}", if podman { "Podman" } else { "Docker" }),
                podman,
                cpus,
                // Where it has others than this machine, it does not say which.
                pins_to: Some(online_cpus())
                    .filter(|all| info.cpu_set == Some(true) && all.len() as i64 == cpus)
                    .unwrap_or_default(),
                limits_memory: info.memory_limit.unwrap_or(false),
                limits_cpu: info.cpu_cfs_quota.unwrap_or(false),
                limits_pids: info.pids_limit.unwrap_or(false),
                seccomp: has("seccomp"),
                user_namespaces: has("userns") || has("rootless"),
                data: info.docker_root_dir.map(PathBuf::from),
                runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
            })
        })
    }

    fn list<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Listed>> {
        Box::pin(async move {
            let options = ListContainersOptions {
                all: true,
                filters: Some(HashMap::from([("label".into(), vec![label.to_owned()])])),
                ..ListContainersOptions::default()
            };
            let found = self.docker.list_containers(Some(options)).await;
            let found = found.map_err(fault)?.into_iter().map(|c| Listed {
                id: c.id.unwrap_or_default(),
                name: c
                    .names
                    .unwrap_or_default()
                    .first()
                    .map_or(String::new(), |n| n.trim_start_matches('/').to_owned()),
                labels: c.labels.unwrap_or_default().into_iter().collect(),
                life: match c.state {
                    Some(ContainerSummaryStateEnum::RUNNING) => Life::Running,
                    Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD) => {
                        Life::Exited
                    }
                    Some(ContainerSummaryStateEnum::CREATED) => Life::Created,
                    _ => Life::Stuck,
                },
                created: c.created.unwrap_or(0),
            });
            Ok(found.collect())
        })
    }

    fn inspect<'a>(&'a self, name: &'a str) -> Answer<'a, Seen> {
        Box::pin(async move {
            let found = self.look(name).await?;
            let state = found.state.unwrap_or_default();
            let networks = found.network_settings.and_then(|n| n.networks);
            let address = networks
                .iter()
                .flat_map(|all| all.values())
                .find_map(|network| {
                    let address = network.ip_address.as_deref()?;
                    address.parse().ok()
                });
            let labels: BTreeMap<String, String> = found
                .config
                .and_then(|c| c.labels)
                .unwrap_or_default()
                .into_iter()
                .collect();
            Ok(Seen {
                id: found.id.unwrap_or_default(),
                life: match state.status {
                    Some(ContainerStateStatusEnum::RUNNING) => Life::Running,
                    Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
                        Life::Exited
                    }
                    Some(ContainerStateStatusEnum::CREATED) => Life::Created,
                    _ if state.running == Some(true) => Life::Running,
                    _ => Life::Stuck,
                },
                pid: state
                    .pid
                    .and_then(|pid| u32::try_from(pid).ok())
                    .filter(|pid| *pid > 0),
                started: nanos(state.started_at.as_deref()),
                finished: nanos(state.finished_at.as_deref()),
                exit_code: state.exit_code.unwrap_or(0),
                out_of_memory: state.oom_killed.unwrap_or(false),
                cpus: found
                    .host_config
                    .and_then(|host| host.cpuset_cpus)
                    .map_or_else(Cpus::new, |cpus| parse(&cpus)),
                address,
                networks: networks.unwrap_or_default().into_keys().collect(),
                labels,
            })
        })
    }

    fn alive<'a>(&'a self, name: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            match self.docker.top_processes(name, None::<TopOptions>).await {
                Ok(_) => Ok(true),
                Err(e) => match fault(e) {
                    Fault::Silent(text) => Err(Fault::Silent(text)),
                    _ => Ok(false),
                },
            }
        })
    }

    fn create<'a>(&'a self, spec: &'a Spec) -> Answer<'a, String> {
        Box::pin(async move {
            let options = CreateContainerOptions {
                name: Some(spec.name.clone()),
                ..CreateContainerOptions::default()
            };
            let made = self
                .docker
                .create_container(Some(options), body(spec))
                .await;
            Ok(made.map_err(fault)?.id)
        })
    }

    fn start<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.cleaned_up(name).await?;
            let started = self.docker.start_container(name, None).await;
            started.map_err(fault)
        })
    }

    fn stop<'a>(&'a self, name: &'a str, grace: i32) -> Answer<'a, ()> {
        Box::pin(async move {
            let options = StopContainerOptions {
                signal: None,
                t: Some(grace),
            };
            let stopped = self.docker.stop_container(name, Some(options)).await;
            stopped.map_err(fault)
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.cleaned_up(name).await?;
            let options = RemoveContainerOptions {
                force: true,
                v: true,
                link: false,
            };
            let removed = self.docker.remove_container(name, Some(options)).await;
            removed.map_err(fault)
        })
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let options = RemoveVolumeOptions { force: true };
            let removed = self.docker.remove_volume(name, Some(options)).await;
            removed.map_err(fault)
        })
    }

    fn update<'a>(&'a self, name: &'a str, limits: Limits) -> Answer<'a, ()> {
        Box::pin(async move {
            let updated = self.docker.update_container(name, limits_of(&limits)).await;
            match updated.map_err(fault) {
                // Podman 4 has no such call in Docker's API.
                Err(Fault::Missing(text)) if self.podman => Err(Fault::Unable(text)),
                other => other,
            }
        })
    }

    fn network<'a>(&'a self, name: &'a str, label: &'a str, internal: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            match self.docker.inspect_network(name, None).await {
                Ok(_) => return Ok(()),
                Err(Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => {}
                // Docker makes a second one where two ask for the first at the same time.
                Err(Error::DockerResponseServerError { message, .. })
                    if message.contains("ambiguous") || message.contains("matches found") =>
                {
                    return self.leave_one_network(name).await;
                }
                Err(e) => return Err(fault(e)),
            }
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".into()),
                internal: Some(internal),
                options: Some(self.network_options(name)),
                labels: Some(HashMap::from([(key.to_owned(), value.to_owned())])),
                ..NetworkCreateRequest::default()
            };
            match self.docker.create_network(request).await {
                Ok(_) => Ok(()),
                // Somebody else was quicker.
                Err(Error::DockerResponseServerError {
                    status_code: 409 | 500,
                    message,
                }) if message.contains("exists") || message.contains("already used") => Ok(()),
                Err(e) => Err(fault(e)),
            }
        })
    }

    fn networks<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Net>> {
        Box::pin(async move {
            let options = ListNetworksOptions {
                filters: Some(HashMap::from([("label".into(), vec![label.to_owned()])])),
            };
            let found = self.docker.list_networks(Some(options)).await;
            let found = found.map_err(fault)?.into_iter().map(|network| {
                let pools = network.ipam.and_then(|ipam| ipam.config);
                let subnets = pools.into_iter().flatten().filter_map(|pool| {
                    let subnet = pool.subnet?;
                    let (at, bits) = subnet.split_once('/')?;
                    Some((
                        at.parse().ok()?,
                        bits.parse().ok().filter(|bits| *bits <= 32)?,
                    ))
                });
                let name = network.name.unwrap_or_default();
                Net {
                    bridge: spec::bridge(&name),
                    subnets: subnets.collect(),
                    name,
                }
            });
            Ok(found.collect())
        })
    }

    fn remove_network<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.docker.remove_network(name).await.map_err(fault) })
    }

    fn plug<'a>(&'a self, name: &'a str, into: &'a str, out_of: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async move {
            for network in out_of {
                let request = NetworkDisconnectRequest {
                    container: name.to_owned(),
                    force: Some(true),
                };
                let out = self.docker.disconnect_network(network, request).await;
                out.map_err(fault)?;
            }
            let request = NetworkConnectRequest {
                container: name.to_owned(),
                endpoint_config: None,
            };
            let plugged = self.docker.connect_network(into, request).await;
            plugged.map_err(fault)
        })
    }

    fn has_image<'a>(&'a self, image: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            match self.docker.inspect_image(image).await.map_err(fault) {
                Ok(_) => Ok(true),
                Err(Fault::Missing(_)) => Ok(false),
                Err(other) => Err(other),
            }
        })
    }

    fn image_size<'a>(&'a self, image: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            match self.docker.inspect_image(image).await.map_err(fault) {
                Ok(found) => Ok(Some(
                    found.size.and_then(|s| u64::try_from(s).ok()).unwrap_or(0),
                )),
                Err(Fault::Missing(_)) => Ok(None),
                Err(other) => Err(other),
            }
        })
    }

    fn remove_image<'a>(&'a self, image: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let options = None::<RemoveImageOptions>;
            let removed = self.docker.remove_image(image, options, None).await;
            removed.map(|_| ()).map_err(fault)
        })
    }

    fn commit<'a>(&'a self, name: &'a str, image: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let (repo, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
            let options = CommitContainerOptions {
                container: Some(name.to_owned()),
                repo: Some(repo.to_owned()),
                tag: Some(tag.to_owned()),
                ..CommitContainerOptions::default()
            };
            // Without a body Podman fails.
            let config = ContainerConfig::default();
            let made = self.docker.commit_container(options, config).await;
            made.map(|_| ()).map_err(fault)
        })
    }

    fn carry<'a>(&'a self, from: &'a str, to: &'a str, dir: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let parent = Path::new(dir).parent().unwrap_or(Path::new("/"));
            let pieces = if self.podman {
                self.packed(from, dir).await?.boxed()
            } else {
                let out = DownloadFromContainerOptions {
                    path: dir.to_owned(),
                };
                let pieces = self.docker.download_from_container(from, Some(out));
                pieces
                    .map(|piece| piece.map_err(std::io::Error::other))
                    .boxed()
            };
            let into = UploadToContainerOptions {
                path: parent.to_string_lossy().into_owned(),
                ..UploadToContainerOptions::default()
            };
            let tar = body_try_stream(pieces);
            let done = self.docker.upload_to_container(to, Some(into), tar).await;
            done.map_err(fault)
        })
    }

    fn disk<'a>(&'a self, name: &'a str) -> Answer<'a, Pieces> {
        Box::pin(async move {
            let seen = self.inspect(name).await?;
            if self.podman && seen.life != Life::Running {
                return Err(Fault::Unable(
                    "Podman leaves out the home volume of a computer that does not run; start it, then export its disk"
                        .into(),
                ));
            }
            let all = DownloadFromContainerOptions { path: "/".into() };
            let pieces = self.docker.download_from_container(name, Some(all));
            let pieces: Pieces = pieces
                .map(|piece| piece.map_err(std::io::Error::other))
                .boxed();
            Ok(pieces)
        })
    }

    fn exec<'a>(&'a self, name: &'a str, program: Program) -> Answer<'a, Running> {
        Box::pin(async move {
            let config = ExecConfig {
                attach_stdin: Some(program.input),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                cmd: Some(program.command),
                env: Some(program.env),
                working_dir: program.dir,
                tty: Some(program.terminal),
                ..ExecConfig::default()
            };
            let id = self
                .docker
                .create_exec(name, config)
                .await
                .map_err(fault)?
                .id;
            let (out, read) = mpsc::channel(WAITING);
            let (write, typed) = mpsc::channel::<Vec<u8>>(WAITING);
            if program.terminal {
                let (lines, pipe) = self.attach(&id).await?;
                tokio::spawn(feed(typed, pipe));
                tokio::spawn(tell(self.docker.clone(), id.clone(), Box::pin(lines), out));
            } else {
                let options = StartExecOptions::default();
                let started = self.docker.start_exec(&id, Some(options)).await;
                let StartExecResults::Attached {
                    output: lines,
                    input: pipe,
                } = started.map_err(fault)?
                else {
                    return Err(Fault::Refused("the program runs unattended".into()));
                };
                let lines = lines.map(|line| line.map(output).map_err(fault));
                tokio::spawn(feed(typed, pipe));
                tokio::spawn(tell(self.docker.clone(), id.clone(), Box::pin(lines), out));
            }
            Ok(Running {
                id,
                output: read,
                input: program.input.then_some(write),
            })
        })
    }

    fn resize<'a>(&'a self, program: &'a str, columns: u16, rows: u16) -> Answer<'a, ()> {
        Box::pin(async move {
            let size = ResizeExecOptions {
                height: rows,
                width: columns,
            };
            self.docker.resize_exec(program, size).await.map_err(fault)
        })
    }

    fn logs<'a>(
        &'a self,
        name: &'a str,
        lines: u32,
        since: i64,
        follow: bool,
    ) -> Answer<'a, mpsc::Receiver<Output>> {
        Box::pin(async move {
            self.look(name).await?;
            let options = LogsOptions {
                follow,
                stdout: true,
                stderr: true,
                since: i32::try_from(since).unwrap_or(0),
                timestamps: true,
                tail: lines.to_string(),
                ..LogsOptions::default()
            };
            let mut written = Box::pin(self.docker.logs(name, Some(options)));
            let (out, read) = mpsc::channel(WAITING);
            tokio::spawn(async move {
                while let Some(Ok(log)) = written.next().await {
                    if out.send(output(log)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(read)
        })
    }

    fn usage<'a>(&'a self, name: &'a str) -> Answer<'a, Usage> {
        Box::pin(async move {
            let options = StatsOptions {
                stream: false,
                one_shot: true,
            };
            let mut stats = Box::pin(self.docker.stats(name, Some(options)));
            let Some(found) = stats.next().await else {
                return Err(Fault::Refused("the engine has no figures".into()));
            };
            let found = found.map_err(fault)?;
            let cpu = found
                .cpu_stats
                .and_then(|c| c.cpu_usage)
                .and_then(|c| c.total_usage);
            let memory = found.memory_stats.unwrap_or_default();
            let cache = memory.stats.as_ref().and_then(|stats| {
                let of = |name: &str| stats.get(name).copied();
                of("inactive_file").or_else(|| of("total_inactive_file"))
            });
            let in_use = memory.usage.unwrap_or(0);
            let networks = found.networks.unwrap_or_default();
            Ok(Usage {
                cpu: cpu.unwrap_or(0),
                memory: in_use.saturating_sub(cache.unwrap_or(0)),
                memory_limit: memory.limit.unwrap_or(0),
                received: networks.values().filter_map(|n| n.rx_bytes).sum(),
                sent: networks.values().filter_map(|n| n.tx_bytes).sum(),
                processes: found.pids_stats.and_then(|p| p.current).unwrap_or(0),
            })
        })
    }

    fn events(&self, since: i64) -> Answer<'_, mpsc::Receiver<String>> {
        let options = EventsOptions {
            since: Some(since.to_string()),
            until: None,
            filters: Some(HashMap::from([("type".into(), vec!["container".into()])])),
        };
        let mut events = Box::pin(self.docker.events(Some(options)));
        let (out, read) = mpsc::channel(256);
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let told = ["start", "die", "died", "stop", "oom", "destroy", "remove"];
                let action = event.action.unwrap_or_default();
                let id = event.actor.and_then(|actor| actor.id);
                if let Some(id) = id.filter(|_| told.contains(&action.as_str()))
                    && out.send(id).await.is_err()
                {
                    return;
                }
            }
        });
        Box::pin(async move { Ok(read) })
    }
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn instants_of_the_api_keep_their_nanoseconds() {
        let second = 1_779_272_130_000_000_000;
        assert_eq!(nanos(Some("2026-05-20T10:15:30Z")), Some(second));
        assert_eq!(
            nanos(Some("2026-05-20T10:15:30.5Z")),
            Some(second + 500_000_000)
        );
        assert_eq!(
            nanos(Some("2026-05-20T12:15:30.000000001+02:00")),
            Some(second + 1)
        );
        assert_eq!(nanos(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(nanos(Some("")), None);
        assert_eq!(nanos(None), None);
    }
}
