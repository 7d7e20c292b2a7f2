//! Windows of a desktop.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::inside::{self, Activity, Inside};
use super::Script;
use super::acts::{Acted, Deed, act, pixels};
use crate::access::caller::Caller;
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, NoBody, PathId, PathWord};
use crate::ids::ComputerId;

/// The windows, which of them has the keyboard, and where each is.
const LIST: &str = r#"all=$(t wmctrl -lx) || exit
printf '%s\n--\n' "$all"
t xdotool getactivewindow 2>/dev/null
echo --
set --
for id in $(printf '%s\n' "$all" | cut -d' ' -f1); do set -- "$@" getwindowgeometry --shell "$id"; done
[ $# = 0 ] || t xdotool "$@" 2>/dev/null
t xdotool getdisplaygeometry"#;
/// Something with a window that there is.
const WITH: &str = r#"t wmctrl -l | grep -q "^$1 " || { t xdotool getdisplaygeometry >/dev/null || exit; exit 91; }
verb=$2; id=$1; shift 2
case $verb in
  wmctrl) t wmctrl -i "$1" "$id" ${2+"$2"} ${3+"$3"};;
  minimize) t xdotool windowminimize "$id";;
esac"#;

/// A window.
#[derive(Serialize, ToSchema, Debug, PartialEq, Clone)]
pub struct DesktopWindow {
    pub id: String,
    pub title: String,
    /// The program's name, as it calls itself.
    pub app: String,
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub height: i64,
    /// It has the keyboard.
    pub focused: bool,
}

/// `GET /computers/{id}/desktop/windows`
#[derive(Serialize, ToSchema)]
pub struct WindowList {
    data: Vec<DesktopWindow>,
}

/// Width and height.
#[derive(Serialize, ToSchema)]
pub struct Extent {
    pub width: i64,
    pub height: i64,
}

/// A place.
#[derive(Serialize, ToSchema)]
pub struct Place {
    pub x: i64,
    pub y: i64,
}

/// `POST /computers/{id}/desktop/window/focus`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Focus {
    /// As the list of windows has it
    #[schema(required = true, nullable = false)]
    pub window_id: Option<String>,
}

/// `POST /computers/{id}/desktop/window/{wid}/resize`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Resized {
    #[schema(required = true)]
    pub width: Option<i64>,
    #[schema(required = true)]
    pub height: Option<i64>,
}

/// `POST /computers/{id}/desktop/window/{wid}/move`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct MovedTo {
    #[schema(required = true)]
    pub x: Option<i64>,
    #[schema(required = true)]
    pub y: Option<i64>,
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// As `wmctrl` writes it.
fn name(number: u32) -> String {
    format!("0x{number:08x}")
}

/// What the script said: the windows, and the size of the screen.
fn read(text: &str) -> (Vec<DesktopWindow>, Extent) {
    let mut parts = text.split("--\n");
    let rows = parts.next().unwrap_or("");
    let focused = parts.next().and_then(|id| number(id.trim()));
    let mut places: HashMap<u32, [i64; 4]> = HashMap::new();
    let mut screen = Extent {
        width: 0,
        height: 0,
    };
    let mut at = 0;
    for line in parts.next().unwrap_or("").lines() {
        if let Some((key, value)) = line.split_once('=') {
            let value: i64 = value.parse().unwrap_or(0);
            match key {
                "WINDOW" => at = u32::try_from(value).unwrap_or(0),
                "X" => places.entry(at).or_default()[0] = value,
                "Y" => places.entry(at).or_default()[1] = value,
                "WIDTH" => places.entry(at).or_default()[2] = value,
                "HEIGHT" => places.entry(at).or_default()[3] = value,
                _ => {}
            }
        } else if let Some((width, height)) = line.split_once(' ') {
            screen.width = width.trim().parse().unwrap_or(0);
            screen.height = height.trim().parse().unwrap_or(0);
        }
    }
    let window = |line: &str| {
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            rest = after;
            word
        };
        let id = number(word())?;
        let (_desktop, class, _host) = (word(), word(), word());
        let [x, y, width, height] = places.get(&id).copied().unwrap_or_default();
        let app = class.rsplit('.').next().unwrap_or(class);
        Some(DesktopWindow {
            id: name(id),
            app: app.to_owned(),
            title: rest.trim().to_owned(),
            x,
            y,
            width,
            height,
            focused: focused == Some(id),
        })
    };
    (rows.lines().filter_map(window).collect(), screen)
}

/// The windows of a computer, and the size of its screen.
pub(super) async fn all(inside: &Inside) -> Result<(Vec<DesktopWindow>, Extent)> {
    let script = Script {
        text: LIST,
        ..Script::default()
    };
    let said = inside.on_screen(script).await?;
    Ok(read(&String::from_utf8_lossy(&said.out)))
}

/// `GET /computers/{id}/desktop/windows`
pub async fn list(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathId(id): PathId<ComputerId>,
) -> Result<Json<WindowList>> {
    let inside = inside::enter(&store, &fleet, caller, id, None, Activity::Desktop).await?;
    let (data, _) = all(&inside).await?;
    Ok(Json(WindowList { data }))
}

