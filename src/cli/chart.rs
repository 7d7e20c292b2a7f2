//! Bars in a terminal.

/// Characters of the longest bar, where there is room.
pub(super) const WIDTH: usize = 50;
/// Eighths of a character.
const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One line a bar: label, bar, value. All zero-based, on one scale.
pub(super) fn bars(rows: &[(String, f64, String)], wide: usize) -> String {
    let most = rows.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let mut out = String::new();
    for (label, value, shown) in rows {
        let eighths = if most > 0.0 {
            // At least something where there was something.
            ((value / most * (wide * 8) as f64).round() as usize).max(usize::from(*value > 0.0))
        } else {
            0
        };
        let bar = format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8]);
        let pad = wide - bar.chars().count().min(wide);
        out.push_str(&format!("{label}  {bar}{}  {shown}\n", " ".repeat(pad)));
    }
    out
}

/// How a table is drawn where it is.
#[derive(Default)]
pub(super) struct Look {
    /// Characters of a line; the last column is cut to fit.
    pub(super) width: Option<usize>,
    /// Colours a cell: its text, and its text with the spaces behind it.
    pub(super) paint: Option<fn(&str, &str) -> String>,
}

/// A table with aligned columns.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], look: &Look) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let last = widths.len().saturating_sub(1);
    let before: usize = widths.iter().take(last).map(|width| width + 2).sum();
    let room = look
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(before));
    let line = |cells: Vec<&str>, bold: bool| {
        let mut line = String::new();
        for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let mut cell = (*cell).to_owned();
            // Where not even a few characters fit, the terminal may break the line.
            if n == last && room >= MIN_LAST && cell.chars().count() > room {
                cell = cell.chars().take(room - 1).chain(['…']).collect();
            }
            let pad = if n == last {
                0
            } else {
                width + 2 - cell.chars().count()
            };
            let painted = match look.paint {
                Some(_) if bold => format!("\x1b[1m{cell}\x1b[0m"),
                Some(paint) => paint(&cell, &cell),
                None => cell,
            };
            line.push_str(&painted);
            line.push_str(&" ".repeat(pad));
        }
        format!("{}\n", line.trim_end())
    };
    let mut out = line(head.to_vec(), true);
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect(), false));
    }
    out
}

/// The last column is cut to no fewer characters.
const MIN_LAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_share_one_scale_from_zero() {
        let row = |label: &str, value: f64| (label.to_owned(), value, value.to_string());
        let drawn = bars(
            &[
                row("a", 0.0),
                row("b", 50.0),
                row("c", 100.0),
                row("d", 0.001),
            ],
            WIDTH,
        );
        let lengths: Vec<usize> = drawn
            .lines()
            .map(|line| line.matches('█').count())
            .collect();
        assert_eq!(lengths, [0, 25, 50, 0]);
        assert!(
            drawn.lines().nth(3).unwrap().contains('▏'),
            "a little is not nothing"
        );
        assert!(bars(&[row("a", 0.0)], WIDTH).starts_with("a   "));
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let drawn = table(
            &["ID", "NAME"],
            &[
                vec!["1".into(), "Zahnärzte".into()],
                vec!["22".into(), "x".into()],
            ],
            &Look::default(),
        );
        assert_eq!(drawn, "ID  NAME\n1   Zahnärzte\n22  x\n");
    }

    #[test]
    fn a_table_fits_its_terminal_and_has_its_colours() {
        let rows = [vec!["run".into(), "a name of many letters".into()]];
        let look = Look {
            width: Some(16),
            paint: None,
        };
        assert_eq!(
            table(&["S", "NAME"], &rows, &look),
            "S    NAME\nrun  a name of …\n"
        );
        let look = Look {
            width: None,
            paint: Some(|cell, padded| {
                if cell == "run" {
                    format!("<{padded}>")
                } else {
                    padded.into()
                }
            }),
        };
        assert_eq!(
            table(&["S", "NAME"], &rows, &look),
            "\x1b[1mS\x1b[0m    \x1b[1mNAME\x1b[0m\n<run>  a name of many letters\n"
        );
    }
}
