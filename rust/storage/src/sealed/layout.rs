//! The fixed parts of a sealed file: header block, footer and trailer, and where everything lies.

use crate::Lsn;
use crate::codec::{Undecodable, put, u32_at, u64_at};
use crate::sealed::SealedEntry;
use crate::sealed::extent::{EXTENT, Extent};
use crate::sealed::extents::Extents;
use crate::sealed::lost::{LOST, Losses};

/// Bytes of the header block: the body begins behind it.
pub(crate) const HEADER: u64 = 4096;
/// Bytes of the body under one CRC; the last block may be shorter.
pub(crate) const BLOCK: u64 = 64 << 10;
/// Bytes of the trailer, at the very end.
pub(crate) const TRAILER: u64 = 80;
/// Format version of sealed files from which something is missing.
pub(crate) const VERSION: u32 = 2;
/// Format version of the others.
const VERSION_WHOLE: u32 = 1;
const MAGIC: &[u8; 8] = b"DSseald\n";
const TRAILER_MAGIC: &[u8; 8] = b"DSsealf\n";

/// What a sealed file says at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The file's format version.
    pub(crate) version: u32,
    pub(crate) number: u64,
    pub(crate) from: Lsn,
    pub(crate) to: Lsn,
}

/// The format version of a file with so many lost parts: programs that do not know of them must not read it.
fn version(lost: u64) -> u32 {
    if lost == 0 { VERSION_WHOLE } else { VERSION }
}

impl Header {
    /// Of a file that is listed like this and has so many lost parts.
    pub(crate) fn of(entry: &SealedEntry, lost: u64) -> Self {
        Self {
            version: version(lost),
            number: entry.number,
            from: entry.from,
            to: entry.to,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; HEADER as usize];
        put(&mut block, 0, MAGIC);
        put(&mut block, 8, &self.version.to_le_bytes());
        put(&mut block, 16, &self.number.to_le_bytes());
        put(&mut block, 24, &self.from.to_le_bytes());
        put(&mut block, 32, &self.to.to_le_bytes());
        let crc = crc32c::crc32c(&block[16..]);
        put(&mut block, 12, &crc.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, Undecodable> {
        let version = checked(block, HEADER as usize, MAGIC, "header")?;
        Ok(Self {
            version,
            number: u64_at(block, 16),
            from: u64_at(block, 24),
            to: u64_at(block, 32),
        })
    }
}

/// What a sealed file says at its end: how long everything before is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) number: u64,
    /// Bytes of the data region.
    pub(crate) data: u64,
    /// Bytes of the marks region.
    pub(crate) marks: u64,
    pub(crate) extents: u64,
    pub(crate) events: u64,
    pub(crate) streams: u64,
    pub(crate) footer_crc: u32,
    /// Number of lost parts.
    pub(crate) lost: u64,
}

impl Trailer {
    /// The file's format version.
    pub(crate) fn version(&self) -> u32 {
        version(self.lost)
    }

    pub(crate) fn encode(&self) -> [u8; TRAILER as usize] {
        let mut bytes = [0; TRAILER as usize];
        put(&mut bytes, 0, TRAILER_MAGIC);
        put(&mut bytes, 8, &self.version().to_le_bytes());
        put(&mut bytes, 16, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.data.to_le_bytes());
        put(&mut bytes, 32, &self.marks.to_le_bytes());
        put(&mut bytes, 40, &self.extents.to_le_bytes());
        put(&mut bytes, 48, &self.events.to_le_bytes());
        put(&mut bytes, 56, &self.streams.to_le_bytes());
        put(&mut bytes, 64, &self.footer_crc.to_le_bytes());
        put(&mut bytes, 72, &self.lost.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        put(&mut bytes, 12, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let found = checked(bytes, TRAILER as usize, TRAILER_MAGIC, "trailer")?;
        let lost = u64_at(bytes, 72);
        if found != version(lost) {
            let detail = "the trailer is not what its version says";
            return Err(Undecodable::at(8, detail));
        }
        Ok(Self {
            lost,
            number: u64_at(bytes, 16),
            data: u64_at(bytes, 24),
            marks: u64_at(bytes, 32),
            extents: u64_at(bytes, 40),
            events: u64_at(bytes, 48),
            streams: u64_at(bytes, 56),
            footer_crc: u32_at(bytes, 64),
        })
    }

    /// Where the parts of the file lie, when its length is `file_bytes`: nothing that the trailer says is
    /// believed beyond that.
    pub(crate) fn places(&self, file_bytes: u64) -> Option<Places> {
        let body = self.data.checked_add(self.marks)?;
        let crcs = body.div_ceil(BLOCK).checked_mul(4)?;
        let extents = self.extents.checked_mul(EXTENT as u64)?;
        let lost = self.lost.checked_mul(LOST as u64)?;
        let footer = crcs.checked_add(extents)?.checked_add(lost)?;
        let footer_at = HEADER.checked_add(body)?;
        let whole = footer_at.checked_add(footer)?.checked_add(TRAILER)?;
        (whole == file_bytes).then_some(Places {
            body,
            footer_at,
            footer,
        })
    }
}

/// Where the parts of a file lie, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// Length of the body.
    pub(crate) body: u64,
    /// File offset of the footer.
    pub(crate) footer_at: u64,
    /// Length of the footer.
    pub(crate) footer: u64,
}

/// The CRCs of all blocks, the extents and what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) crcs: Vec<u32>,
    pub(crate) extents: Extents,
    pub(crate) lost: Losses,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.crcs.len() * 4 + self.extents.len() * EXTENT);
        for crc in &self.crcs {
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        for extent in self.extents.iter() {
            bytes.extend_from_slice(&extent.encode());
        }
        self.lost.encode(&mut bytes);
        bytes
    }

