//! Sealed files: the footer, the marks, and whole files that are opened and read.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::LSN_MAX;
use crate::codec::{put, u32_at, u64_at};
use crate::fs::{Fs, SimFs};
use crate::home::Home;
use crate::sealed::fuzzing::{
    BLOCK, EXTENT, Extent, Footer, Header, LOST, Plain, Trailer, block_crc,
};
use crate::sealed::{Marks, Sealed, SealedEntry};

/// What is fuzzed as a file has this number.
const NUMBER: u64 = 7;
/// Bytes before what a footer is made of.
const LEAD: usize = 16;

/// Lengths that a trailer tells and a footer that fits them, from any bytes. Extents lie back to back when the lead
/// says so, which a search would not find by itself.
fn footer_of(bytes: &[u8]) -> (Trailer, Vec<u8>) {
    let (lead, rest) = bytes.split_at(bytes.len().min(LEAD));
    let modes = lead.get(8).copied().unwrap_or_default();
    // Lost parts last, if any.
    let lost = if modes & 4 == 0 {
        0
    } else {
        rest.len() / 2 / LOST
    };
    let (rest, lost_parts) = rest.split_at(rest.len() - lost * LOST);
    let mut extents = rest[..rest.len() - rest.len() % EXTENT].to_vec();
    // Mostly short, for speed; else of several blocks.
    let longest = if modes & 2 == 0 { 1 << 11 } else { 1 << 15 };
    let (mut data, marks) = (
        u64::from(u32_at(lead, 0)) % (4 * longest),
        u64::from(u32_at(lead, 4) % 4096),
    );
    if modes & 1 == 1 {
        data = 0;
        for row in extents.chunks_exact_mut(EXTENT) {
            let start = u64_at(row, 8) % LSN_MAX;
            let end = start + u64_at(row, 16) % longest;
            put(row, 8, &start.to_le_bytes());
            put(row, 16, &end.to_le_bytes());
            put(row, 24, &data.to_le_bytes());
            data += end - start;
        }
    }
    let blocks = (data + marks).div_ceil(BLOCK) as usize;
    let mut footer = vec![0x5a; blocks * 4];
    footer.extend_from_slice(&extents);
    footer.extend_from_slice(lost_parts);
    let trailer = Trailer {
        number: NUMBER,
        data,
        marks,
        extents: (extents.len() / EXTENT) as u64,
        events: u64::from(u32_at(lead, 9)),
        streams: u64::from(u32_at(lead, 11)),
        lost: lost as u64,
        footer_crc: crc32c::crc32c(&footer),
    };
    (trailer, footer)
}

pub fn footer(bytes: &[u8]) {
    let _ = Header::decode(bytes);
    let _ = Trailer::decode(bytes);
    let (trailer, bytes) = footer_of(bytes);
    assert_eq!(Trailer::decode(&trailer.encode()), Ok(trailer));
    let Ok(footer) = Footer::decode(&bytes, &trailer) else {
        return;
    };
    assert_eq!(footer.encode(), bytes);
    let extents: Vec<_> = footer.extents.iter().collect();
    let ordered =
        |pair: &[Extent]| (pair[0].stream, pair[0].end) <= (pair[1].stream, pair[1].start);
    assert!(extents.windows(2).all(ordered));
    assert_eq!(extents.iter().map(Extent::len).sum::<u64>(), trailer.data);
}

/// 24 bytes of the extent and of where to look, then the body.
pub fn marks(bytes: &[u8]) {
    let start = u64_at(bytes, 0) % LSN_MAX;
    let len = u64_at(bytes, 8) % (1 << 40) + 1;
    let look = u64_at(bytes, 16);
    let body = bytes.get(24..).unwrap_or_default();
    let extent = Extent {
        stream: 1,
        start,
        end: start + len,
        data_at: 0,
        marks_at: 0,
    };
    let mut source = Plain(body);
    let Ok(marks) = Marks::open(&mut source, &extent, body.len() as u64) else {
        return;
    };
    let position = start + look % len;
    if let Ok(event) = marks.find(&mut source, position) {
        assert!(event.start <= position && position < event.end && event.end <= extent.end);
        assert!(event.start >= start && event.index < marks.events());
    }
    let (mut lengths, mut count, mut sum) = (marks.lengths(), 0, 0);
    let whole = loop {
        match lengths.next(&mut source) {
            Ok(Some(length)) => {
                count += 1;
                sum += length;
                assert!(length > 0 && sum <= len);
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!whole || (count, sum) == (marks.events(), len));
}

/// A whole file, its magic numbers, lengths and CRCs mended: opened and read as a store would.
pub fn sealed(bytes: &[u8]) {
    let (looks, bytes) = bytes.split_at(bytes.len().min(24));
    let (footer, body) = bytes.split_at(bytes.len().min(LEAD + 5 * EXTENT));
    let (mut trailer, footer) = footer_of(footer);
    let mut body = body.to_vec();
    body.resize((trailer.data + trailer.marks) as usize, 0);
    let mut crcs: Vec<u8> = Vec::new();
    for (index, block) in (0..).zip(body.chunks(BLOCK as usize)) {
        crcs.extend(block_crc(NUMBER, index, block).to_le_bytes());
    }
    let footer = [&crcs[..], &footer[crcs.len()..]].concat();
    trailer.footer_crc = crc32c::crc32c(&footer);
    let (from, to) = (8, 1 << 40);
    let header = Header {
        version: trailer.version(),
        number: NUMBER,
        from,
        to,
    };
    let file = [header.encode(), body, footer, trailer.encode().to_vec()].concat();

    let fs = SimFs::new();
    let dir = Path::new("/data");
    let home = Home::new(Arc::new(fs.clone()), dir);
    let made = fs
        .create_dir_all(dir)
        .is_ok_and(|()| match home.create(&home.sealed(NUMBER)) {
            Ok(made) => made.write_all_at(&mut [IoSlice::new(&file)], 0).is_ok(),
            Err(_) => false,
        });
    assert!(made);
    let bytes = file.len() as u64;
    let entry = SealedEntry {
        number: NUMBER,
        from,
        to,
        bytes,
    };
    let Ok(sealed) = Sealed::open(&home, &[entry]) else {
        return;
    };
    let files = sealed.files();
    let mut flaws = 0;
    assert!(files[0].verify(&mut |_| flaws += 1).is_ok());
    for extent in files[0].extents().iter() {
        let at = extent.start + u64_at(looks, 0) % extent.len();
        let to = at.saturating_add(u64_at(looks, 8) % 8192);
        let max = u64_at(looks, 16) as usize % 8192;
        let event = sealed.event_at(extent.stream, at);
        let page = sealed.history(extent.stream, at, to, max);
        let events = sealed.events(extent.stream, at, to);
        if flaws == 0 {
            assert!(event.is_ok() && page.is_ok() && events.is_ok());
        }
        if let Ok(Some((start, end))) = event {
            assert!(start <= at && at < end);
        }
        if let Ok(page) = page {
            let bytes: usize = page.chunks.iter().map(|chunk| chunk.len()).sum();
            assert_eq!(page.end - page.start, bytes as u64);
            assert!(page.start <= at && (page.end <= to || page.end == at));
        }
    }
}
