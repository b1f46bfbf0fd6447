# `just` shows this list.
default:
    @just --list

# Format everything.
fmt:
    cargo fmt

# Formatting and lints, warnings being errors, as CI has it.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# All tests.
test:
    cargo test

# The API documentation, without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# What has to pass before anybody else looks.
ci:
    .ci/run

# Licences, bans, advisories. Needs cargo-deny.
deny:
    cargo deny check

# Have what contrib/ holds judged: lintian, mandoc, promtool, helm and others.
contrib *ARGS:
    contrib/check {{ARGS}}

# Fuzz all targets, or those that are named: `just fuzz --seconds 600 replay`.
fuzz *ARGS:
    fuzz/run {{ARGS}}

# The benchmarks, or those whose name contains FILTER; benches/README.md says what they measure.
bench FILTER="":
    cargo bench -- {{FILTER}}

# attache beside other proxies, or two builds of it beside each other: `just side-by-side --help`.
side-by-side *ARGS:
    python3 benches/side_by_side {{ARGS}}

# See it work.
demo:
    cargo run --release -- demo
