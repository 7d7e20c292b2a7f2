//! Keys by the names that clients give them, as X knows them.

/// Keys that are held down together, at most.
const MOST: usize = 8;

/// The name of one key.
fn name(text: &str) -> Option<String> {
    let known = match text.to_ascii_lowercase().as_str() {
        "enter" | "return" => "Return",
        "esc" | "escape" => "Escape",
        "tab" => "Tab",
        "space" | " " => "space",
        "backspace" => "BackSpace",
        "delete" | "del" => "Delete",
        "insert" | "ins" => "Insert",
        "up" | "arrowup" => "Up",
        "down" | "arrowdown" => "Down",
        "left" | "arrowleft" => "Left",
        "right" | "arrowright" => "Right",
        "home" => "Home",
        "end" => "End",
        "pageup" | "page_up" | "pgup" => "Prior",
        "pagedown" | "page_down" | "pgdn" => "Next",
        "ctrl" | "control" => "ctrl",
        "alt" | "option" => "alt",
        "shift" => "shift",
        "super" | "meta" | "win" | "windows" | "cmd" | "command" => "super",
        "capslock" | "caps_lock" => "Caps_Lock",
        "printscreen" | "print" => "Print",
        _ => return symbol(text),
    };
    Some(known.to_owned())
}

/// A letter, what stands on a key beside letters, or a name of X's such as `F5` and `XF86AudioPlay`.
fn symbol(text: &str) -> Option<String> {
    let mut letters = text.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        return match letter {
            c if c.is_ascii_alphanumeric() => Some(c.to_string()),
            // X names every letter there is by its number.
            c if !c.is_control() => Some(format!("U{:04X}", u32::from(c))),
            _ => None,
        };
    }
    let fits = text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (fits && !text.is_empty()).then(|| {
        let number = text[1..].parse::<u8>();
        // f5 is F5; other names of X's have their own capitals.
        if text.starts_with('f') && number.is_ok() {
            text.to_ascii_uppercase()
        } else {
            text.to_owned()
        }
    })
}

/// Keys that are pressed together, from one text such as `ctrl+shift+t`.
pub fn together(text: &str) -> Option<String> {
    if text == "+" {
        return name(text);
    }
    // The last key may be + itself.
    let (rest, plus) = match text.strip_suffix("++") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let mut all: Vec<&str> = rest.split('+').collect();
    if plus {
        all.push("+");
    }
    list(&all)
}

/// Keys that are pressed together.
pub fn list(all: &[&str]) -> Option<String> {
    let names: Option<Vec<String>> = all.iter().map(|key| name(key)).collect();
    names
        .filter(|names| (1..=MOST).contains(&names.len()))
        .map(|names| names.join("+"))
}

#[cfg(test)]
mod tests {
    use super::{list, together};

    #[test]
    fn keys_have_the_names_that_x_knows() {
        for (given, known) in [
            ("Enter", "Return"),
            ("ctrl+c", "ctrl+c"),
            ("Ctrl+Shift+T", "ctrl+shift+T"),
            ("cmd+space", "super+space"),
            ("f5", "F5"),
            ("XF86AudioPlay", "XF86AudioPlay"),
            ("/", "U002F"),
            ("+", "U002B"),
            ("ctrl++", "ctrl+U002B"),
            ("ü", "U00FC"),
            ("fi", "fi"),
        ] {
            assert_eq!(together(given).as_deref(), Some(known), "{given}");
        }
        for wrong in [
            "",
            "ctrl+",
            "a b",
            "--help",
            "a;b",
            "\n",
            "x+x+x+x+x+x+x+x+x",
        ] {
            assert_eq!(together(wrong), None, "{wrong:?}");
        }
        assert_eq!(list(&["ctrl", "+"]).as_deref(), Some("ctrl+U002B"));
        assert_eq!(list(&[]), None);
    }
}
