#!/bin/sh
# Builds our own crates so that libFuzzer sees which code an input reaches. `make fuzz` has cargo call it (RUSTC_WORKSPACE_WRAPPER):
# dependencies are left as they are, so that those of `cargo test` serve, and no nightly compiler is needed.
rustc="$1"
shift
exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
