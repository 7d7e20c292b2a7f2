//! Files in a computer, by programs that every image with a shell has. Not by the engine's own archives:
//! these see neither `/tmp` nor what the computer has mounted since.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::inside::{self, Activity, Inside, Said};
use super::seam::{Output, Program};
use crate::access::caller::Caller;
use crate::clock::Timestamp;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, Params, PathId};
use crate::ids::ComputerId;

/// Bytes of an upload at most.
pub const MAX_UPLOAD: usize = 256 << 20;
/// Bytes of a body with a file in it as text.
pub const MAX_WRITE: usize = 16 << 20;
/// What a step may take.
const STEP: Duration = Duration::from_secs(60);
/// Between two pieces of an upload at most.
const PIECE: Duration = Duration::from_secs(30);
/// Bytes of a path: what a kernel takes.
const LONGEST: usize = 4096;
/// How a script says that there is no such file.
const MISSING: i64 = 44;

const LIST: &str = r#"[ -d "$1" ] || exit 44
find "$1" -mindepth 1 -maxdepth 1 -exec stat -c '%f %s %Y %n' {} +"#;
const STAT: &str = r#"[ -e "$1" ] || [ -L "$1" ] || exit 44
stat -c '%f %s %Y' "$1" || exit 1
if [ -L "$1" ]; then readlink "$1"; fi"#;
const READ: &str = r#"[ -e "$1" ] || exit 44
[ -f "$1" ] || { echo "not a file" >&2; exit 1; }
[ -r "$1" ] || { echo "may not be read" >&2; exit 1; }
stat -L -c '%s' "$1""#;
/// To the side first: an upload that breaks off leaves what was there before.
const TAKE: &str = r#"mkdir -p "$(dirname "$1")" && cat > "$1.$2.part""#;
const PUT: &str = r#"if [ -d "$1" ]; then echo "is a directory" >&2; rm -f "$1.$2.part"; exit 1; fi
if [ -e "$1" ]; then cat "$1.$2.part" > "$1" && rm -f "$1.$2.part"; else mv "$1.$2.part" "$1"; fi"#;
const DROP: &str = r#"rm -f "$1.$2.part""#;
const MKDIR: &str = r#"mkdir -m "$2" "$1""#;
const MKDIRS: &str = r#"[ -d "$1" ] || { mkdir -p "$1" && chmod "$2" "$1"; }"#;
const MOVE: &str = r#"[ -e "$1" ] || [ -L "$1" ] || exit 44
mv "$1" "$2""#;
const COPY: &str = r#"[ -e "$1" ] || exit 44
[ ! -d "$1" ] || { echo "is a directory; copy it with recursive" >&2; exit 1; }
cp -p "$1" "$2""#;
const COPY_TREE: &str = r#"[ -e "$1" ] || exit 44
cp -a "$1" "$2""#;
const CHMOD: &str = r#"[ -e "$1" ] || exit 44
chmod "$2" "$1""#;
const DELETE: &str = r#"[ -e "$1" ] || [ -L "$1" ] || exit 44
rm -rf "$1""#;

/// Where.
#[derive(Deserialize, IntoParams, Default)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PathQuery {
    /// From the root; `/home` if left out
    pub path: Option<String>,
}

/// What a change of a file needs; which of it depends on the change.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Change {
    /// From the root
    #[schema(nullable = false)]
    pub path: Option<String>,
    /// rename, copy: what
    #[schema(nullable = false)]
    pub from: Option<String>,
    /// rename, copy: whereto
    #[schema(nullable = false)]
    pub to: Option<String>,
    /// mkdir: with those above it; copy: with all below it
    pub recursive: Option<bool>,
    /// mkdir, chmod: such as 0755
    pub mode: Option<String>,
    /// write: its bytes, in base64
    pub content_base64: Option<String>,
    /// write: its text, instead of that
    pub content: Option<String>,
}