    /// Decodes what lies between body and trailer. Offsets of what is wrong count from its start.
    ///
    /// What passes can be used without further checks: extents are sorted, do not overlap, lie back to back in the
    /// data region and fill it, and their marks lie in order in the marks region. Lost parts are sorted as well, and do
    /// not overlap each other.
    pub(crate) fn decode(bytes: &[u8], trailer: &Trailer) -> Result<Self, Undecodable> {
        let wrong = |offset: usize, detail: &str| Err(Undecodable::at(offset as u64, detail));
        let body = trailer.data.saturating_add(trailer.marks);
        let crcs = body.div_ceil(BLOCK);
        let expected = crcs
            .checked_mul(4)
            .zip(trailer.extents.checked_mul(EXTENT as u64))
            .and_then(|(crcs, extents)| crcs.checked_add(extents))
            .zip(trailer.lost.checked_mul(LOST as u64))
            .and_then(|(rows, lost)| rows.checked_add(lost));
        if expected != Some(bytes.len() as u64) {
            return wrong(0, "the footer's length does not fit the trailer");
        }
        if crc32c::crc32c(bytes) != trailer.footer_crc {
            return wrong(0, "the footer's CRC does not match");
        }
        let (rows, lost) = bytes.split_at(bytes.len() - trailer.lost as usize * LOST);
        let (crcs, rows) = rows.split_at(crcs as usize * 4);
        let at = |index: usize| crcs.len() + index * EXTENT;
        let mut extents = Extents::with_capacity(rows.len() / EXTENT);
        let mut marks_from = trailer.data;
        let mut before: Option<Extent> = None;
        for (index, row) in rows.chunks_exact(EXTENT).enumerate() {
            let extent = Extent::decode(row);
            let data_at = extents.data();
            if extent.start >= extent.end {
                return wrong(at(index), "an extent is empty");
            }
            if before
                .is_some_and(|before| (before.stream, before.end) > (extent.stream, extent.start))
            {
                return wrong(at(index), "an extent is out of order");
            }
            if extent.data_at != data_at || extent.len() > trailer.data - data_at {
                return wrong(at(index), "an extent does not lie where it should");
            }
            extents.push(extent.stream, extent.start, extent.len());
            if !extent.is_single() {
                if extent.marks_at < marks_from || extent.marks_at >= body {
                    return wrong(at(index), "an extent's marks do not lie where they should");
                }
                extents.mark(extent.marks_at);
                marks_from = extent.marks_at + 1;
            }
            before = Some(extent);
        }
        if extents.data() != trailer.data {
            return wrong(at(extents.len()), "data lies behind the last extent");
        }
        let lost = match Losses::decode(lost) {
            Ok(lost) => lost,
            Err(index) => {
                let offset = at(extents.len()) + index * LOST;
                return wrong(offset, "a lost part is empty or out of order");
            }
        };
        let crcs = crcs.chunks_exact(4).map(|crc| u32_at(crc, 0)).collect();
        Ok(Self {
            crcs,
            extents,
            lost,
        })
    }
}

/// The CRC of block `index` of file `number`: no block can stand in for another, nor for one of another file.
pub(crate) fn block_crc(number: u64, index: u64, bytes: &[u8]) -> u32 {
    let place = crc32c::crc32c(&number.to_le_bytes());
    let place = crc32c::crc32c_append(place, &index.to_le_bytes());
    crc32c::crc32c_append(place, bytes)
}

