//! The picture of a desktop, what there is to know of its screen, and its clipboard.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::inside::{self, Activity, Inside};
use super::acts::{Acted, Deed, act, pixels};
use super::windows::{self, Extent, Place};
use super::{Script, not_yet};
use crate::access::caller::Caller;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, PathId};
use crate::ids::ComputerId;

/// Bytes of a picture.
const PICTURE: usize = 16 << 20;
/// Bytes of a text in the clipboard.
const CLIPBOARD: usize = 256 << 10;

const SHOT: &str = r#"f=/tmp/.workspaced-$$.png; trap 'rm -f "$f"' EXIT
t scrot ${1:+-a "$1"} -o "$f" >&2 && cat "$f""#;
const CURSOR: &str = "t xdotool getmouselocation --shell";
const SIZE: &str = "t xdotool getdisplaygeometry";
const ENVIRONMENT: &str = r#"t xdotool getdisplaygeometry || exit
echo "$DISPLAY"
t wmctrl -m 2>/dev/null | sed -n 's/^Name: //p'"#;
const COPIED: &str = r#"t xdotool getdisplaygeometry >/dev/null || exit
command -v xclip >/dev/null 2>&1 || exit 90
t xclip -selection clipboard -o 2>/dev/null || :"#;
/// It stays behind to hand the text out; nothing of it may hold the streams.
const COPY: &str = r#"t xclip -selection clipboard -i >/dev/null 2>/tmp/.workspaced-$$.err && code=0 || code=$?
[ "$code" = 0 ] || cat /tmp/.workspaced-$$.err >&2
rm -f /tmp/.workspaced-$$.err; exit "$code""#;

/// A picture, as PNG.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "documents what comes")]
pub struct Picture(String);

/// `POST /computers/{id}/desktop/screenshot/region`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct ScreenRegion {
    #[schema(required = true)]
    pub x: Option<i64>,
    #[schema(required = true)]
    pub y: Option<i64>,
    #[schema(required = true)]
    pub width: Option<i64>,
    #[schema(required = true)]
    pub height: Option<i64>,
}

/// `GET /computers/{id}/desktop/environment`
#[derive(Serialize, ToSchema)]
pub struct Environment {
    /// The window manager.
    name: String,
    session_type: &'static str,
    /// Such as `1280x800`.
    resolution: String,
    width: i64,
    height: i64,
    display: String,
}

/// The text in the clipboard.
#[derive(Serialize, ToSchema)]
pub struct Clipboard {
    text: String,
}

/// `POST /computers/{id}/desktop/clipboard`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct CopyText {
    /// At most 256 KB
    #[schema(required = true, nullable = false)]
    pub text: Option<String>,
}

/// `GET /computers/{id}/desktop/accessibility-tree`: windows only.
#[derive(Serialize, ToSchema)]
pub struct Tree {
    role: &'static str,
    name: &'static str,
    /// x, y, width and height.
    #[schema(value_type = Object)]
    bounds: Value,
    /// The windows; what is in them the images built here do not tell.
    #[schema(value_type = Vec<Object>)]
    children: Vec<Value>,
}

