//! JSON bodies: what is taken is JSON, comes back as it was sent, and counts as it should.
#![no_main]

use bytes::Bytes;
use durastream_engine::wire::{Format, JsonLimits, after_messages, encode, frame};
use serde_json::value::RawValue;

const LIMITS: JsonLimits = JsonLimits {
    depth: 100,
    number_bytes: 40,
};

/// The messages of a body as serde_json sees them.
fn messages(body: &[u8]) -> Option<Vec<String>> {
    let raw = |raw: Box<RawValue>| raw.get().to_owned();
    match serde_json::from_slice::<Vec<Box<RawValue>>>(body) {
        Ok(batch) => Some(batch.into_iter().map(raw).collect()),
        Err(_) => serde_json::from_slice(body).ok().map(|one| vec![raw(one)]),
    }
}

fn any(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    let Ok(wire) = encode(Format::Json, &body, LIMITS) else {
        return;
    };
    if body.is_empty() {
        assert!(wire.is_empty());
        return;
    }
    let sent = messages(bytes).expect("what is taken is JSON");
    let expected: String = sent.iter().map(|message| format!("{message},")).collect();
    assert_eq!(wire, expected.as_bytes());
    let mut end = 0;
    for (count, message) in sent.iter().enumerate() {
        assert_eq!(after_messages(&wire, count as u64), Some(end));
        end += message.len() + 1;
    }
    assert_eq!(after_messages(&wire, sent.len() as u64), Some(end));
    assert_eq!(after_messages(&wire, sent.len() as u64 + 1), None);
    // What is read may be sent again, and is the same.
    let page = frame(Format::Json, vec![wire.clone()]).concat();
    assert_eq!(messages(&page), Some(sent));
    assert_eq!(encode(Format::Json, &page.into(), LIMITS), Ok(wire));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    any(bytes);
    // What is of no use inside a stream must not become of use there by standing in a batch.
    let _ = after_messages(bytes, 3);
});
