//! The syntax of content types.

/// Whether a text is a content type: `type/subtype` and parameters, `;name=value` (RFC 9110 section
/// 8.3), in ASCII without control characters.
pub fn is_content_type(text: &str) -> bool {
    if !text
        .bytes()
        .all(|b| b == b'\t' || (b' '..0x7f).contains(&b))
    {
        return false;
    }
    let (essence, parameters) = match text.find(';') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let essence_ok = essence
        .trim_matches([' ', '\t'])
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    essence_ok && are_parameters(parameters)
}

/// `name=token` or `name="quoted"`, divided by semicolons; empty ones are allowed.
fn are_parameters(text: &str) -> bool {
    let mut rest = text.trim_start_matches([' ', '\t', ';']);
    while !rest.is_empty() {
        let Some((name, value)) = rest.split_once('=') else {
            return false;
        };
        if !is_token(name) {
            return false;
        }
        let end = match value.strip_prefix('"') {
            Some(quoted) => match quoted_end(quoted) {
                Some(end) => end + 1,
                None => return false,
            },
            None => {
                let end = value.find([';', ' ', '\t']).unwrap_or(value.len());
                if !is_token(&value[..end]) {
                    return false;
                }
                end
            }
        };
        let tail = value[end..].trim_start_matches([' ', '\t']);
        if !tail.is_empty() && !tail.starts_with(';') {
            return false;
        }
        rest = tail.trim_start_matches([' ', '\t', ';']);
    }
    true
}

/// Where a quoted string (its opening quote cut) ends, behind the closing quote.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_have_a_syntax() {
        for good in [
            "text/plain",
            "application/vnd.x+json",
            "application/json;charset=utf-8",
            "APPLICATION/vnd.a+json ; q=\"a\\\"; b\" ; x=1",
            "text/plain;",
            "multipart/mixed; boundary=\"--=a\"",
        ] {
            assert!(is_content_type(good), "{good}");
        }
        for bad in [
            "",
            "text",
            "a/b\r\nx: y",
            "a/b; c=\"é\"",
            "/",
            "text/",
            "/plain",
            "text/pla in",
            "a b/c",
            "text/plain; charset",
            "text/plain; =a",
            "text/plain; a=\"b",
            "text/plain; a=b c",
            "text/plain, text/html",
            "a/b/c",
            "téxt/plain",
            "text/plain\u{0}",
            "text/plain;a=\"\u{1}\"",
            "*",
            "text/plain; a=\"b\"c",
        ] {
            assert!(!is_content_type(bad), "{bad}");
        }
    }
}
