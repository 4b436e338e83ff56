//! Event streams, as their readers take them.

use serde_json::Value;

use super::{Live, Reply, Request, Server};

/// An event stream after its head.
pub fn events(server: &Server, target: &str) -> (Live, Reply) {
    let mut live = server.begin(&Request::get(&format!("{target}&live=sse")));
    let head = live.head();
    (live, head)
}

/// The events of a chunk: type and data, as a reader of event streams takes them.
pub fn parse(chunk: &str) -> Vec<(String, String)> {
    assert!(chunk.ends_with("\n\n"), "an event in one piece: {chunk:?}");
    chunk
        .split("\n\n")
        .filter(|block| !block.is_empty() && *block != ":")
        .map(|block| {
            let mut kind = String::new();
            let mut data = Vec::new();
            for line in block.split('\n') {
                if let Some(value) = line.strip_prefix("event: ") {
                    kind = value.to_owned();
                } else {
                    let value = line.strip_prefix("data:").expect("a data line");
                    data.push(value.strip_prefix(' ').unwrap_or(value));
                }
            }
            (kind, data.join("\n"))
        })
        .collect()
}

/// A chunk of one data event and its control event.
pub fn pair(chunk: &str) -> (String, Value) {
    let events = parse(chunk);
    assert_eq!(events.len(), 2, "{chunk:?}");
    assert_eq!(events[0].0, "data");
    (events[0].1.clone(), control_of(&events[1]))
}

/// A chunk of a control event alone.
pub fn control(chunk: &str) -> Value {
    let events = parse(chunk);
    assert_eq!(events.len(), 1, "{chunk:?}");
    control_of(&events[0])
}

pub fn control_of((kind, data): &(String, String)) -> Value {
    assert_eq!(kind, "control");
    let control: Value = serde_json::from_str(data).unwrap();
    assert!(control["streamNextOffset"].is_string());
    assert_eq!(
        control["streamCursor"].is_string(),
        control["streamClosed"].is_null()
    );
    control
}
