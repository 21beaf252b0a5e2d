//! What SECURITY.md and docs/RELIABILITY.md name as holding a promise is there: files, test functions, fuzz targets.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{fs, path::Path};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A file's name and what is in it.
type Source = (String, String);

/// Checks one document; gives how many names it found.
fn check(document: &str) -> usize {
    let text = fs::read_to_string(format!("{ROOT}/{document}")).unwrap();
    let (mut found, mut header): (usize, Vec<Option<Source>>) = (0, Vec::new());
    for line in text.lines() {
        if !line.starts_with(['|', '-']) {
            header.clear();
            continue;
        }
        let is_header = header.is_empty();
        for (column, cell) in line.split('|').enumerate() {
            // What the head of a column names is meant by all below it.
            let (names, file) = check_cell(document, cell, header.get(column).cloned().flatten());
            found += names;
            if is_header {
                header.push(file);
            }
        }
    }
    found
}

/// Names of functions, and titles in quotes, are of the file before them. Gives how many names there are, and the last file.
fn check_cell(document: &str, cell: &str, of_column: Option<Source>) -> (usize, Option<Source>) {
    let mut found = 0;
    let mut file = of_column;
    for (place, code) in cell.split('`').enumerate() {
        if place % 2 == 0 {
            let Some((name, source)) = &file else { continue };
            for title in code.split('"').skip(1).step_by(2) {
                assert!(source.contains(title), "{document}: there is no \"{title}\" in {name}");
                found += 1;
            }
        } else if is_file(code) {
            let source = fs::read_to_string(format!("{ROOT}/{code}"));
            file = Some((code.to_owned(), source.unwrap_or_else(|error| panic!("{document}: {code}: {error}"))));
            found += 1;
        } else if let Some((name, source)) = &file
            && let start = code.trim_end_matches('…')
            && start.matches('_').count() > 1
        {
            assert!(source.contains(&format!("fn {start}")), "{document}: there is no {code} in {name}");
            found += 1;
        }
    }
    for targets in cell.split("fuzz target").skip(1) {
        let names = targets.split(';').next().unwrap_or_default();
        for target in names.split('`').skip(1).step_by(2).filter(|name| !name.contains(['/', '_', '.'])) {
            let corpus = format!("{ROOT}/fuzz/corpus/{target}");
            assert!(Path::new(&corpus).is_dir(), "{document}: there is no fuzz target {target}");
            found += 1;
        }
    }
    (found, file)
}

fn is_file(code: &str) -> bool {
    code.contains('/')
        && [".rs", ".ts", ".py", ".js"].iter().any(|ending| code.ends_with(ending))
        && !code.contains(' ')
}

#[test]
fn the_tests_that_the_documents_name_are_there() {
    assert!(check("SECURITY.md") > 40);
    assert!(check("docs/RELIABILITY.md") > 10);
}
