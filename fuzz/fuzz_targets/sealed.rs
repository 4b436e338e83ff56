#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| durastream_storage::fuzzing::sealed(bytes));
