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

# Without TLS, and with ring alone.
features:
    .ci/run features

# Each published package with each set of its features. Needs `cargo install cargo-hack`.
powerset:
    cargo hack check --workspace --ignore-private --feature-powerset --exclude-features _tls,_pause-points --locked

test:
    .ci/run test

doc:
    .ci/run doc

# The tests with the large counts.
full:
    FULL=1 PROPTEST_CASES=20000 cargo test --workspace --all-features --locked -- --test-threads=1

# Restart after restart under every kind of load at once, and a table of what it cost.
soak seconds="600":
    SOAK={{seconds}} cargo test --release --all-features --locked --test soak -- --nocapture

# What a supervisor costs over 500 restarts, and what a death costs the clients.
supervisor:
    FULL=1 cargo test --release --locked --test supervised_resources --test crash -- --nocapture --test-threads=1

# Hostile clients for ten seconds each, what the others notice of them, and a table of it; with words, only rows
# that have one of them.
hostile *rows:
    #!/usr/bin/env bash
    export FULL=1 HOSTILE_TABLE=$(mktemp)
    cargo test --release --test hostile --locked -- --test-threads=1 --nocapture {{rows}}
    status=$?
    echo "How often its own wait; the waits without the attack, beside it elsewhere, and beside it; the server's memory."
    cat "$HOSTILE_TABLE"
    echo "not judged: $(grep -c 'not judged' "$HOSTILE_TABLE")"
    rm "$HOSTILE_TABLE"
    exit $status

# What may go wrong in a restart: the whole table three times, and what depends on a moment twenty times. With
# ROW=WORDS, only rows with these words.
faults:
    for round in 1 2 3; do FULL=1 cargo test --locked --test faults_starting --test faults_messages --test faults_predecessor --test faults_moving || exit 1; done
    FULL=1 TIMES=20 cargo test --locked --test faults --test faults_supervised -- --nocapture

# Connections that live through restarts: every way to cut what goes over them, clients as they are in use, ten
# thousand at once, and what clients notice of it in time.
moving:
    FULL=1 cargo test --release --locked --test moving --test moving_bytes --test moving_clients --test moving_many \
        --test moving_latency -- --nocapture --test-threads=1

# Clients that come back to another generation over TLS, a thousand each time, and what that costs.
tls:
    FULL=1 cargo test --release --locked --test resumption_cost -- --nocapture
    FULL=1 cargo test --locked --test resumption -- --nocapture --test-threads=1

# endless beside its peers, about ten minutes on a machine that does nothing else: writes docs/benchmarks.md. With a
# scale, so many times the rounds; `just bench 0.2 --only restarts --peer endless --out DIRECTORY` is a part of it.
bench *arguments:
    cargo build --release --bins --manifest-path benches/peers/Cargo.toml
    cargo run --release --quiet --bin measure --manifest-path benches/peers/Cargo.toml -- {{arguments}}

# docs/benchmarks.md again, from what was measured.
bench-render:
    cargo run --release --quiet --bin measure --manifest-path benches/peers/Cargo.toml -- render

# What a request costs, against bare hyper 1 alone.
bench-quick pairs="31":
    cargo bench --bench request_path -- {{pairs}}

# What would be published, each package built from nothing but its own files.
package:
    cargo publish --workspace --dry-run --locked

# What can run there, under Miri: the grammar, the messages, the states of a restart.
miri:
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p endless-runtime --lib -- \
        grammar:: handover::arriving handover::replacing handover::message

# A fuzzer, for so many seconds: `just fuzz connection 600`. Needs a nightly compiler and `cargo install cargo-fuzz`.
fuzz target seconds:
    cargo +nightly fuzz run -O --sanitizer none {{target}} -- -max_total_time={{seconds}} -max_len=1024

# Licences, duplicates, advisories.
deny:
    cargo deny check