/// `multipart/form-data` with `path` and then `file`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the parts of a form")]
pub struct Upload {
    /// From the root
    path: String,
    /// Its bytes
    #[schema(format = Binary)]
    file: String,
}

/// A file in a list.
#[derive(Serialize, ToSchema, Debug, PartialEq, Eq)]
pub struct FileRow {
    name: String,
    path: String,
    size: i64,
    /// Permissions, as a number.
    mode: u32,
    is_dir: bool,
    is_symlink: bool,
    modified_at: Timestamp,
}

/// `GET /computers/{id}/files`
#[derive(Serialize, ToSchema)]
pub struct FileList {
    data: Vec<FileRow>,
    path: String,
    /// There are more than are shown.
    truncated: bool,
}

/// `GET /computers/{id}/files/readdir`
#[derive(Serialize, ToSchema)]
pub struct Directory {
    entries: Vec<FileRow>,
    path: String,
    truncated: bool,
}

/// One file, not what a link leads to.
#[derive(Serialize, ToSchema)]
pub struct FileStat {
    path: String,
    size: i64,
    /// Permissions, as a number.
    mode: u32,
    is_dir: bool,
    is_symlink: bool,
    symlink_target: Option<String>,
    modified_at: Timestamp,
}

/// It is done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    success: bool,
    message: String,
    path: String,
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= LONGEST && !path.contains('\0')
}

/// A path from the root.
fn path(fields: &mut Fields, name: &'static str, given: Option<String>) -> String {
    let given = given.unwrap_or_default();
    if !is_path(&given) {
        fields.push(
            name,
            "must be a path from the root, such as /home/notes.txt",
        );
    }
    given
}

fn script(text: &str, arguments: &[&str]) -> Vec<String> {
    let head = ["/bin/sh", "-c", text, "sh"];
    head.iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect()
}

/// What a script said, or why it failed.
fn said(said: Said) -> Result<Said> {
    match said.code {
        Some(0) => Ok(said),
        Some(MISSING) => Err(Error::not_found("file")),
        Some(126 | 127) => Err(Error::conflict(
            "RESOURCE_STATE",
            "the image of this computer lacks a program that files are handled with (sh, cat, stat, find)",
        )),
        Some(_) => {
            let text = String::from_utf8_lossy(&said.err).trim().to_owned();
            let text: String = text.chars().take(500).collect();
            Err(Error::field(
                "path",
                if text.is_empty() {
                    "was refused".into()
                } else {
                    text
                },
            ))
        }
        None => Err(Error::unavailable(
            "the computer does not answer; it may be very busy",
            5,
        )),
    }
}

impl Inside {
    async fn script(&self, text: &str, arguments: &[&str]) -> Result<Said> {
        let program = Program {
            command: script(text, arguments),
            ..Program::default()
        };
        said(self.run(program, &[], STEP).await?)
    }
}

