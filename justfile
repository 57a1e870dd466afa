# The steps of `.ci/run`, under the same names, and what takes longer.

# Everything that every change must pass.
ci:
    .ci/run

# Installs the clients and servers that the tests run.
tools:
    .ci/run tools

fmt:
    .ci/run fmt

clippy:
    .ci/run clippy

test:
    .ci/run test

doc:
    .ci/run doc

# The tests with the large counts.
full:
    FULL=1 cargo test --workspace --all-features --locked -- --test-threads=1

# Hostile clients for ten seconds each, and what the others notice of them.
hostile:
    FULL=1 cargo test --release --test hostile --locked -- --test-threads=1 --nocapture

# What a request costs, against bare hyper 1.
bench pairs="31":
    cargo bench --bench request_path -- {{pairs}}

# Licences, duplicates, advisories.
deny:
    cargo deny check
