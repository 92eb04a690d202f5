//! Figures that are no times: a line each, and a table where a name says `table: row: column`.
//!
//! Of several runs the median stands in tables; least and most stand in the lines and in the JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::harness::Outcome;

/// One figure over all runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    name: &'static str,
    case: &'static str,
    median: f64,
    least: f64,
    most: f64,
}

/// Figures that belong together.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Table {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    /// By column; none where there is no such figure.
    cells: Vec<Option<f64>>,
}

/// All figures of all cases.
pub(super) fn of(outcomes: &[Outcome]) -> Vec<Figure> {
    outcomes.iter().flat_map(of_case).collect()
}

fn of_case(outcome: &Outcome) -> Vec<Figure> {
    let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in outcome.scalars.iter().flatten() {
        values.entry(name).or_default().push(*value);
    }
    let figure = |(name, mut values): (&'static str, Vec<f64>)| {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let median = values[values.len() / 2];
        Some(Figure { name, case: outcome.name, median, least, most })
    };
    values.into_iter().filter_map(figure).collect()
}

fn parts(name: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
    let (table, rest) = name.split_once(": ")?;
    let (row, column) = rest.split_once(": ")?;
    Some((table, row, column))
}

/// The tables that the names make.
pub(super) fn tables(figures: &[Figure]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for (name, row, column) in figures.iter().filter_map(|figure| parts(figure.name)) {
        let at = tables.iter().position(|table| table.name == name).unwrap_or(tables.len());
        if at == tables.len() {
            tables.push(Table { name, columns: Vec::new(), rows: Vec::new() });
        }
        let Table { columns, rows, .. } = &mut tables[at];
        if !columns.contains(&column) {
            columns.push(column);
        }
        if rows.iter().all(|known| known.name != row) {
            rows.push(Row { name: row, cells: Vec::new() });
        }
    }
    for table in &mut tables {
        let name = table.name;
        for row in &mut table.rows {
            let value = |column: &&'static str| {
                let found =
                    figures.iter().find(|f| parts(f.name) == Some((name, row.name, column)));
                found.map(|figure| figure.median)
            };
            row.cells = table.columns.iter().map(value).collect();
        }
    }
    tables
}

/// All of it for a reader, as Markdown.
pub(super) fn markdown(figures: &[Figure], tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let mut rows = vec![vec![table.name]];
        rows[0].extend(&table.columns);
        let mut rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.into_iter().map(String::from).collect()).collect();
        for row in &table.rows {
            let cell = |cell: &Option<f64>| cell.map_or_else(|| String::from("-"), number);
            let name = std::iter::once(String::from(row.name));
            rows.push(name.chain(row.cells.iter().map(cell)).collect());
        }
        text.push_str(&super::aligned(&rows));
        text.push('\n');
    }
    for figure in figures.iter().filter(|figure| parts(figure.name).is_none()) {
        let Figure { name, median, least, most, .. } = figure;
        let [median, least, most] = [*median, *least, *most].map(number);
        text.push_str(&format!("- {name}: {median} (runs: {least} to {most})\n"));
    }
    text
}

/// Three digits behind the point are enough for what is small, none are for what is large.
fn number(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.3}"),
        10.0..1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(runs: &[&[(&'static str, f64)]]) -> Outcome {
        Outcome {
            name: "case",
            description: "",
            runs: Vec::new(),
            scalars: runs.iter().map(|run| run.iter().copied().collect()).collect(),
            error: None,
        }
    }

    #[test]
    fn a_name_in_three_parts_is_a_cell_and_any_other_a_line() {
        let run =
            |x: f64| [("crowd: 1: M/s", x), ("crowd: 8: ns", 2_000.0 * x), ("share", x / 10.0)];
        let figures = of(&[outcome(&[&run(3.0), &run(1.0), &run(2.0)])]);
        let tables = tables(&figures);
        let text = markdown(&figures, &tables);
        assert!(text.contains("| crowd |   M/s |   ns |"), "{text}");
        assert!(text.contains("| 1     | 2.000 |    - |"), "{text}");
        assert!(text.contains("| 8     |     - | 4000 |"), "{text}");
        assert!(text.contains("- share: 0.200 (runs: 0.100 to 0.300)"), "{text}");
    }
}
