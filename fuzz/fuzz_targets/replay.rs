#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| durastream_engine::fuzzing::replay(bytes));
