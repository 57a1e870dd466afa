//! What a stranger could send over the channel: see `endless-runtime/src/handover/hostile.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| endless_runtime::fuzzing::channel(bytes));
