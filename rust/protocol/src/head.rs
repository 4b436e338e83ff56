//! Request headers: the one place that reads them.

use crate::RequestHead;
use crate::problem::Problem;

/// Headers of a request, by canonical lower-case name.
#[derive(Clone, Copy)]
pub(crate) struct Headers<'a> {
    fields: &'a [(&'a [u8], &'a [u8])],
}

impl<'a> Headers<'a> {
    /// The headers of `head`.
    pub(crate) fn of(head: &RequestHead<'a>) -> Self {
        Self {
            fields: head.headers,
        }
    }

    /// Every value of a header, in order, outer whitespace cut.
    pub(crate) fn all(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.trim_ascii())
    }

    /// The value of a header that may occur once.
    pub(crate) fn single(self, name: &'static str) -> Result<Option<&'a [u8]>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        match values.count() {
            0 => Ok(first),
            more => Err(Problem::header(
                name,
                format!(
                    "{name} may be given once, this request gives it {} times",
                    more + 1
                ),
            )),
        }
    }

    /// Like [`Self::single`], as text.
    pub(crate) fn text(self, name: &'static str) -> Result<Option<&'a str>, Problem> {
        self.single(name)?
            .map(|raw| {
                std::str::from_utf8(raw)
                    .map_err(|_| Problem::header(name, format!("{name} must be UTF-8 text")))
            })
            .transpose()
    }

    /// Whether a header says `true` (in any case); every other value counts as absent, as the
    /// protocol demands for `Stream-Closed`.
    pub(crate) fn is_true(self, name: &'static str) -> Result<bool, Problem> {
        Ok(self
            .single(name)?
            .is_some_and(|value| value.eq_ignore_ascii_case(b"true")))
    }

    /// Whether a header is there at all.
    pub(crate) fn has(self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(fields: &'a [(&'a [u8], &'a [u8])]) -> Headers<'a> {
        Headers { fields }
    }

    #[test]
    fn names_match_in_any_case_and_values_are_trimmed() {
        let fields: [(&[u8], &[u8]); 1] = [(b"Stream-SEQ", b" \t7 ")];
        assert_eq!(
            headers(&fields).single("stream-seq").unwrap(),
            Some(b"7".as_slice())
        );
        assert!(headers(&fields).has("stream-seq"));
        assert_eq!(headers(&fields).single("stream-ttl").unwrap(), None);
    }

    #[test]
    fn a_repeated_header_is_refused_by_name() {
        let fields: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"x", b""), (b"A", b"1")];
        let problem = headers(&fields).single("a").unwrap_err();
        assert_eq!(problem.status(), 400);
        assert!(problem.detail().contains("2 times"));
    }

    #[test]
    fn only_true_counts_as_true() {
        for (value, expected) in [
            ("true", true),
            ("TRUE", true),
            ("false", false),
            ("1", false),
            ("", false),
            ("yes", false),
        ] {
            let fields: [(&[u8], &[u8]); 1] = [(b"stream-closed", value.as_bytes())];
            assert_eq!(
                headers(&fields).is_true("stream-closed").unwrap(),
                expected,
                "{value}"
            );
        }
    }
}
