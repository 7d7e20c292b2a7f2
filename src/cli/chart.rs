//! Bars in a terminal.

/// Characters of the longest bar.
const WIDTH: usize = 50;
/// Eighths of a character.
const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// One line a bar: label, bar, value. All zero-based, on one scale.
pub(super) fn bars(rows: &[(String, f64, String)]) -> String {
    let most = rows.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let mut out = String::new();
    for (label, value, shown) in rows {
        let eighths = if most > 0.0 {
            // At least something where there was something.
            ((value / most * (WIDTH * 8) as f64).round() as usize).max(usize::from(*value > 0.0))
        } else {
            0
        };
        let bar = format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8]);
        let pad = WIDTH - bar.chars().count().min(WIDTH);
        out.push_str(&format!("{label}  {bar}{}  {shown}\n", " ".repeat(pad)));
    }
    out
}

/// A table with aligned columns.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(head.to_vec());
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_share_one_scale_from_zero() {
        let row = |label: &str, value: f64| (label.to_owned(), value, value.to_string());
        let drawn = bars(&[
            row("a", 0.0),
            row("b", 50.0),
            row("c", 100.0),
            row("d", 0.001),
        ]);
        let lengths: Vec<usize> = drawn
            .lines()
            .map(|line| line.matches('█').count())
            .collect();
        assert_eq!(lengths, [0, 25, 50, 0]);
        assert!(
            drawn.lines().nth(3).unwrap().contains('▏'),
            "a little is not nothing"
        );
        assert!(bars(&[row("a", 0.0)]).starts_with("a   "));
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let drawn = table(
            &["ID", "NAME"],
            &[
                vec!["1".into(), "Zahnärzte".into()],
                vec!["22".into(), "x".into()],
            ],
        );
        assert_eq!(drawn, "ID  NAME\n1   Zahnärzte\n22  x\n");
    }
}
