//! Which columns of a source are read, and what for: key, fields, row hash. It must not know formats or files.

use crate::cell::{Cell, KEY_SEPARATOR, field_tag};
use crate::error::{ErrorKind, SourceError};
use crate::request::FieldMapping;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// More columns than this are taken for a file that is not what it seems.
pub(crate) const MAX_COLUMNS: usize = 10_000;

/// What a request says about columns.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub key: Vec<String>,
    /// Empty: all columns.
    pub fields: Vec<FieldMapping>,
    pub ignore: Vec<String>,
}

impl Selection {
    /// Refuses selections that no source could satisfy.
    pub fn check(&self, place: &str) -> Result<(), SourceError> {
        let refuse = |message: String| Err(SourceError::new(ErrorKind::Column, place, message));
        if self.key.is_empty() {
            return refuse("the model has no primary key; name its columns in primary_key".to_owned());
        }
        for (i, name) in self.key.iter().enumerate() {
            if self.key[..i].contains(name) {
                return refuse(format!("primary_key names \"{name}\" twice; name it once"));
            }
        }
        for (i, field) in self.fields.iter().enumerate() {
            if self.fields[..i].iter().any(|f| f.to == field.to) {
                return refuse(format!("two fields are mapped to \"{}\"; give one of them another name", field.to));
            }
        }
        Ok(())
    }
}

/// A field of the export and the slot its value lies in.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub to: String,
    pub slot: usize,
}

/// The columns that are read. Each has a slot; parsers fill a row's cells by slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// The source column of each slot.
    pub names: Vec<String>,
    /// The slots of the key's columns.
    pub key: Vec<usize>,
    /// In the order of the export.
    pub fields: Vec<Field>,
    /// Tag and slot of what counts as a change, sorted by the fields' names.
    hashed: Vec<(u64, usize)>,
    ignore: Vec<String>,
}

impl Columns {
    /// Columns of a source whose header says what it has.
    pub fn of_header(selection: &Selection, header: &[String], place: &str) -> Result<Columns, SourceError> {
        check_header(header, place)?;
        let mut columns = Columns { ignore: selection.ignore.clone(), ..Columns::default() };
        let wanted = selection.key.iter().chain(selection.fields.iter().map(|f| &f.from)).chain(&selection.ignore);
        for name in wanted {
            if !header.contains(name) {
                return Err(no_column(name, header, place));
            }
        }
        columns.key = selection.key.iter().map(|name| columns.slot(name)).collect();
        if selection.fields.is_empty() {
            for name in header {
                let slot = columns.slot(name);
                columns.fields.push(Field { to: name.clone(), slot });
            }
        } else {
            columns.map(&selection.fields);
        }
        columns.order();
        Ok(columns)
    }

    /// Columns of a source without a header: those that are asked for, or, if all are, only the key's; the rest comes by [`Columns::add`].
    pub fn without_header(selection: &Selection) -> Columns {
        let mut columns = Columns { ignore: selection.ignore.clone(), ..Columns::default() };
        if selection.fields.is_empty() {
            columns.key = selection.key.iter().map(|name| columns.add(name)).collect();
        } else {
            columns.key = selection.key.iter().map(|name| columns.slot(name)).collect();
            columns.map(&selection.fields);
        }
        columns.order();
        columns
    }

    /// Adds a column that is a field under its own name; returns its slot.
    pub fn add(&mut self, name: &str) -> usize {
        let slot = self.slot(name);
        self.fields.push(Field { to: name.to_owned(), slot });
        self.order();
        slot
    }

