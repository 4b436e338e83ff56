//! A frame: one event of one stream under one CRC.

use bytes::{BufMut, BytesMut};

use crate::Lsn;
use crate::codec::{aligned, put, u16_at, u32_at, u64_at};

/// Bytes before the variable part.
pub(crate) const HEAD: usize = 48;
/// Largest `meta` of a frame.
pub(crate) const META_MAX: usize = 16 << 20;
const VERSION: u8 = 1;
const HAS_PRODUCER: u8 = 1;
const HAS_STREAM_SEQ: u8 = 2;

/// The producer triple of an idempotent append, as a frame carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameProducer<'a> {
    /// Producer id, non-empty UTF-8.
    pub id: &'a str,
    /// Producer epoch.
    pub epoch: u64,
    /// Sequence number within the epoch.
    pub seq: u64,
}

/// What a frame says beside its payload. `kind` and `flags` mean something to the engine only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead<'a> {
    /// Never-reused number of the stream.
    pub stream: u64,
    /// Position of the payload's first byte in the stream's wire bytes.
    pub position: u64,
    /// The engine's event kind.
    pub kind: u8,
    /// The engine's flags.
    pub flags: u8,
    /// The producer triple, when the append had one; its id may have 65,535 bytes.
    pub producer: Option<FrameProducer<'a>>,
    /// `Stream-Seq`, when the append had one; at most 65,535 bytes.
    pub stream_seq: Option<&'a [u8]>,
    /// Small engine-defined bytes before the payload (a creation's configuration, say); at most 16 MiB.
    pub meta: &'a [u8],
}

/// A verified frame, as replay shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// Where the frame ends: durable when the durable LSN is at or beyond this.
    pub end: Lsn,
    /// What it says.
    pub head: FrameHead<'a>,
    /// The payload: wire bytes of the stream.
    pub payload: &'a [u8],
}

/// Where `push` put a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where the frame begins; reads name it by this.
    pub lsn: Lsn,
    /// Where it ends; wait for this.
    pub end: Lsn,
}

/// A payload to be read back, and what it must be: anything else is corruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef {
    /// Where the frame begins.
    pub lsn: Lsn,
    /// The stream it must belong to.
    pub stream: u64,
    /// The position it must begin at.
    pub position: u64,
    /// The payload length it must have.
    pub len: u32,
}

/// A length that a frame's field cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldTooLarge {
    pub(crate) limit: usize,
    pub(crate) value: usize,
}

/// Bytes of a frame from its first to the first of its payload, or what does not fit.
pub(crate) fn head_bytes(head: &FrameHead<'_>) -> Result<usize, FieldTooLarge> {
    let within = |value: usize, limit: usize| {
        if value > limit {
            Err(FieldTooLarge { limit, value })
        } else {
            Ok(value)
        }
    };
    let meta = within(head.meta.len(), META_MAX)?;
    let producer = match head.producer {
        Some(producer) => 16 + within(producer.id.len(), u16::MAX.into())?,
        None => 0,
    };
    let stream_seq = within(head.stream_seq.map_or(0, <[u8]>::len), u16::MAX.into())?;
    Ok(HEAD + meta + producer + stream_seq)
}

/// Bytes of a whole frame, padding included.
pub(crate) fn whole_bytes(head_bytes: usize, payload: usize) -> u64 {
    aligned((head_bytes + payload) as u64)
}

/// Appends everything of a frame but payload, padding and CRC; gives where its CRC belongs in `out`.
///
/// `whole` is its whole length; lengths were checked by [`head_bytes`].
pub(crate) fn encode_head(
    out: &mut BytesMut,
    lsn: Lsn,
    whole: u64,
    head: &FrameHead<'_>,
    payload: usize,
) -> usize {
    let at = out.len();
    let marks = if head.producer.is_some() {
        HAS_PRODUCER
    } else {
        0
    } | if head.stream_seq.is_some() {
        HAS_STREAM_SEQ
    } else {
        0
    };
    let id = head.producer.map_or("", |producer| producer.id);
    let stream_seq = head.stream_seq.unwrap_or_default();
    let mut fixed = [0; HEAD];
    put(&mut fixed, 4, &(whole as u32).to_le_bytes());
    put(&mut fixed, 8, &lsn.to_le_bytes());
    put(&mut fixed, 16, &head.stream.to_le_bytes());
    put(&mut fixed, 24, &head.position.to_le_bytes());
    put(&mut fixed, 32, &(payload as u32).to_le_bytes());
    put(&mut fixed, 36, &[head.kind, head.flags, VERSION, marks]);
    put(&mut fixed, 40, &(head.meta.len() as u32).to_le_bytes());
    put(&mut fixed, 44, &(id.len() as u16).to_le_bytes());
    put(&mut fixed, 46, &(stream_seq.len() as u16).to_le_bytes());
    out.put_slice(&fixed);
    if let Some(producer) = head.producer {
        out.put_u64_le(producer.epoch);
        out.put_u64_le(producer.seq);
    }
    out.put_slice(head.meta);
    out.put_slice(id.as_bytes());
    out.put_slice(stream_seq);
    at
}

