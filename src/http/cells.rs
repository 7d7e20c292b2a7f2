//! Texts as cells of a table for spreadsheets: RFC 4180.

/// What makes a spreadsheet take a cell for a formula; some take the full-width forms, too.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// A text as a cell. What a spreadsheet would run as a formula gets an apostrophe in front.
pub fn cell(text: &str) -> String {
    let formula = text.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']);
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_texts() {
        assert_eq!(cell("Lead Magnet"), "Lead Magnet");
        assert_eq!(cell("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(cell(" -1+2"), "' -1+2");
        assert_eq!(cell("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(cell("＝1+2"), "'＝1+2");
        assert_eq!(cell("\t=1"), "'\t=1");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("two\nlines"), "\"two\nlines\"");
    }
}