    fn slot(&mut self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn map(&mut self, fields: &[FieldMapping]) {
        for field in fields {
            let slot = self.slot(&field.from);
            self.fields.push(Field { to: field.to.clone(), slot });
        }
    }

    fn order(&mut self) {
        let mut by_name: Vec<&Field> = self.fields.iter().filter(|f| !self.ignore.contains(&self.names[f.slot])).collect();
        by_name.sort_unstable_by(|a, b| a.to.cmp(&b.to));
        self.hashed = by_name.into_iter().map(|f| (field_tag(&f.to), f.slot)).collect();
    }

    /// Writes the key's text into `out`, or says why the row has none.
    #[inline]
    pub fn key_text(&self, cells: &[Cell<'_>], out: &mut String) -> Result<(), String> {
        out.clear();
        for (i, &slot) in self.key.iter().enumerate() {
            if i > 0 {
                out.push(KEY_SEPARATOR);
            }
            match cells.get(slot).unwrap_or(&Cell::Null).key_text() {
                Ok(text) => out.push_str(&text),
                Err(fault) => return Err(format!("the key column \"{}\" {fault}", self.names[slot])),
            }
        }
        Ok(())
    }

    /// The hash of the fields; `scratch` is overwritten.
    #[inline]
    pub fn row_hash(&self, cells: &[Cell<'_>], seed: u64, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        for &(tag, slot) in &self.hashed {
            if let Some(cell) = cells.get(slot) {
                cell.hash_into(tag, scratch);
            }
        }
        xxh3_128_with_seed(scratch, seed)
    }

    /// The slot of each column of a header; `None` where it is not read. Other files of a source must have the same columns.
    pub fn of_file(&self, selection: &Selection, header: &[String], place: &str) -> Result<Vec<Option<usize>>, SourceError> {
        check_header(header, place)?;
        if let Some(missing) = self.names.iter().find(|name| !header.contains(name)) {
            return Err(no_column(missing, header, place));
        }
        let slots: Vec<Option<usize>> = header.iter().map(|name| self.names.iter().position(|n| n == name)).collect();
        match slots.iter().position(Option::is_none) {
            Some(extra) if selection.fields.is_empty() => Err(SourceError::new(
                ErrorKind::Column,
                place,
                format!("has a column \"{}\" that the source's first file does not have; list the fields of the export", header[extra]),
            )),
            _ => Ok(slots),
        }
    }
}

fn check_header(header: &[String], place: &str) -> Result<(), SourceError> {
    if header.len() > MAX_COLUMNS {
        return Err(SourceError::format(place, format!("has {} columns; at most {MAX_COLUMNS} are read", header.len())));
    }
    let mut seen = std::collections::HashSet::new();
    match header.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(SourceError::new(ErrorKind::Column, place, format!("has two columns named \"{twice}\"; rename one of them"))),
        None => Ok(()),
    }
}

/// The error for a column that is not there.
pub(crate) fn no_column(name: &str, there: &[String], place: &str) -> SourceError {
    let hint = match nearest(name, there) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if there.is_empty() => "it has none at all".to_owned(),
        None => {
            let mut some: Vec<String> = there.iter().take(10).map(|n| format!("\"{n}\"")).collect();
            if there.len() > 10 {
                some.push("…".to_owned());
            }
            format!("it has {}", some.join(", "))
        }
    };
    SourceError::new(ErrorKind::Column, place, format!("has no column \"{name}\"; {hint}"))
}

/// The candidate that needs the fewest edits, if they are few.
fn nearest<'a>(name: &str, candidates: &'a [String]) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1) + usize::from(name.chars().count() > 3);
    candidates
        .iter()
        .map(|c| (distance(&name.to_lowercase(), &c.to_lowercase()), c.as_str()))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(200).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(200).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn a_misspelt_column_is_met_with_the_nearest_name() {
        let header = names(&["id", "email", "first_name"]);
        assert_eq!(no_column("emial", &header, "a.csv").to_string(), "a.csv: has no column \"emial\"; did you mean \"email\"?");
        assert_eq!(nearest("Email", &header), Some("email"));
        assert_eq!(nearest("firstname", &header), Some("first_name"));
        assert_eq!(nearest("country", &header), None);
    }

    #[test]
    fn the_row_hash_does_not_depend_on_the_order_of_columns_or_mappings() {
        let map = |from: &str, to: &str| FieldMapping { from: from.into(), to: to.into() };
        let one = Selection { key: names(&["id"]), fields: vec![map("id", "id"), map("email", "mail")], ignore: vec![] };
        let two = Selection { key: names(&["id"]), fields: vec![map("email", "mail"), map("id", "id")], ignore: vec![] };
        let a = Columns::of_header(&one, &names(&["id", "email", "x"]), "a").unwrap();
        let b = Columns::of_header(&two, &names(&["email", "id"]), "b").unwrap();
        let row = |c: &Columns| {
            let cell = |n: &String| if n == "id" { Cell::Text("1") } else { Cell::Text("e") };
            c.row_hash(&c.names.iter().map(cell).collect::<Vec<_>>(), 3, &mut Vec::new())
        };
        assert_eq!(row(&a), row(&b));
    }
}
