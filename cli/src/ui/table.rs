//! Tables without frames: columns aligned, a header underlined by position alone.

use comfy_table::{CellAlignment, presets};

/// Rows of text under headers.
#[derive(Debug)]
pub(crate) struct Table {
    inner: comfy_table::Table,
}

impl Table {
    /// A table with these column headers.
    pub(crate) fn new<const N: usize>(headers: [&str; N]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_header(headers);
        let mut table = Table { inner };
        for column in 0..N {
            if let Some(column) = table.inner.column_mut(column) {
                column.set_padding((0, 2));
            }
        }
        table
    }

    /// Aligns a column to the right, for numbers.
    pub(crate) fn right(mut self, column: usize) -> Self {
        if let Some(column) = self.inner.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row; cells are cleaned of control characters.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.inner.add_row(cells.map(|cell| super::clean(&cell)));
    }

    /// The table as lines without trailing blanks.
    pub(crate) fn render(&self) -> String {
        self.inner
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["step", "bytes"]).right(1);
        table.row(["clone".into(), "9".into()]);
        table.row(["restore".into(), "1000".into()]);
        assert_eq!(table.render(), "step     bytes\nclone        9\nrestore   1000");
    }
}
