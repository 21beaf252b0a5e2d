//! Every input of the corpora, tried again. To look for new ones: `make fuzz`.

use std::{fs, path::Path};

/// What a target promises holds for all that was ever interesting, and all that once broke it.
fn replay(name: &str) {
    let target = fuzz::target(name).expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs: Vec<_> =
        fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "the corpus of {name} is empty");
    for input in inputs {
        // The last line before a panic names the input.
        println!("{}", input.display());
        (target.run)(&fs::read(&input).expect("reading an input"));
    }
}

#[test]
fn stored_items_and_stream_records_are_decoded_or_told_apart_whatever_they_hold() {
    replay("stored");
}

#[test]
fn what_comes_over_the_bus_is_taken_or_refused_whole() {
    replay("notices");
}

#[test]
fn a_cursor_is_taken_only_as_it_was_given() {
    replay("cursors");
}

#[test]
fn every_frame_gets_one_documented_answer_and_only_what_is_accepted_is_appended() {
    replay("frames");
}

#[test]
fn only_the_path_of_a_connection_reaches_it_and_only_by_the_methods_of_the_api() {
    replay("management");
}

#[test]
fn a_client_gets_in_only_by_a_whole_handshake_from_a_page_that_may_and_is_recorded() {
    replay("handshakes");
}