async fn picture(inside: &Inside, region: Option<String>) -> Result<Response> {
    let script = Script {
        text: SHOT,
        arguments: region.into_iter().collect(),
        most: Some(PICTURE),
        ..Script::default()
    };
    let said = inside.on_screen(script).await?;
    if said.truncated {
        return Err(Error::conflict(
            "DESKTOP_REFUSED",
            format!(
                "the picture has more than {} MB; ask for a region",
                PICTURE >> 20
            ),
        ));
    }
    if !said.out.starts_with(b"\x89PNG") {
        return Err(not_yet());
    }
    let mut response = said.out.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/png"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /computers/{id}/desktop/screenshot`
pub async fn screenshot(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Response> {
    let noted = Some(("computer.desktop", "screenshot".to_owned()));
    let inside = inside::enter(&store, &fleet, caller, id, noted, Activity::Desktop).await?;
    picture(&inside, None).await
}

/// `POST /computers/{id}/desktop/screenshot/region`
pub async fn region(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<ScreenRegion>,
) -> Result<Response> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(&store, caller, id).await?;
    let r = input?;
    let mut fields = Fields::default();
    let (x, y) = (pixels(&mut fields, "x", r.x), pixels(&mut fields, "y", r.y));
    for (name, given) in [("width", r.width), ("height", r.height)] {
        if given == Some(0) {
            fields.push(name, "must be at least 1");
        }
    }
    let width = pixels(&mut fields, "width", r.width);
    let height = pixels(&mut fields, "height", r.height);
    fields.finish()?;
    let noted = Some(("computer.desktop", "screenshot of a region".to_owned()));
    let inside = inside::enter(&store, &fleet, caller, id, noted, Activity::Desktop).await?;
    picture(&inside, Some(format!("{x},{y},{width},{height}"))).await
}

/// What a script says in text.
async fn asked(
    store: &Store,
    fleet: &Fleet,
    caller: Caller,
    id: ComputerId,
    noted: Option<(&'static str, String)>,
    text: &'static str,
) -> Result<String> {
    let inside = inside::enter(store, fleet, caller, id, noted, Activity::Desktop).await?;
    let script = Script {
        text,
        ..Script::default()
    };
    let said = inside.on_screen(script).await?;
    Ok(String::from_utf8_lossy(&said.out).into_owned())
}

/// `GET /computers/{id}/desktop/cursor`
pub async fn cursor(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Place>> {
    let said = asked(&store, &fleet, caller, id, None, CURSOR).await?;
    let value = |key: &str| {
        let mut lines = said.lines();
        lines
            .find_map(|line| line.strip_prefix(key)?.parse().ok())
            .unwrap_or(0)
    };
    Ok(Json(Place {
        x: value("X="),
        y: value("Y="),
    }))
}

fn extent(line: &str) -> Result<Extent> {
    let (width, height) = line.trim().split_once(' ').ok_or_else(not_yet)?;
    match (width.parse(), height.parse()) {
        (Ok(width), Ok(height)) => Ok(Extent { width, height }),
        _ => Err(not_yet()),
    }
}

/// `GET /computers/{id}/desktop/screen-size`
pub async fn screen_size(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Extent>> {
    let said = asked(&store, &fleet, caller, id, None, SIZE).await?;
    Ok(Json(extent(&said)?))
}

/// `GET /computers/{id}/desktop/environment`
pub async fn environment(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Environment>> {
    let said = asked(&store, &fleet, caller, id, None, ENVIRONMENT).await?;
    let mut lines = said.lines();
    let Extent { width, height } = extent(lines.next().unwrap_or(""))?;
    let display = lines.next().unwrap_or(":1").to_owned();
    Ok(Json(Environment {
        name: lines.next().unwrap_or("none").to_owned(),
        session_type: "x11",
        resolution: format!("{width}x{height}"),
        width,
        height,
        display,
    }))
}

/// `GET /computers/{id}/desktop/clipboard`
pub async fn clipboard(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Clipboard>> {
    let noted = Some(("computer.desktop", "clipboard read".to_owned()));
    let text = asked(&store, &fleet, caller, id, noted, COPIED).await?;
    Ok(Json(Clipboard { text }))
}

/// `POST /computers/{id}/desktop/clipboard`
pub async fn copy(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<CopyText>,
) -> Result<Json<Acted>> {
    act(&store, &fleet, id, request, |fields, c| {
        let text = c.text.unwrap_or_else(|| {
            fields.push("text", "can't be blank");
            String::new()
        });
        if text.len() > CLIPBOARD {
            fields.push("text", format!("should be at most {CLIPBOARD} bytes"));
        }
        Deed {
            script: COPY,
            arguments: Vec::new(),
            noted: format!("clipboard set to {} bytes", text.len()),
            input: text.into_bytes(),
            wait: None,
        }
    })
    .await
}

/// `GET /computers/{id}/desktop/accessibility-tree`
pub async fn tree(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<Tree>> {
    let inside = inside::enter(&store, &fleet, caller, id, None, Activity::Desktop).await?;
    let (all, screen) = windows::all(&inside).await?;
    let child = |w: &windows::DesktopWindow| {
        json!({
            "role": "window", "id": w.id, "name": w.title, "app": w.app, "focused": w.focused,
            "bounds": { "x": w.x, "y": w.y, "width": w.width, "height": w.height },
            "coordinates": [w.x + w.width / 2, w.y + w.height / 2], "children": [],
        })
    };
    Ok(Json(Tree {
        role: "desktop",
        name: "desktop",
        bounds: json!({ "x": 0, "y": 0, "width": screen.width, "height": screen.height }),
        children: all.iter().map(child).collect(),
    }))
}