/// The fixed part of a frame, its lengths checked against each other but not its CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) lsn: Lsn,
    pub(crate) stream: u64,
    pub(crate) position: u64,
    whole: usize,
    meta: usize,
    id: usize,
    stream_seq: usize,
    payload: usize,
    marks: u8,
}

impl Outline {
    /// Reads the first [`HEAD`] bytes of a frame.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEAD {
            return Err("the frame is cut short");
        }
        let outline = Self {
            lsn: u64_at(bytes, 8),
            stream: u64_at(bytes, 16),
            position: u64_at(bytes, 24),
            whole: u32_at(bytes, 4) as usize,
            meta: u32_at(bytes, 40) as usize,
            id: u16_at(bytes, 44).into(),
            stream_seq: u16_at(bytes, 46).into(),
            payload: u32_at(bytes, 32) as usize,
            marks: u64_at(bytes, 32).to_le_bytes()[7],
        };
        if bytes[38] != VERSION || outline.marks & !(HAS_PRODUCER | HAS_STREAM_SEQ) != 0 {
            return Err("the frame's version or marks are unknown");
        }
        let whole = aligned((outline.payload_at() + outline.payload) as u64);
        if whole != outline.whole as u64 {
            return Err("the frame's lengths contradict each other");
        }
        if (outline.id > 0 && outline.marks & HAS_PRODUCER == 0)
            || (outline.stream_seq > 0 && outline.marks & HAS_STREAM_SEQ == 0)
        {
            return Err("the frame has a field that it does not announce");
        }
        Ok(outline)
    }

    /// Length of the whole frame.
    pub(crate) fn whole(&self) -> usize {
        self.whole
    }

    /// Where the payload lies in the frame.
    pub(crate) fn payload_range(&self) -> std::ops::Range<usize> {
        let at = self.payload_at();
        at..at + self.payload
    }

    /// Whether this is the frame that somebody asked for.
    pub(crate) fn is(&self, wanted: &FrameRef) -> Result<(), String> {
        if self.lsn != wanted.lsn {
            Err(format!(
                "a frame says LSN {}, it should be {}",
                self.lsn, wanted.lsn
            ))
        } else if self.stream != wanted.stream {
            Err(format!(
                "it belongs to stream {}, not to stream {}",
                self.stream, wanted.stream
            ))
        } else if self.position != wanted.position || self.payload != wanted.len as usize {
            Err(format!(
                "stream {} has {} bytes at position {} here, not {} at {}",
                self.stream, self.payload, self.position, wanted.len, wanted.position
            ))
        } else {
            Ok(())
        }
    }

    fn producer_bytes(&self) -> usize {
        if self.marks & HAS_PRODUCER != 0 {
            16
        } else {
            0
        }
    }

    fn payload_at(&self) -> usize {
        HEAD + self.producer_bytes() + self.meta + self.id + self.stream_seq
    }
}

