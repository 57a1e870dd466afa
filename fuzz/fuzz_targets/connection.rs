//! One connection of HTTP/1 under a script, beside bare hyper: see `endless-runtime/src/fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| endless_runtime::fuzzing::connection(bytes));
