//! Which requests become spans, and where in a trace their callers are (W3C Trace Context, `traceparent`).

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Decides what is traced.
#[derive(Debug)]
pub struct TraceSampler {
    ratio: f64,
    random: AtomicU64,
}

impl TraceSampler {
    /// Takes `ratio` (0 to 1) of what no caller has decided about.
    pub fn new(ratio: f64) -> Self {
        Self {
            ratio,
            random: AtomicU64::new(RandomState::new().hash_one(0) | 1),
        }
    }

    /// Whether a request is traced: its caller has decided, or a draw does.
    pub fn takes(&self, parent: Option<TraceParent>) -> bool {
        parent.map_or_else(|| self.draws(), |parent| parent.sampled)
    }

    /// Random, since a count could keep time with the requests. Marsaglia's xorshift64; threads that meet draw alike.
    fn draws(&self) -> bool {
        let mut random = self.random.load(Ordering::Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.store(random, Ordering::Relaxed);
        (random as f64) < self.ratio * (u64::MAX as f64)
    }
}

/// What a `traceparent` field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The whole trace.
    pub trace: u128,
    /// The caller's span.
    pub span: u64,
    /// The caller records its span.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a field's value; `None`: it is none, and a new trace begins (section 4.3 of Trace Context).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        (is_known && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let sound = text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    sound.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_ratio_of_what_nobody_decided_is_taken() {
        let taken = |ratio| {
            let sampler = TraceSampler::new(ratio);
            (0..10_000).filter(|_| sampler.takes(None)).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((300..700).contains(&taken(0.05)), "{}", taken(0.05));
    }

    #[test]
    fn a_caller_that_has_decided_is_followed() {
        let parent = |sampled| TraceParent {
            trace: 1,
            span: 1,
            sampled,
        };
        assert!(TraceSampler::new(0.0).takes(Some(parent(true))));
        assert!(!TraceSampler::new(1.0).takes(Some(parent(false))));
    }

    #[test]
    fn a_parent_is_read_and_what_is_none_is_left() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = TraceParent {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        let read = |text: String| TraceParent::parse(&text);
        assert_eq!(
            read(format!("00-{trace}-00f067aa0ba902b7-01")),
            Some(parent)
        );
        assert_eq!(
            read(format!("cc-{trace}-00f067aa0ba902b7-03-later")),
            Some(parent)
        );
        assert!(
            !read(format!("00-{trace}-00f067aa0ba902b7-02"))
                .unwrap()
                .sampled
        );
        for bad in [
            String::new(),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{trace}-+0f067aa0ba902b7-01"),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }
}