/// Decodes and verifies the frame that fills `bytes`.
pub(crate) fn decode(bytes: &[u8], lsn: Lsn, seed: u32) -> Result<Frame<'_>, &'static str> {
    let outline = Outline::read(bytes)?;
    if outline.whole != bytes.len() {
        return Err("the frame is cut short");
    }
    if crc32c::crc32c_append(seed, &bytes[4..]) != u32_at(bytes, 0) {
        return Err("the frame's CRC does not match");
    }
    if outline.lsn != lsn {
        return Err("the frame belongs to another LSN");
    }
    let meta_at = HEAD + outline.producer_bytes();
    let id_at = meta_at + outline.meta;
    let seq_at = id_at + outline.id;
    let id = std::str::from_utf8(&bytes[id_at..seq_at])
        .map_err(|_| "the frame's producer id is not UTF-8")?;
    let producer = (outline.marks & HAS_PRODUCER != 0).then(|| FrameProducer {
        id,
        epoch: u64_at(bytes, HEAD),
        seq: u64_at(bytes, HEAD + 8),
    });
    let stream_seq = &bytes[seq_at..seq_at + outline.stream_seq];
    Ok(Frame {
        lsn,
        end: lsn + outline.whole as u64,
        head: FrameHead {
            stream: outline.stream,
            position: outline.position,
            kind: bytes[36],
            flags: bytes[37],
            producer,
            stream_seq: (outline.marks & HAS_STREAM_SEQ != 0).then_some(stream_seq),
            meta: &bytes[meta_at..id_at],
        },
        payload: &bytes[outline.payload_range()],
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a head is made of, owned.
    #[derive(Debug, Clone)]
    struct Fields {
        numbers: (u64, u64, u8, u8),
        producer: Option<(String, u64, u64)>,
        stream_seq: Option<Vec<u8>>,
        meta: Vec<u8>,
        payload: Vec<u8>,
    }

    impl Fields {
        fn head(&self) -> FrameHead<'_> {
            let (stream, position, kind, flags) = self.numbers;
            FrameHead {
                stream,
                position,
                kind,
                flags,
                producer: self
                    .producer
                    .as_ref()
                    .map(|(id, epoch, seq)| FrameProducer {
                        id,
                        epoch: *epoch,
                        seq: *seq,
                    }),
                stream_seq: self.stream_seq.as_deref(),
                meta: &self.meta,
            }
        }

        fn encode(&self, lsn: Lsn, seed: u32) -> BytesMut {
            let mut out = BytesMut::new();
            let whole = whole_bytes(head_bytes(&self.head()).unwrap(), self.payload.len());
            encode_head(&mut out, lsn, whole, &self.head(), self.payload.len());
            out.put_slice(&self.payload);
            out.resize(whole as usize, 0);
            let crc = crc32c::crc32c_append(seed, &out[4..]);
            out[..4].copy_from_slice(&crc.to_le_bytes());
            out
        }
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
        (
            any::<(u64, u64, u8, u8)>(),
            prop::option::of((".{1,9}", any::<u64>(), any::<u64>())),
            prop::option::of(bytes(20)),
            bytes(30),
            bytes(200),
        )
            .prop_map(|(numbers, producer, stream_seq, meta, payload)| Fields {
                numbers,
                producer,
                stream_seq,
                meta,
                payload,
            })
    }

    proptest! {
        #[test]
        fn a_frame_round_trips(fields in fields(), lsn in 0..u64::MAX / 2, seed: u32) {
            let bytes = fields.encode(lsn, seed);
            let frame = decode(&bytes, lsn, seed).unwrap();
            prop_assert_eq!(frame.head, fields.head());
            prop_assert_eq!(frame.payload, &fields.payload[..]);
            prop_assert_eq!((frame.lsn, frame.end), (lsn, lsn + bytes.len() as u64));
            prop_assert!(decode(&bytes, lsn + 8, seed).is_err());
            prop_assert!(decode(&bytes, lsn, seed ^ 1).is_err());
        }

        #[test]
        fn no_flipped_bit_and_no_cut_goes_unseen(
            fields in fields(), seed: u32, at: prop::sample::Index,
        ) {
            let mut bytes = fields.encode(64, seed);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, 64, seed).is_err());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes[..bit / 8], 64, seed).is_err());
        }

        #[test]
        fn random_lengths_never_panic_and_never_verify(
            fields in fields(), seed: u32, noise in prop::collection::vec((0..HEAD, any::<u8>()), 1..9),
        ) {
            let mut bytes = fields.encode(64, seed);
            let before = bytes.clone();
            for (at, byte) in noise {
                bytes[at] = byte;
            }
            prop_assert!(bytes == before || decode(&bytes, 64, seed).is_err());
        }

        #[test]
        fn valid_crcs_over_random_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), HEAD..300), seed: u32,
        ) {
            let crc = crc32c::crc32c_append(seed, &bytes[4..]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            bytes[38] = VERSION;
            let _ = decode(&bytes, u64_at(&bytes, 8), seed);
        }
    }
}