/// The type of a file, in the bits of its mode.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Rows of `%f %s %Y`, with the name of each; one that holds a line feed goes on in the next line.
fn rows(text: &str) -> Vec<FileRow> {
    let mut found: Vec<FileRow> = Vec::new();
    for line in text.lines() {
        match row(line) {
            Some(row) => found.push(row),
            None => {
                if let Some(last) = found.last_mut() {
                    for part in [&mut last.name, &mut last.path] {
                        part.push('\n');
                        part.push_str(line);
                    }
                }
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn row(line: &str) -> Option<FileRow> {
    let mut parts = line.splitn(4, ' ');
    let mode = u32::from_str_radix(parts.next()?, 16).ok()?;
    let size = parts.next()?.parse().ok()?;
    let seconds: i64 = parts.next()?.parse().ok()?;
    let path = parts.next()?.replacen("//", "/", 1);
    Some(FileRow {
        name: path.rsplit('/').next()?.to_owned(),
        size,
        mode: mode & !KIND,
        is_dir: mode & KIND == DIRECTORY,
        is_symlink: mode & KIND == LINK,
        modified_at: Timestamp(seconds.saturating_mul(1000)),
        path,
    })
}

async fn listed(
    store: &Store,
    fleet: &Fleet,
    caller: Caller,
    id: ComputerId,
    query: Params<PathQuery>,
) -> Result<Directory> {
    let (caller, _) = inside::machine(store, caller, id).await?;
    let mut fields = Fields::default();
    let given = query.get()?.path.unwrap_or_else(|| "/home".into());
    let path = path(&mut fields, "path", Some(given));
    fields.finish()?;
    let inside = inside::enter(store, fleet, caller, id, None, Activity::Files).await?;
    let said = inside.script(LIST, &[&path]).await?;
    Ok(Directory {
        entries: rows(&String::from_utf8_lossy(&said.out)),
        path,
        truncated: said.truncated,
    })
}

/// `GET /computers/{id}/files`
pub async fn list(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<PathQuery>,
) -> Result<Json<FileList>> {
    let found = listed(&store, &fleet, caller, id, query).await?;
    Ok(Json(FileList {
        data: found.entries,
        path: found.path,
        truncated: found.truncated,
    }))
}

/// `GET /computers/{id}/files/readdir`
pub async fn readdir(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<PathQuery>,
) -> Result<Json<Directory>> {
    Ok(Json(listed(&store, &fleet, caller, id, query).await?))
}

/// `GET /computers/{id}/files/download`
pub async fn download(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    query: Params<PathQuery>,
) -> Result<Response> {
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let mut fields = Fields::default();
    let path = path(&mut fields, "path", query.get()?.path);
    fields.finish()?;
    let inside = inside::enter(&store, &fleet, caller, id, None, Activity::Files).await?;
    inside.script(READ, &[&path]).await?;
    let program = Program {
        command: script(r#"exec cat "$1""#, &[&path]),
        ..Program::default()
    };
    let running = inside.begin(program).await?;
    // Piece by piece, at the pace of whoever reads; an end before the end breaks the reply off.
    let pieces = stream::unfold(Some((running, inside)), |state| async move {
        let (mut running, inside) = state?;
        loop {
            match running.output.recv().await {
                Some(Output::Out(bytes)) => return Some((Ok(bytes), Some((running, inside)))),
                Some(Output::Err(_)) => {}
                Some(Output::Exit(0)) => return None,
                _ => {
                    let broken = std::io::Error::other("the computer broke off");
                    return Some((Err(broken), None));
                }
            }
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    let kind = axum::http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// A change by one script.
struct Deed {
    script: &'static str,
    arguments: Vec<String>,
    message: &'static str,
}

fn mode(fields: &mut Fields, given: Option<String>, usual: &str) -> String {
    let mode = given.unwrap_or_else(|| usual.into());
    if mode.is_empty() || mode.len() > 5 || !mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        fields.push("mode", "must be an octal number such as 0755");
    }
    mode
}

async fn change(
    store: &Store,
    fleet: &Fleet,
    id: ComputerId,
    request: Mutation<Change>,
    deed: impl FnOnce(&mut Fields, Change) -> Deed,
) -> Result<Json<Done>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(store, caller, id).await?;
    let mut fields = Fields::default();
    let deed = deed(&mut fields, input?);
    fields.finish()?;
    let path = deed.arguments.first().cloned().unwrap_or_default();
    let note = Some((
        "computer.files",
        format!("{}: {}", deed.message, deed.arguments.join(" ")),
    ));
    let inside = inside::enter(store, fleet, caller, id, note, Activity::Files).await?;
    let arguments: Vec<&str> = deed.arguments.iter().map(String::as_str).collect();
    inside.script(deed.script, &arguments).await?;
    Ok(Json(done(deed.message, path)))
}

fn done(message: &str, path: String) -> Done {
    Done {
        success: true,
        message: message.into(),
        path,
    }
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident: $deed:expr;)*) => {$(
        $(#[$doc])*
        pub async fn $name(
            State(store): State<Store>,
            State(fleet): State<Fleet>,
            PathId(id): PathId<ComputerId>,
            request: Mutation<Change>,
        ) -> Result<Json<Done>> {
            change(&store, &fleet, id, request, $deed).await
        }
    )*};
}
changes! {
    /// `POST /computers/{id}/files/mkdir`
    mkdir: |fields, c| Deed {
        script: if c.recursive.unwrap_or(true) { MKDIRS } else { MKDIR },
        arguments: vec![path(fields, "path", c.path), mode(fields, c.mode, "0755")],
        message: "made",
    };
    /// `POST /computers/{id}/files/rename`
    rename: |fields, c| Deed {
        script: MOVE,
        arguments: vec![path(fields, "from", c.from), path(fields, "to", c.to)],
        message: "renamed",
    };
    /// `POST /computers/{id}/files/copy`
    copy: |fields, c| Deed {
        script: if c.recursive.unwrap_or(false) { COPY_TREE } else { COPY },
        arguments: vec![path(fields, "from", c.from), path(fields, "to", c.to)],
        message: "copied",
    };
    /// `POST /computers/{id}/files/chmod`
    chmod: |fields, c| Deed {
        script: CHMOD,
        arguments: vec![path(fields, "path", c.path), mode(fields, c.mode, "0644")],
        message: "changed",
    };
    /// `DELETE /computers/{id}/files`
    delete: |fields, c| {
        if c.path.as_deref().is_some_and(|path| path.bytes().all(|b| b == b'/' || b == b'.')) {
            fields.push("path", "is the root; delete the computer instead");
        }
        Deed {
            script: DELETE,
            arguments: vec![path(fields, "path", c.path)],
            message: "deleted",
        }
    };
}

/// `POST /computers/{id}/files/stat`
pub async fn stat(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Change>,
) -> Result<Json<FileStat>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let mut fields = Fields::default();
    let path = path(&mut fields, "path", input?.path);
    fields.finish()?;
    let inside = inside::enter(&store, &fleet, caller, id, None, Activity::Files).await?;
    let said = inside.script(STAT, &[&path]).await?;
    let text = String::from_utf8_lossy(&said.out).into_owned();
    let (first, target) = text.split_once('\n').unwrap_or((&text, ""));
    let row = row(&format!("{first} {path}"))
        .ok_or_else(|| Error::internal(format!("stat said {first:?}")))?;
    Ok(Json(FileStat {
        path,
        size: row.size,
        mode: row.mode,
        is_dir: row.is_dir,
        is_symlink: row.is_symlink,
        symlink_target: row
            .is_symlink
            .then(|| target.trim_end_matches('\n').to_owned()),
        modified_at: row.modified_at,
    }))
}

/// `POST /computers/{id}/files/write`
pub async fn write(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Change>,
) -> Result<Json<Done>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let input = input?;
    let mut fields = Fields::default();
    let path = path(&mut fields, "path", input.path);
    let bytes = match (input.content_base64, input.content) {
        (Some(text), None) => BASE64.decode(text.as_bytes()).unwrap_or_else(|_| {
            fields.push("content_base64", "is not base64");
            Vec::new()
        }),
        (None, Some(text)) => text.into_bytes(),
        _ => {
            fields.push(
                "content_base64",
                "can't be blank; or send content, one of the two",
            );
            Vec::new()
        }
    };
    fields.finish()?;
    let note = Some(("computer.files", format!("written: {path}")));
    let inside = inside::enter(&store, &fleet, caller, id, note, Activity::Files).await?;
    let pieces: Vec<_> = bytes
        .chunks(64 << 10)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    take(&inside, &path, stream::iter(pieces)).await?;
    Ok(Json(done("written", path)))
}

/// Takes a file in, from pieces.
async fn take(
    inside: &Inside,
    path: &str,
    mut pieces: impl futures_util::Stream<Item = Result<Vec<u8>>> + Unpin,
) -> Result<()> {
    let mark = &inside.mark();
    let program = Program {
        command: script(TAKE, &[path, mark]),
        input: true,
        ..Program::default()
    };
    let mut running = inside.begin(program).await?;
    let sent = async {
        let to = running.input.take();
        let mut length = 0;
        while let Some(piece) = tokio::time::timeout(PIECE, pieces.next())
            .await
            .map_err(|_| Error::too_slow(PIECE))?
        {
            let piece = piece?;
            length += piece.len();
            if length > MAX_UPLOAD {
                return Err(Error::too_large(MAX_UPLOAD));
            }
            // A program that has ended says why below.
            match &to {
                Some(to) if to.send(piece).await.is_ok() => {}
                _ => break,
            }
        }
        Ok(())
    }
    .await;
    let mut ended = Said::default();
    let end = async {
        while let Some(piece) = running.output.recv().await {
            match piece {
                Output::Err(bytes) if ended.err.len() < 4096 => ended.err.extend(bytes),
                Output::Exit(code) => ended.code = Some(code),
                _ => {}
            }
        }
    };
    let _ = tokio::time::timeout(STEP, end).await;
    if let Err(e) = sent.and_then(|()| said(ended).map(|_| ())) {
        let _ = inside.script(DROP, &[path, mark]).await;
        return Err(e);
    }
    inside.script(PUT, &[path, mark]).await?;
    Ok(())
}

/// `POST /computers/{id}/files/upload`
pub async fn upload(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
    request: Request,
) -> Result<Json<Done>> {
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let headers = request.headers();
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > MAX_UPLOAD + (1 << 20)) {
        return Err(Error::too_large(MAX_UPLOAD));
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let boundary = multer::parse_boundary(kind)
        .map_err(|_| Error::field("file", "send multipart/form-data with path and then file"))?;
    let mut form = multer::Multipart::new(request.into_body().into_data_stream(), boundary);
    let broken = |e: multer::Error| {
        Error::bad_request("INVALID_BODY", format!("the form cannot be read: {e}"))
    };
    let mut to = None;
    loop {
        let part = tokio::time::timeout(PIECE, form.next_field()).await;
        let Some(mut part) = part.map_err(|_| Error::too_slow(PIECE))?.map_err(broken)? else {
            return Err(Error::field("file", "can't be blank"));
        };
        match part.name() {
            Some("path") => {
                let mut text = Vec::new();
                while let Some(piece) = part.chunk().await.map_err(broken)? {
                    text.extend_from_slice(&piece);
                    if text.len() > LONGEST {
                        break;
                    }
                }
                let mut fields = Fields::default();
                let text = String::from_utf8(text).unwrap_or_default();
                to = Some(path(&mut fields, "path", Some(text)));
                fields.finish()?;
            }
            Some("file") => {
                let Some(path) = to else {
                    return Err(Error::field("path", "must come before file"));
                };
                let note = Some(("computer.files", format!("uploaded: {path}")));
                let inside =
                    inside::enter(&store, &fleet, caller, id, note, Activity::Files).await?;
                let pieces = part.map(|piece| piece.map(|bytes| bytes.to_vec()).map_err(broken));
                take(&inside, &path, Box::pin(pieces)).await?;
                return Ok(Json(done("uploaded", path)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_path, rows};

    #[test]
    fn what_stat_says_becomes_rows() {
        let text = "81a4 12 1700000000 /home/b c.txt\n41ed 4096 1700000001 /home/a\na1ff 3 1700000002 //x\nline two\n";
        let found = rows(text);
        let names: Vec<_> = found.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a", "b c.txt", "x\nline two"]);
        assert!(found[0].is_dir && !found[0].is_symlink);
        assert_eq!((found[1].mode, found[1].size), (0o644, 12));
        assert!(found[2].is_symlink);
        assert_eq!(found[2].path, "/x\nline two");
    }

    #[test]
    fn paths_begin_at_the_root() {
        assert!(is_path("/home/a b"));
        for bad in ["", "home", "../etc", "/a\0b"] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }
}
