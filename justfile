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

# What may go wrong in a restart: the whole table three times, and what depends on a moment twenty times. With
# ROW=WORDS, only rows with these words.
faults:
    for round in 1 2 3; do FULL=1 cargo test --locked --test faults_starting --test faults_messages --test faults_predecessor || exit 1; done
    FULL=1 TIMES=20 cargo test --locked --test faults -- --nocapture

# What a request costs, against bare hyper 1.
bench pairs="31":
    cargo bench --bench request_path -- {{pairs}}

# Licences, duplicates, advisories.
deny:
    cargo deny check
