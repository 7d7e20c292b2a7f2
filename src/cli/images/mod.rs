//! `workspaced images`: what templates are on a container engine, made of Debian's packages without a registry.

mod recipe;

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::{Failure, machines};
use crate::clock::Stopwatch;
use crate::computers::machines::import;
use crate::rules::config::{ConfigFile, EngineArgs, Image};
use recipe::Recipe;

/// What an engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// `workspaced images`
#[derive(Subcommand)]
pub(super) enum ImagesCommand {
    /// Make an image of Debian's packages and give it to the engine; needs root and mmdebstrap, but no registry
    Build(BuildArgs),
    /// List the images that there are to build and those of the configuration, and whether the engine has them
    Ls(LsArgs),
}

#[derive(Args)]
pub(super) struct BuildArgs {
    /// base: a shell, Python, curl; desktop: a screen, windows and a terminal besides
    #[arg(value_enum)]
    image: Recipe,
    /// Under which name; localhost/workspaced/base:1 or localhost/workspaced/desktop:1 if left out
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// One more package of Debian's, such as firefox-esr; may be repeated
    #[arg(long, value_name = "PACKAGE")]
    include: Vec<String>,
    /// Where Debian's packages come from; the usual place if left out
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Only print what `docker build -` or `podman build -` makes the same image of, from a registry's debian
    #[arg(long)]
    containerfile: bool,
    #[command(flatten)]
    at: LsArgs,
}

#[derive(Args)]
pub(super) struct LsArgs {
    /// TOML file that says where the engine is, and which image is which template
    #[arg(long, env = "WORKSPACED_CONFIG", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

impl LsArgs {
    fn file(&self) -> Result<ConfigFile, Failure> {
        match &self.config {
            Some(path) => ConfigFile::load(path).map_err(Failure::Usage),
            None => Ok(ConfigFile::default()),
        }
    }
}

pub(super) fn run(command: ImagesCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        ImagesCommand::Build(args) => {
            for package in &args.include {
                if !recipe::is_package(package) {
                    return Err(Failure::Usage(format!(
                        "--include {package:?} is not the name of a package"
                    )));
                }
            }
            if args.containerfile {
                print!("{}", args.image.containerfile(&args.include));
                return Ok(());
            }
            runtime.block_on(build(&args))
        }
        ImagesCommand::Ls(args) => runtime.block_on(list(&args)),
    }
}

async fn build(args: &BuildArgs) -> Result<(), Failure> {
    let tag = args.tag.as_deref().unwrap_or(args.image.tag());
    let named = tag.rsplit_once(':');
    if named.is_none_or(|(name, version)| {
        name.is_empty() || version.is_empty() || version.contains('/')
    }) {
        return Err(Failure::Usage(format!(
            "--tag {tag:?} must be a name and a tag, such as {}",
            args.image.tag()
        )));
    }
    let (_, about, socket) = machines::engine(&args.at.engine, &args.at.file()?)
        .await
        .map_err(Failure::Fatal)?;
    println!("{tag}: packages of Debian's are put together; this takes a minute or two");
    let watch = Stopwatch::start();
    let mut child = packages(args)?;
    let said = tokio::spawn(last_lines(child.stderr.take()));
    let mut made = child
        .stdout
        .take()
        .ok_or_else(|| Failure::Fatal("mmdebstrap has no output that could be read".into()))?;
    // It says nothing before all of it has worked.
    let mut first = vec![0; 64 << 10];
    let length = made.read(&mut first).await?;
    first.truncate(length);
    if first.is_empty() {
        let said = said.await.unwrap_or_default();
        return Err(Failure::Fatal(format!(
            "mmdebstrap made nothing; it says:\n{said}"
        )));
    }
    let packed = watch.micros() / 1_000_000;
    let changes = args.image.changes();
    import::import(Path::new(&socket), tag, &changes, first, made)
        .await
        .map_err(Failure::Fatal)?;
    if !child.wait().await?.success() {
        return Err(Failure::Fatal(format!(
            "mmdebstrap broke off; {tag} is not whole: build it again"
        )));
    }
    let whole = watch.micros() / 1_000_000;
    println!(
        "{} has {tag}: {packed} s for the packages, {} s for the engine",
        about.name,
        whole - packed
    );
    println!(
        "In the file of --config: [images] {} = \"{tag}\"",
        args.image.template()
    );
    Ok(())
}

/// The program that puts packages together; what it makes comes out of it.
fn packages(args: &BuildArgs) -> Result<Child, Failure> {
    let mut command = Command::new("mmdebstrap");
    command.arg("--variant=minbase").arg(format!(
        "--include={}",
        args.image.packages(&args.include).join(",")
    ));
    for left_out in recipe::LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={left_out}"));
    }
    command
        .arg(format!(
            "--customize-hook=chroot \"$1\" /bin/sh -ec {}",
            recipe::quoted(&args.image.setup())
        ))
        .args([recipe::SUITE, "-"])
        .args(&args.mirror)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().map_err(|e| {
        Failure::Fatal(match e.kind() {
            std::io::ErrorKind::NotFound => "mmdebstrap is missing: apt install mmdebstrap (and run this as root); or use --containerfile where a registry is in reach".into(),
            _ => format!("mmdebstrap: {e}"),
        })
    })
}

/// The last lines that a program says; it waits for nobody to read them.
async fn last_lines(errors: Option<ChildStderr>) -> String {
    let Some(errors) = errors else {
        return String::new();
    };
    let mut lines = BufReader::new(errors).lines();
    let mut last = VecDeque::new();
    while let Ok(Some(line)) = lines.next_line().await {
        last.push_back(line);
        if last.len() > 8 {
            last.pop_front();
        }
    }
    Vec::from(last).join("\n")
}

async fn list(args: &LsArgs) -> Result<(), Failure> {
    let file = args.file()?;
    let (engine, _, _) = machines::engine(&args.engine, &file)
        .await
        .map_err(Failure::Fatal)?;
    let mut all: Vec<(String, String)> = Recipe::ALL
        .iter()
        .map(|recipe| {
            (
                recipe.tag().to_owned(),
                "workspaced images build ".to_owned() + recipe.name(),
            )
        })
        .collect();
    for (template, image) in file.images {
        let image = Image::from(image).image;
        let of = format!("template {template}");
        match all.iter_mut().find(|(known, _)| *known == image) {
            Some((_, what)) => *what = of,
            None => all.push((image, of)),
        }
    }
    println!("{:<40}  {:>8}  {}", "IMAGE", "SIZE", "WHAT");
    for (image, what) in all {
        let size = tokio::time::timeout(PATIENCE, engine.image_size(&image))
            .await
            .map_err(|_| Failure::Fatal("the engine does not answer".into()))?;
        let size = size.map_err(|e| Failure::Fatal(e.text().to_owned()))?;
        let size = size.map_or_else(
            || "missing".to_owned(),
            |bytes| format!("{} MB", bytes / 1_000_000),
        );
        println!("{image:<40}  {size:>8}  {what}");
    }
    Ok(())
}
