//! Tables for terminals of 80 columns.

use crate::output::{bold, printable};

/// Columns of a terminal that is taken for granted.
pub(crate) const WIDTH: usize = 80;
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Numbers.
    Right(&'static str),
    /// Text, cut so that the table fits. One column at most.
    Cut(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Column::Right(head) | Column::Cut(head) => head,
        }
    }
}

/// A head line and a line for each row.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let mut widths: Vec<usize> = columns.iter().map(|column| column.head().len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(cut) = columns.iter().position(|column| matches!(column, Column::Cut(_))) {
        let total = widths.iter().sum::<usize>() + GAP.len() * columns.len().saturating_sub(1);
        let least = columns[cut].head().len();
        widths[cut] = widths[cut].saturating_sub(total.saturating_sub(WIDTH)).max(least);
    }
    let heads: Vec<String> = columns.iter().map(|column| column.head().to_owned()).collect();
    let mut out = format!("{}\n", bold(&line(columns, &widths, &heads)));
    for row in &rows {
        out.push_str(&line(columns, &widths, row));
        out.push('\n');
    }
    out
}

fn line(columns: &[Column], widths: &[usize], cells: &[String]) -> String {
    let cell = |((column, &width), cell): ((&Column, &usize), &String)| match column {
        Column::Right(_) => format!("{cell:>width$}"),
        Column::Cut(_) => format!("{:<width$}", cut(cell, width)),
    };
    let cells: Vec<String> = columns.iter().zip(widths).zip(cells).map(cell).collect();
    cells.join(GAP).trim_end().to_owned()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal_whatever_is_in_it() {
        let columns = [Column::Cut("METHOD"), Column::Right("CALLS"), Column::Right("p50")];
        let rows = [
            vec!["engine.".repeat(12), u64::MAX.to_string(), "1.02 us".into()],
            vec!["short".into(), "7".into(), "-".into()],
        ];
        let shown = table(&columns, &rows);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].chars().count(), WIDTH);
        assert!(lines[1].contains("…  18446744073709551615"), "{shown}");
        assert!(lines[2].starts_with("short  ") && lines[2].ends_with("7        -"), "{shown}");
    }

    #[test]
    fn a_narrow_table_stays_narrow() {
        let shown =
            table(&[Column::Right("N"), Column::Cut("NAME")], &[vec!["1".into(), "a".into()]]);
        assert_eq!(shown.lines().nth(1), Some("1  a"));
    }
}