/// Length, magic, version and CRC of a fixed part, which lie at the same places in all of them; gives the version.
fn checked(bytes: &[u8], len: usize, magic: &[u8; 8], part: &str) -> Result<u32, Undecodable> {
    if bytes.len() != len || &bytes[..8] != magic {
        return Err(Undecodable::at(
            0,
            format!("this is no sealed file's {part}"),
        ));
    }
    let version = u32_at(bytes, 8);
    if !(VERSION_WHOLE..=VERSION).contains(&version) {
        return Err(Undecodable::Version(version));
    }
    if crc32c::crc32c(&bytes[16..]) != u32_at(bytes, 12) {
        return Err(Undecodable::at(
            12,
            format!("the {part}'s CRC does not match"),
        ));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealed::lost::Lost;

    prop_compose! {
        fn footers()(
            // Stream step (0 = the same stream again), gap before, length, bytes of marks.
            parts in prop::collection::vec((0..3_u64, 0..4_u64, 1..90_000_u64, prop::option::of(1..40_u64)), 0..8),
            crcs in prop::collection::vec(any::<u32>(), 16),
            lost in prop::collection::vec((0..9_u64, 0..90_u64, 0..9_u64, 0..3_u64), 0..4),
            events: u64, number: u64,
        ) -> (Footer, Trailer) {
            let (mut stream, mut position, mut marks) = (1, 0, 0);
            let mut extents = Extents::default();
            for (step, gap, len, bytes) in parts {
                position = if step == 0 { position + gap } else { gap };
                stream += step;
                extents.push(stream, position, len);
                if let Some(bytes) = bytes {
                    extents.mark(marks);
                    marks += bytes;
                }
                position += len;
            }
            let data = extents.data();
            extents.finish(data);
            let crcs = crcs[..(data + marks).div_ceil(BLOCK) as usize].to_vec();
            let lost = lost.into_iter().map(|(stream, start, len, segment)| Lost {
                stream, start, segment,
                end: start + len,
            });
            let footer = Footer { crcs, extents, lost: Losses::sorted(lost.collect()) };
            let trailer = Trailer {
                number, data, marks, events,
                lost: footer.lost.len() as u64,
                extents: footer.extents.len() as u64,
                streams: 1,
                footer_crc: crc32c::crc32c(&footer.encode()),
            };
            (footer, trailer)
        }
    }

    proptest! {
        #[test]
        fn a_header_round_trips_and_no_flipped_bit_nor_cut_goes_unseen(
            version in 1..=VERSION, number: u64, from: u64, to: u64, bit in 0..HEADER as usize * 8,
        ) {
            let header = Header { version, number, from, to };
            let mut block = header.encode();
            prop_assert_eq!(Header::decode(&block), Ok(header));
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&block).is_err());
            block.truncate(bit / 8);
            prop_assert!(Header::decode(&block).is_err());
        }

        #[test]
        fn a_footer_and_its_trailer_round_trip((footer, trailer) in footers()) {
            let bytes = footer.encode();
            let decoded = Trailer::decode(&trailer.encode());
            prop_assert_eq!(&decoded, &Ok(trailer));
            prop_assert_eq!(Footer::decode(&bytes, &trailer), Ok(footer));
            let whole = HEADER + trailer.data + trailer.marks + bytes.len() as u64 + TRAILER;
            let places = trailer.places(whole).unwrap();
            prop_assert_eq!(places.footer, bytes.len() as u64);
            prop_assert_eq!(places.footer_at, whole - TRAILER - places.footer);
            prop_assert_eq!(trailer.places(whole + 1), None);
        }

        #[test]
        fn no_flipped_bit_and_no_cut_of_footer_and_trailer_goes_unseen(
            (footer, trailer) in footers(), at: prop::sample::Index,
        ) {
            let mut bytes = footer.encode();
            if !bytes.is_empty() {
                let bit = at.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(Footer::decode(&bytes, &trailer).is_err());
                bytes.truncate(bit / 8);
                prop_assert!(Footer::decode(&bytes, &trailer).is_err());
            }
            let mut bytes = trailer.encode();
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Trailer::decode(&bytes).is_err());
            prop_assert!(Trailer::decode(&bytes[..bit / 8]).is_err());
        }

        #[test]
        fn a_footer_that_contradicts_itself_is_refused(
            (footer, mut trailer) in footers(), index: prop::sample::Index, field in 0..5_usize, other: u64,
        ) {
            prop_assume!(!footer.extents.is_empty());
            let place = index.index(footer.extents.len());
            let mut bytes = footer.encode();
            put(&mut bytes, footer.crcs.len() * 4 + place * EXTENT + field * 8, &other.to_le_bytes());
            trailer.footer_crc = crc32c::crc32c(&bytes);
            if let Ok(decoded) = Footer::decode(&bytes, &trailer) {
                let extents: Vec<_> = decoded.extents.iter().collect();
                let in_order = |pair: &[Extent]| {
                    (pair[0].stream, pair[0].end) <= (pair[1].stream, pair[1].start)
                };
                prop_assert!(extents.windows(2).all(in_order));
                prop_assert_eq!(extents.iter().map(Extent::len).sum::<u64>(), trailer.data);
                prop_assert_eq!(decoded.encode(), bytes);
            }
        }

        #[test]
        fn random_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..5000), numbers: [u64; 5],
        ) {
            prop_assert!(Header::decode(&bytes).is_err());
            prop_assert!(Trailer::decode(&bytes).is_err());
            let [data, marks, extents, lost, file_bytes] = numbers;
            let trailer = Trailer {
                number: 0, data, marks, extents, events: 0, streams: 0, lost,
                footer_crc: crc32c::crc32c(&bytes),
            };
            let _ = Footer::decode(&bytes, &trailer);
            let _ = trailer.places(file_bytes);
        }
    }
}
