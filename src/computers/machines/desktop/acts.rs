//! Pointer and keyboard, as the published clients send them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::inside::{self, Activity};
use super::{Script, keys};
use crate::computers::Fleet;
use crate::db::Store;
use crate::error::{Error, Fields, Result};
use crate::http::{Mutation, PathId};
use crate::ids::ComputerId;

/// What is on no screen.
const FAR: i64 = 32_767;
/// Characters that are typed at once, milliseconds between two of them unless it says otherwise, and at most; seconds
/// that all of it may take.
const TYPED: usize = 10_000;
const USUAL_DELAY: i64 = 8;
const LONGEST_DELAY: i64 = 1000;
const TYPING: i64 = 50;
/// Notches of a wheel, and seconds that a client may have us wait.
const NOTCHES: i64 = 100;
const WAITS: f64 = 50.0;

const XDOTOOL: &str = r#"said=$(t xdotool "$@" 2>&1 </dev/null) || { code=$?; echo "$said" >&2; exit $code; }
case $said in *"No such key name"*) echo "$said" >&2; exit 1;; esac"#;
const TYPE: &str = r#"t xdotool type --clearmodifiers --delay "$1" --file -"#;
const LAUNCH: &str = r#"cd "${HOME:-/}" 2>/dev/null
t xdotool getdisplaygeometry >/dev/null || exit
case $1 in
  terminal) set -- x-terminal-emulator xterm;;
  browser) set -- x-www-browser firefox-esr firefox chromium;;
  files) set -- pcmanfm thunar nautilus;;
  editor) set -- mousepad gedit xedit;;
esac
for program; do
  command -v "$program" >/dev/null 2>&1 || continue
  setsid "$program" >/dev/null 2>&1 </dev/null &
  exit 0
done
exit 92"#;

/// A place on the screen, and a button of the mouse.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct ScreenPoint {
    /// Pixels from the left
    #[schema(required = true, minimum = 0, maximum = 32767)]
    pub x: Option<i64>,
    /// Pixels from the top
    #[schema(required = true, minimum = 0, maximum = 32767)]
    pub y: Option<i64>,
    /// left, middle or right; left if left out
    pub button: Option<String>,
}

/// `POST /computers/{id}/desktop/drag`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Drag {
    /// Where the button is pressed
    #[schema(required = true)]
    pub from_x: Option<i64>,
    #[schema(required = true)]
    pub from_y: Option<i64>,
    /// Where it is let go
    #[schema(required = true)]
    pub to_x: Option<i64>,
    #[schema(required = true)]
    pub to_y: Option<i64>,
}

/// `POST /computers/{id}/desktop/scroll`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Scroll {
    /// up, down, left or right; down if left out
    pub direction: Option<String>,
    /// Notches of the wheel; 3 if left out
    #[schema(minimum = 1, maximum = 100)]
    pub clicks: Option<i64>,
    /// Where; where the pointer is if left out
    pub x: Option<i64>,
    pub y: Option<i64>,
}

/// `POST /computers/{id}/desktop/type`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Typing {
    /// At most 10000 characters
    #[schema(required = true, nullable = false)]
    pub text: Option<String>,
    /// Milliseconds between two characters
    #[schema(minimum = 0, maximum = 1000)]
    pub delay: Option<i64>,
}

/// A key, or several together.
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct KeyPress {
    /// Such as `Enter`, `a`, `F5` or `ctrl+shift+t`
    #[schema(required = true, nullable = false)]
    pub key: Option<String>,
}

/// `POST /computers/{id}/desktop/hotkey`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Hotkey {
    /// Pressed in this order, at most 8
    #[schema(required = true, nullable = false)]
    pub keys: Option<Vec<String>>,
}

/// `POST /computers/{id}/desktop/wait`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Wait {
    /// At most 50
    #[schema(required = true, minimum = 0, maximum = 50)]
    pub seconds: Option<f64>,
}

/// `POST /computers/{id}/desktop/launch`
#[derive(Deserialize, ToSchema, Default)]
#[serde(default)]
pub struct Launch {
    /// A program of the computer by its name or path, or terminal, browser, files, editor
    #[schema(required = true, nullable = false)]
    pub app: Option<String>,
}

/// It is done.
#[derive(Serialize, ToSchema)]
pub struct Acted {
    success: bool,
    message: String,
}

pub(super) fn acted(message: impl Into<String>) -> Json<Acted> {
    Json(Acted {
        success: true,
        message: message.into(),
    })
}

/// Something that is done on the screen.
pub(super) struct Deed {
    pub script: &'static str,
    pub arguments: Vec<String>,
    pub input: Vec<u8>,
    /// For the audit log: never what was typed.
    pub noted: String,
    /// Seconds.
    pub wait: Option<i64>,
}