async fn one(
    store: &Store,
    fleet: &Fleet,
    caller: Caller,
    id: ComputerId,
    window: &str,
) -> Result<DesktopWindow> {
    let inside = inside::enter(store, fleet, caller, id, None, Activity::Desktop).await?;
    let known = number(window).map(name);
    let (all, _) = all(&inside).await?;
    all.into_iter()
        .find(|w| Some(&w.id) == known.as_ref())
        .ok_or_else(|| Error::not_found("window"))
}

/// `GET /computers/{id}/desktop/window/{wid}/size`
pub async fn size(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathWord(id, window): PathWord<ComputerId>,
) -> Result<Json<Extent>> {
    let window = one(&store, &fleet, caller, id, &window).await?;
    Ok(Json(Extent {
        width: window.width,
        height: window.height,
    }))
}

/// `GET /computers/{id}/desktop/window/{wid}/position`
pub async fn position(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    caller: Caller,
    PathWord(id, window): PathWord<ComputerId>,
) -> Result<Json<Place>> {
    let window = one(&store, &fleet, caller, id, &window).await?;
    Ok(Json(Place {
        x: window.x,
        y: window.y,
    }))
}

fn with(fields: &mut Fields, window: &str, noted: &str, verb: &[&str]) -> Deed {
    let known = number(window);
    if known.is_none() {
        fields.push(
            "window_id",
            "must be the id of a window, such as 0x01c00003",
        );
    }
    let id = name(known.unwrap_or(0));
    let verb = verb.iter().map(ToString::to_string);
    Deed {
        script: WITH,
        noted: format!("window {id} {noted}"),
        arguments: std::iter::once(id).chain(verb).collect(),
        input: Vec::new(),
        wait: None,
    }
}

/// `POST /computers/{id}/desktop/window/focus`
pub async fn focus(
    State(store): State<Store>,
    State(fleet): State<Fleet>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Focus>,
) -> Result<Json<Acted>> {
    act(&store, &fleet, id, request, |fields, f| {
        with(
            fields,
            &f.window_id.unwrap_or_default(),
            "focused",
            &["wmctrl", "-a"],
        )
    })
    .await
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident($input:ty): $deed:expr;)*) => {$(
        $(#[$doc])*
        pub async fn $name(
            State(store): State<Store>,
            State(fleet): State<Fleet>,
            PathWord(id, window): PathWord<ComputerId>,
            request: Mutation<$input>,
        ) -> Result<Json<Acted>> {
            let deed: fn(&mut Fields, &str, $input) -> Deed = $deed;
            act(&store, &fleet, id, request, move |fields, input| deed(fields, &window, input)).await
        }
    )*};
}
changes! {
    /// `POST /computers/{id}/desktop/window/{wid}/resize`
    resize(Resized): |fields, window, to| {
        let (width, height) = (pixels(fields, "width", to.width), pixels(fields, "height", to.height));
        let geometry = format!("0,-1,-1,{width},{height}");
        with(fields, window, "resized", &["wmctrl", "-r", "-e", &geometry])
    };
    /// `POST /computers/{id}/desktop/window/{wid}/move`
    move_to(MovedTo): |fields, window, to| {
        let (x, y) = (pixels(fields, "x", to.x), pixels(fields, "y", to.y));
        let geometry = format!("0,{x},{y},-1,-1");
        with(fields, window, "moved", &["wmctrl", "-r", "-e", &geometry])
    };
    /// `POST /computers/{id}/desktop/window/{wid}/maximize`
    maximize(NoBody): |fields, window, _| {
        with(fields, window, "maximized", &["wmctrl", "-r", "-b", "add,maximized_vert,maximized_horz"])
    };
    /// `POST /computers/{id}/desktop/window/{wid}/minimize`
    minimize(NoBody): |fields, window, _| with(fields, window, "minimized", &["minimize"]);
    /// `POST /computers/{id}/desktop/window/{wid}/close`
    close(NoBody): |fields, window, _| with(fields, window, "closed", &["wmctrl", "-c"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_with_where_they_are() {
        let text = "0x0040000c  0 xterm.XTerm           first user@first: ~\n\
            0x00a00003 -1 Navigator.firefox-esr N/A Ein  Titel -- hier\n--\n4194316\n--\n\
            WINDOW=4194316\nX=10\nY=40\nWIDTH=484\nHEIGHT=316\nSCREEN=0\nWINDOW=10485763\nX=0\nY=0\nWIDTH=800\nHEIGHT=600\nSCREEN=0\n1280 800\n";
        let (all, screen) = read(text);
        assert_eq!((screen.width, screen.height), (1280, 800));
        let first = DesktopWindow {
            id: "0x0040000c".into(),
            title: "user@first: ~".into(),
            app: "XTerm".into(),
            x: 10,
            y: 40,
            width: 484,
            height: 316,
            focused: true,
        };
        assert_eq!(all[0], first);
        assert_eq!(
            (all[1].app.as_str(), all[1].title.as_str()),
            ("firefox-esr", "Ein  Titel -- hier")
        );
        assert_eq!((all[1].width, all[1].focused), (800, false));
        assert_eq!(number("4194316"), number("0x0040000c"));
        assert_eq!(number("$(x)"), None);
        assert!(read("--\n--\n1280 800\n").0.is_empty());
    }
}
