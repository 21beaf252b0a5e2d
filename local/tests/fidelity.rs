//! docs/FIDELITY.md is true: every point is in it once, every test it names exists and names the point, and the reverse.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Points by the test that names them.
type Named = BTreeMap<String, BTreeSet<u32>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every test of the crates that have any of these, with the points its comment names.
fn tests() -> Named {
    let mut files = Vec::new();
    for folder in ["local/src", "local/tests", "handlers/tests", "cli/tests", "tests/tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let mut tests = Named::new();
    for file in files {
        let (mut points, mut is_test) = (BTreeSet::new(), false);
        for line in std::fs::read_to_string(file).unwrap().lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                let numbers = comment.split("Point ").skip(1).filter_map(|rest| rest.split(['.', ':', ' ']).next());
                points.extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
            } else if line.starts_with("#[tokio::test") || line == "#[test]" {
                is_test = true;
            } else if !line.starts_with("#[") {
                let name =
                    line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                if let (true, Some(name)) = (is_test, name) {
                    tests.entry(name.to_owned()).or_default().append(&mut points);
                }
                (points, is_test) = (BTreeSet::new(), false);
            }
        }
    }
    tests
}

/// The rows of the page: point, how it is known, last cell.
fn rows() -> Vec<(u32, String, String)> {
    let page = std::fs::read_to_string(root().join("docs/FIDELITY.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let point = cells.first()?.parse().ok()?;
        assert_eq!(cells.len(), 4, "a row has four cells: {line}");
        Some((point, cells[2].to_owned(), cells[3].to_owned()))
    };
    page.lines().filter_map(row).collect()
}

/// The names of tests in a cell: what is in backticks and looks like one.
fn named_in(cell: &str) -> BTreeSet<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains('_') && !text.contains([' ', '/'])).map(str::to_owned).collect()
}

#[test]
fn every_point_is_there_once_and_says_how_it_is_known() {
    let rows = rows();
    assert_eq!(rows.iter().map(|(point, ..)| *point).collect::<Vec<_>>(), (1..=64).collect::<Vec<_>>());
    for (point, known, cell) in rows {
        assert!(["documented", "recorded", "third-party", "unverified"].contains(&known.as_str()), "{point}: {known}");
        assert!(!named_in(&cell).is_empty() || cell.starts_with("left out: "), "{point}: a test, or why not");
    }
}

#[test]
fn the_page_and_the_tests_name_each_other() {
    let tests = tests();
    let mut listed = Named::new();
    for (point, _, cell) in rows() {
        for name in named_in(&cell) {
            assert!(tests.contains_key(&name), "point {point} names `{name}`, and there is no such test");
            listed.entry(name).or_default().insert(point);
        }
    }
    let named: Named = tests.into_iter().filter(|(_, points)| !points.is_empty()).collect();
    assert_eq!(listed, named, "left: the page; right: the tests");
}