/// What `xdotool` is told, a command after the other.
fn steps(noted: String, steps: &[&[&str]]) -> Deed {
    Deed {
        script: XDOTOOL,
        arguments: steps
            .iter()
            .flat_map(|s| s.iter())
            .map(ToString::to_string)
            .collect(),
        input: Vec::new(),
        noted,
        wait: None,
    }
}

pub(super) async fn act<T>(
    store: &Store,
    fleet: &Fleet,
    id: ComputerId,
    request: Mutation<T>,
    deed: impl FnOnce(&mut Fields, T) -> Deed,
) -> Result<Json<Acted>> {
    let (caller, input) = request.outside();
    let (caller, _) = inside::machine(store, caller, id).await?;
    let mut fields = Fields::default();
    let deed = deed(&mut fields, input?);
    fields.finish()?;
    let noted = Some(("computer.desktop", deed.noted.clone()));
    let inside = inside::enter(store, fleet, caller, id, noted, Activity::Desktop).await?;
    let script = Script {
        text: deed.script,
        arguments: deed.arguments,
        input: deed.input,
        wait: deed.wait.map(|s| Duration::from_secs(s.unsigned_abs())),
        ..Script::default()
    };
    inside.on_screen(script).await?;
    Ok(acted(deed.noted))
}

pub(super) fn pixels(fields: &mut Fields, name: &'static str, given: Option<i64>) -> String {
    match given {
        Some(at) if (0..=FAR).contains(&at) => at.to_string(),
        Some(_) => {
            fields.push(name, format!("must be from 0 to {FAR}"));
            String::new()
        }
        None => {
            fields.push(name, "can't be blank");
            String::new()
        }
    }
}

fn button(fields: &mut Fields, given: Option<&str>) -> &'static str {
    match given.unwrap_or("left") {
        "left" => "1",
        "middle" => "2",
        "right" => "3",
        _ => {
            fields.push("button", "must be one of: left, middle, right");
            "1"
        }
    }
}

/// The pointer at a place, then something with a button.
fn point(fields: &mut Fields, point: &ScreenPoint, what: &str, then: &[&str]) -> Deed {
    let x = pixels(fields, "x", point.x);
    let y = pixels(fields, "y", point.y);
    let button = button(fields, point.button.as_deref());
    let then: Vec<&str> = then
        .iter()
        .map(|word| if *word == "B" { button } else { word })
        .collect();
    steps(
        format!("{what} at {x},{y}"),
        &[&["mousemove", &x, &y], &then],
    )
}

