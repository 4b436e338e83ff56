//! What JSON mode keeps, and what it refuses.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::{Format, frame};

const LIMITS: JsonLimits = JsonLimits {
    depth: 128,
    number_bytes: 4096,
};

fn wire(body: &str) -> Result<String, BodyError> {
    let wire = flatten(&Bytes::copy_from_slice(body.as_bytes()), LIMITS)?;
    Ok(String::from_utf8(wire.to_vec()).unwrap())
}

/// Where and why a body is refused as invalid.
fn fault(body: &str) -> (usize, String) {
    match wire(body) {
        Err(BodyError::Json { at, detail }) => (at, detail),
        other => panic!("{body:?} gave {other:?}"),
    }
}

#[test]
fn a_message_is_kept_byte_for_byte() {
    for message in [
        r#"{"b":1,"a":2,"b":3}"#,
        "{ \"a\" :\t1.50e+03 ,\n\"b\": -0 }",
        "123456789012345678901234567890.000",
        "1e999",
        r#""\u0041\/\ud83d\ude00é😀""#,
        "null",
        "{\"deep\":[[[1 , 2]]]}",
        r#""[{,\"\\""#,
    ] {
        let expected = format!("{message},");
        assert_eq!(wire(message).as_ref(), Ok(&expected));
        assert_eq!(
            wire(&format!(" \r\n\t{message} \n")).as_ref(),
            Ok(&expected)
        );
        let batch = format!(" [ {message}\n,{message} ] ");
        assert_eq!(wire(&batch), Ok(expected.repeat(2)));
    }
}

#[test]
fn a_batch_is_flattened_by_one_level_only() {
    assert_eq!(wire("[[1,2],[3]]").unwrap(), "[1,2],[3],");
    assert_eq!(wire("[[]]").unwrap(), "[],");
    assert_eq!(wire("[]").unwrap(), "");
    assert_eq!(wire(" [ ] ").unwrap(), "");
    assert_eq!(wire("").unwrap(), "");
}

#[test]
fn a_fault_is_named_by_its_byte_offset() {
    for (body, at) in [
        ("{", 1),
        ("   ", 3),
        ("[1,2", 4),
        ("\"abc", 4),
        ("[1,]", 3),
        ("[1 2]", 3),
        ("[,1]", 1),
        ("]", 0),
        ("{\"a\":1,}", 7),
        ("{\"a\" 1}", 5),
        ("{a:1}", 1),
        ("{1:1}", 1),
        ("nul", 3),
        ("nulx", 3),
        ("{\"a\":\n\n  tru!}", 12),
        ("01", 1),
        ("[1}", 2),
        ("{\"a\":1]", 6),
        ("\"\\x\"", 2),
        ("\"tab\there\"", 4),
        ("\"line\nbreak\"", 5),
        ("1 2", 2),
        ("{} {}", 3),
        ("[1] x", 4),
        ("[1],", 3),
        ("\n\n[1]]", 5),
        ("é", 0),
        ("[\"é\", é]", 7),
    ] {
        assert_eq!(fault(body).0, at, "{body:?}: {:?}", fault(body));
    }
}

#[test]
fn what_is_no_number_in_json_is_refused_with_advice() {
    for body in [
        "NaN",
        "Infinity",
        "-Infinity",
        "[1,NaN]",
        "{\"a\":-Infinity}",
    ] {
        let (at, detail) = fault(body);
        assert!(
            detail.contains("neither NaN nor Infinity"),
            "{body} {at} {detail}"
        );
    }
    for body in ["+1", ".5", "1.", "1e", "-", "0x10", "--1", "1e+", "00"] {
        fault(body);
    }
    assert!(fault("{'a':1}").1.contains("double quotes"));
}

