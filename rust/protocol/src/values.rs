//! Values of headers and parameters: strict grammars, each in one place.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use durastream_engine::Expiry;
use durastream_engine::wire::is_content_type;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::problem::{Problem, shown};

/// Largest producer epoch and sequence number: exact in JavaScript (protocol section 5.2.1).
pub(crate) const MAX_SAFE: u64 = (1 << 53) - 1;

/// Largest `Stream-TTL` in seconds, about 317 years.
pub(crate) const MAX_TTL: u64 = 9_999_999_999;

/// Reads a decimal integer without sign, leading zeros, point or exponent; says what is wrong.
pub(crate) fn integer(raw: &[u8], max: u64) -> Result<u64, String> {
    let canonical = match raw {
        [b'0'] => true,
        [first, ..] => *first != b'0' && raw.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if !canonical {
        return Err(format!(
            "{} is not a decimal integer without sign, leading zeros, point or exponent",
            shown(raw)
        ));
    }
    raw.iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|value| *value <= max)
        .ok_or_else(|| format!("{} is over the limit of {max}", shown(raw)))
}

/// `Stream-TTL`: seconds.
pub(crate) fn ttl(raw: &[u8]) -> Result<Expiry, Problem> {
    integer(raw, MAX_TTL)
        .map(|seconds| Expiry::Ttl(Duration::from_secs(seconds)))
        .map_err(|why| {
            Problem::header(
                "stream-ttl",
                format!("Stream-TTL is a number of seconds: {why}"),
            )
        })
}

/// `Stream-Expires-At`: RFC 3339, kept to the millisecond.
pub(crate) fn expires_at(raw: &[u8]) -> Result<Expiry, Problem> {
    let bad = |why: &str| {
        Problem::header(
            "stream-expires-at",
            format!(
                "Stream-Expires-At is an RFC 3339 time such as 2030-01-31T12:00:00Z; {} {why}",
                shown(raw)
            ),
        )
    };
    let time = std::str::from_utf8(raw)
        .ok()
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        .ok_or_else(|| bad("is not"))?;
    let millis = u64::try_from(time.unix_timestamp_nanos() / 1_000_000)
        .map_err(|_| bad("lies before 1970"))?;
    Ok(Expiry::At(UNIX_EPOCH + Duration::from_millis(millis)))
}

/// A time as RFC 3339 text; `None` when it is outside of what that can say.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let nanos = i128::try_from(since.as_nanos()).ok()?;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()?
        .format(&Rfc3339)
        .ok()
}

/// Checks the syntax of a content type.
pub(crate) fn content_type(raw: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(raw)
        .ok()
        .filter(|text| is_content_type(text))
        .ok_or_else(|| {
            Problem::header(
                "content-type",
                format!(
                    "{} is not a content type; use type/subtype, parameters as ;name=value",
                    shown(raw)
                ),
            )
        })
}

/// Decodes percent-encoding once; `None` when an escape is broken.
pub(crate) fn percent_decode(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return None,
        }
    }
    Some(percent_encoding::percent_decode(raw).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        assert_eq!(integer(b"0", 9), Ok(0));
        assert_eq!(integer(b"9007199254740991", MAX_SAFE), Ok(MAX_SAFE));
        for bad in [
            "",
            "-1",
            "+1",
            "01",
            "00",
            "1.0",
            "1e3",
            " 1",
            "1 ",
            "0x1",
            "1abc",
            "１",
            "9007199254740992",
            "99999999999999999999999999",
        ] {
            assert!(integer(bad.as_bytes(), MAX_SAFE).is_err(), "{bad}");
        }
    }

    #[test]
    fn ttl_is_seconds() {
        assert_eq!(
            ttl(b"3600").unwrap(),
            Expiry::Ttl(Duration::from_secs(3600))
        );
        assert_eq!(ttl(b"0").unwrap(), Expiry::Ttl(Duration::ZERO));
        assert!(ttl(b"10000000000").is_err());
    }

    #[test]
    fn expires_at_is_rfc_3339_and_comes_back_as_it_went() {
        for (text, back) in [
            ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
            ("2030-01-31T12:00:00.123Z", "2030-01-31T12:00:00.123Z"),
            ("2030-01-31T12:00:00+00:00", "2030-01-31T12:00:00Z"),
            ("2030-01-31T14:30:00+02:30", "2030-01-31T12:00:00Z"),
            ("2030-01-31T12:00:00.123456789Z", "2030-01-31T12:00:00.123Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            let Expiry::At(time) = expires_at(text.as_bytes()).unwrap() else {
                panic!("{text}");
            };
            assert_eq!(rfc3339(time).as_deref(), Some(back), "{text}");
        }
        for bad in [
            "",
            "not-a-timestamp",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "2030-02-31T12:00:00Z",
            "2030-01-31T25:00:00Z",
            "1733011200",
            "Thu, 31 Jan 2030 12:00:00 GMT",
            "1969-12-31T23:59:59Z",
            "99999-01-01T00:00:00Z",
            "\u{ff12}030-01-31T12:00:00Z",
        ] {
            assert!(expires_at(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_that_rfc_3339_cannot_say_is_no_text() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 40)), None);
    }

    #[test]
    fn a_content_type_is_text_of_the_engines_syntax() {
        assert_eq!(content_type(b"text/plain; a=b").unwrap(), "text/plain; a=b");
        for bad in [
            b"text".as_slice(),
            b"text/plain; charset",
            b"text/\xff",
            b"",
        ] {
            assert_eq!(content_type(bad).unwrap_err().status(), 400);
        }
    }

    #[test]
    fn percent_encoding_is_decoded_once_and_checked() {
        assert_eq!(
            percent_decode(b"a%2Fb%252F").as_deref(),
            Some(b"a/b%2F".as_slice())
        );
        for bad in ["%", "%4", "a%zz", "%%41", "%-1"] {
            assert_eq!(percent_decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