fn one_key(fields: &mut Fields, given: Option<String>, verb: &str, noted: &str) -> Deed {
    let known = keys::together(&given.unwrap_or_default());
    if known.is_none() {
        fields.push(
            "key",
            "must be the name of a key such as Enter, a or F5, or several such as ctrl+c",
        );
    }
    // Which one is not written down: somebody may type a password key by key.
    steps(noted.into(), &[&[verb, &known.unwrap_or_default()]])
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident($input:ty): $deed:expr;)*) => {$(
        $(#[$doc])*
        pub async fn $name(
            State(store): State<Store>,
            State(fleet): State<Fleet>,
            PathId(id): PathId<ComputerId>,
            request: Mutation<$input>,
        ) -> Result<Json<Acted>> {
            act(&store, &fleet, id, request, $deed).await
        }
    )*};
}
acts! {
    /// `POST /computers/{id}/desktop/click`
    click(ScreenPoint): |fields, at| point(fields, &at, "click", &["click", "B"]);
    /// `POST /computers/{id}/desktop/double-click`
    double_click(ScreenPoint): |fields, at| {
        point(fields, &at, "double click", &["click", "--repeat", "2", "--delay", "60", "B"])
    };
    /// `POST /computers/{id}/desktop/move`
    move_to(ScreenPoint): |fields, at| point(fields, &at, "pointer", &[]);
    /// `POST /computers/{id}/desktop/mouse-down`
    mouse_down(ScreenPoint): |fields, at| point(fields, &at, "button down", &["mousedown", "B"]);
    /// `POST /computers/{id}/desktop/mouse-up`
    mouse_up(ScreenPoint): |fields, at| point(fields, &at, "button up", &["mouseup", "B"]);
    /// `POST /computers/{id}/desktop/drag`
    drag(Drag): |fields, d| {
        let from = (pixels(fields, "from_x", d.from_x), pixels(fields, "from_y", d.from_y));
        let to = (pixels(fields, "to_x", d.to_x), pixels(fields, "to_y", d.to_y));
        let half = |a: Option<i64>, b: Option<i64>| a.unwrap_or(0).midpoint(b.unwrap_or(0)).to_string();
        let (x, y) = (half(d.from_x, d.to_x), half(d.from_y, d.to_y));
        let noted = format!("drag from {},{} to {},{}", from.0, from.1, to.0, to.1);
        // A program takes for a drag only what moves while the button is down.
        steps(noted, &[
            &["mousemove", &from.0, &from.1, "mousedown", "1", "sleep", "0.05"],
            &["mousemove", &x, &y, "sleep", "0.05", "mousemove", &to.0, &to.1, "sleep", "0.05", "mouseup", "1"],
        ])
    };
    /// `POST /computers/{id}/desktop/scroll`
    scroll(Scroll): |fields, s| {
        let way = s.direction.unwrap_or_else(|| "down".into());
        let wheel = match way.as_str() {
            "up" => "4",
            "down" => "5",
            "left" => "6",
            "right" => "7",
            _ => {
                fields.push("direction", "must be one of: up, down, left, right");
                "5"
            }
        };
        let clicks = s.clicks.unwrap_or(3);
        if !(1..=NOTCHES).contains(&clicks) {
            fields.push("clicks", format!("must be from 1 to {NOTCHES}"));
        }
        let clicks = clicks.to_string();
        let turn = ["click", "--repeat", &clicks, "--delay", "10", wheel];
        let noted = format!("scroll {way} by {clicks}");
        match (s.x, s.y) {
            (None, None) => steps(noted, &[&turn]),
            (x, y) => {
                let (x, y) = (pixels(fields, "x", x), pixels(fields, "y", y));
                steps(noted, &[&["mousemove", &x, &y], &turn])
            }
        }
    };
    /// `POST /computers/{id}/desktop/type`
    type_text(Typing): |fields, t| {
        let text = t.text.unwrap_or_default();
        let length = text.chars().count();
        let delay = t.delay.unwrap_or(USUAL_DELAY);
        if text.is_empty() {
            fields.push("text", "can't be blank");
        } else if length > TYPED || text.contains('\0') {
            fields.push("text", format!("should be at most {TYPED} characters, none of them zero; put longer texts into the clipboard"));
        }
        let whole = delay.saturating_mul(i64::try_from(length).unwrap_or(i64::MAX)) / 1000;
        if !(0..=LONGEST_DELAY).contains(&delay) {
            fields.push("delay", format!("must be from 0 to {LONGEST_DELAY} milliseconds"));
        } else if whole > TYPING && t.delay.is_some() {
            fields.push("delay", format!("would make it take {whole} s, more than {TYPING}"));
        }
        // So that all of it is typed in time.
        let delay = if whole > TYPING { TYPING * 1000 / i64::try_from(length).unwrap_or(1).max(1) } else { delay };
        Deed {
            script: TYPE,
            arguments: vec![delay.to_string()],
            input: text.into_bytes(),
            noted: format!("typed {length} characters"),
            wait: Some(TYPING + 8),
        }
    };
    /// `POST /computers/{id}/desktop/key`
    key(KeyPress): |fields, k| one_key(fields, k.key, "key", "a key");
    /// `POST /computers/{id}/desktop/key-down`
    key_down(KeyPress): |fields, k| one_key(fields, k.key, "keydown", "a key down");
    /// `POST /computers/{id}/desktop/key-up`
    key_up(KeyPress): |fields, k| one_key(fields, k.key, "keyup", "a key up");
    /// `POST /computers/{id}/desktop/hotkey`
    hotkey(Hotkey): |fields, k| {
        let all = k.keys.unwrap_or_default();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let known = keys::list(&all);
        if known.is_none() {
            fields.push("keys", "must be 1 to 8 names of keys such as ctrl and c");
        }
        steps("keys together".into(), &[&["key", &known.unwrap_or_default()]])
    };
    /// `POST /computers/{id}/desktop/launch`
    launch(Launch): |fields, l| {
        let app = l.app.unwrap_or_default();
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+-._/".contains(&b);
        if app.is_empty() || app.len() > 200 || app.starts_with('-') || !app.bytes().all(fits) {
            fields.push("app", "must be the name or the path of a program, without arguments; use exec for those");
        }
        Deed {
            script: LAUNCH,
            noted: format!("launched {app}"),
            arguments: vec![app],
            input: Vec::new(),
            wait: None,
        }
    };
}

/// `POST /computers/{id}/desktop/wait`
pub async fn wait(
    State(store): State<Store>,
    PathId(id): PathId<ComputerId>,
    request: Mutation<Wait>,
) -> Result<Json<Acted>> {
    let (caller, input) = request.outside();
    let (_, computer) = inside::machine(&store, caller, id).await?;
    let seconds = input?.seconds.unwrap_or(-1.0);
    if !(0.0..=WAITS).contains(&seconds) {
        return Err(Error::field(
            "seconds",
            format!("must be from 0 to {WAITS}"),
        ));
    }
    inside::runs(&computer)?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Ok(acted(format!("waited {seconds} s")))
}
