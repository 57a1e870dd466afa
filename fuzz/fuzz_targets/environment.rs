//! What a stranger could put into the environment: see `endless-runtime/src/handover/hostile.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| endless_runtime::fuzzing::environment(bytes));