#[test]
fn surrogates_come_in_pairs() {
    for (body, at) in [
        (r#""\ud800""#, 1),
        (r#""ab\uDFFF""#, 3),
        (r#"["\ud83d\ude00\ud83d"]"#, 14),
        (r#""\ud83d\u0041""#, 1),
        (r#""\ud83d\ud83d\ude00""#, 1),
        (r#"{"\udc00":1}"#, 2),
        (r#""\ud800 \udc00""#, 1),
        (r#""\ud83dude00""#, 1),
    ] {
        let (found, detail) = fault(body);
        assert_eq!(found, at, "{body}");
        assert!(detail.contains("half of a surrogate pair"), "{detail}");
    }
    // An escaped backslash before a `u` is no escape of a surrogate.
    assert_eq!(wire(r#""\\ud800""#).unwrap(), r#""\\ud800","#);
    assert_eq!(wire(r#""\uD83D\uDE00""#).unwrap(), r#""\uD83D\uDE00","#);
    assert_eq!(fault(r#""\u12g4""#).1, "invalid escape");
}

#[test]
fn what_is_not_utf8_is_refused_where_it_stands() {
    for (body, at) in [
        (&b"\"\xff\""[..], 1),
        (b"[1,\"\xc3\"]", 4),
        (b"\xff\xfe[\x001\x00]\x00", 0),
        (b"\"\xed\xa0\x80\"", 1),
        (b"\"\xc0\x80\"", 1),
    ] {
        let refused = flatten(&Bytes::from_static(body), LIMITS);
        assert_eq!(refused, Err(BodyError::Utf8 { at }));
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let (at, detail) = fault("\u{feff}[1]");
    assert_eq!(at, 0);
    assert!(detail.contains("byte order mark"), "{detail}");
}

#[test]
fn nesting_is_bounded_without_the_array_around_a_batch() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(
        wire(&nested(129)).is_ok(),
        "a batch of one message, 128 deep"
    );
    assert_eq!(
        wire(&nested(130)),
        Err(BodyError::Depth {
            at: 129,
            limit: 128,
            value: 129
        })
    );
    assert!(wire(&objects(128)).is_ok());
    assert!(matches!(
        wire(&objects(129)),
        Err(BodyError::Depth { value: 129, .. })
    ));
    assert!(wire("[\"[[[[\", {\"a\":\"{{{\"}]").is_ok());
    // Siblings do not add up.
    assert!(wire(&format!("[{}{}]", "[{}],".repeat(500), "1")).is_ok());
}

#[test]
fn a_long_number_is_refused_with_limit_and_length() {
    assert!(wire(&"7".repeat(4096)).is_ok());
    for (body, at) in [
        ("7".repeat(10_000_000), 0),
        (format!("[1,-{}]", "7".repeat(9_999_999)), 3),
        (format!("{{\"a\":1.{}e9}}", "7".repeat(9_999_996)), 5),
    ] {
        assert_eq!(
            wire(&body),
            Err(BodyError::Number {
                at,
                limit: 4096,
                value: 10_000_000
            })
        );
    }
    assert!(wire(&format!("\"{}\"", "7".repeat(5000))).is_ok());
}

#[test]
fn bodies_of_64_mib_need_no_stack() {
    let size = 64 << 20;
    let open = "[".repeat(size);
    let closed = format!("[1{}]", ",1".repeat(4 << 20));
    let string = format!("\"{}\"", "\\u00e9".repeat(1 << 20));
    let no_limit = JsonLimits {
        depth: usize::MAX,
        number_bytes: usize::MAX,
    };
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || {
            assert!(matches!(wire(&open), Err(BodyError::Depth { .. })));
            let refused = flatten(&Bytes::from(open), no_limit);
            assert!(matches!(refused, Err(BodyError::Json { at, .. }) if at == size));
            assert_eq!(
                wire(&closed).unwrap(),
                format!("{},", &closed[1..closed.len() - 1])
            );
            assert_eq!(wire(&string).unwrap().len(), string.len() + 1);
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn whitespace_is_not_kept_in_memory() {
    let body = Bytes::from(format!("[1{}]", " ".repeat(1 << 20)));
    let wire = flatten(&body, LIMITS).unwrap();
    assert_eq!(wire, "1,");
    assert!(wire.try_into_mut().unwrap().capacity() < 1024);
}

#[test]
fn messages_are_counted_over_everything_that_looks_like_a_comma() {
    let wire = br#"{"a":[1,2],"b":","},"\",",[[],[,]],null,"#;
    let ends: Vec<_> = (0..7).map(|n| after_messages(wire, n)).collect();
    let expected = [0, 20, 26, 35, 40].map(Some).into_iter();
    assert_eq!(ends, expected.chain([None, None]).collect::<Vec<_>>());
    assert_eq!(after_messages(b"", 0), Some(0));
    assert_eq!(after_messages(b"", 1), None);
    assert_eq!(after_messages(b"\"open", 1), None);
    assert_eq!(after_messages(b"\"open\\", 1), None);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\\[\\]{}\",:\\\\]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(".{0,4}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Text made of what JSON is made of, valid only now and then.
fn almost_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        4 => prop::sample::select(vec!["[", "]", "{", "}", ",", ":", " ", "\n"]),
        3 => prop::sample::select(vec!["1", "-0.5", "2e3", "\"a\"", "\"\"", "null", "true", "{}"]),
        1 => prop::sample::select(vec![
            "\"", "\\", "\\u00e9", "\\ud83d", "\\ude00", "é", "01", "1.", "-", "nul", "\t", "e",
            "9e999", "\u{0}", "[1,2]", "{\"a\":1}", "\"\\ud83d\\ude00\"", "\u{feff}",
        ]),
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

fn messages_of(value: Value) -> Vec<Value> {
    match value {
        Value::Array(messages) => messages,
        message => vec![message],
    }
}

/// What a client reads back of some wire bytes.
fn read_back(wire: Bytes) -> Vec<Value> {
    let body = frame(Format::Json, vec![wire]).concat();
    serde_json::from_slice(&body).unwrap()
}

proptest! {
    #[test]
    fn every_value_comes_back_as_the_messages_it_held(value in value(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&value)
        } else {
            serde_json::to_string(&value)
        };
        let text = text.unwrap();
        let messages = messages_of(serde_json::from_str(&text).unwrap());
        let wire = flatten(&Bytes::from(text), LIMITS).unwrap();
        for n in 0..=messages.len() {
            let end = after_messages(&wire, n as u64).unwrap();
            prop_assert_eq!(&read_back(wire.slice(..end)), &messages[..n]);
        }
        prop_assert_eq!(after_messages(&wire, messages.len() as u64), Some(wire.len()));
        prop_assert_eq!(after_messages(&wire, messages.len() as u64 + 1), None);
    }

    #[test]
    fn what_serde_json_accepts_is_accepted_and_nothing_else(text in almost_json()) {
        let body = Bytes::from(text.clone());
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                let wire = flatten(&body, LIMITS).unwrap();
                prop_assert_eq!(read_back(wire), messages_of(value));
            }
            // Valid JSON, which only a float cannot hold.
            Err(e) if e.to_string().starts_with("number out of range") => {}
            Err(_) if text.is_empty() => prop_assert!(flatten(&body, LIMITS).unwrap().is_empty()),
            Err(_) => {
                let refused = flatten(&body, LIMITS).unwrap_err();
                if let BodyError::Json { at, .. } = refused {
                    prop_assert!(at <= text.len());
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..40)) {
        let body = Bytes::from(body);
        if let Ok(wire) = flatten(&body, LIMITS) {
            read_back(wire);
        }
    }
}
