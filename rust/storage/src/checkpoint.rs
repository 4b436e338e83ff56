//! Checkpoint files: opaque bytes of the engine in blocks with a CRC each.

use std::io::IoSlice;
use std::path::Path;

use bytes::{Buf, Bytes};

use crate::Lsn;
use crate::codec::{Undecodable, put, u32_at, u64_at};
use crate::error::{During, Failure, OpenError};
use crate::fs::{FsFile, Open};
use crate::home::Home;
use crate::manifest::CheckpointEntry;

/// Format version of checkpoints.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"DSckpnt\n";
const HEAD: usize = 64;
/// Payload bytes of every block but the last.
const BLOCK: usize = 1 << 20;
/// Bytes before a block's payload: its CRC and its length.
const BLOCK_HEAD: usize = 8;

fn encode_head(number: u64, lsn: Lsn, payload: u64) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 8, &VERSION.to_le_bytes());
    put(&mut bytes, 16, &number.to_le_bytes());
    put(&mut bytes, 24, &lsn.to_le_bytes());
    put(&mut bytes, 32, &payload.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[16..]);
    put(&mut bytes, 12, &crc.to_le_bytes());
    bytes
}

/// Payload length, when these are the first bytes of the checkpoint that `entry` names.
fn decode_head(bytes: &[u8], entry: &CheckpointEntry) -> Result<u64, Undecodable> {
    if bytes.len() < HEAD || &bytes[..8] != MAGIC {
        return Err(Undecodable::at(0, "this is no checkpoint"));
    }
    if u32_at(bytes, 8) != VERSION {
        return Err(Undecodable::Version(u32_at(bytes, 8)));
    }
    if crc32c::crc32c(&bytes[16..HEAD]) != u32_at(bytes, 12) {
        return Err(Undecodable::at(
            12,
            "the checkpoint header's CRC does not match",
        ));
    }
    if (u64_at(bytes, 16), u64_at(bytes, 24)) != (entry.number, entry.lsn) {
        return Err(Undecodable::at(
            16,
            "this is another checkpoint than the manifest names",
        ));
    }
    Ok(u64_at(bytes, 32))
}

fn file_bytes(payload: u64) -> Option<u64> {
    payload
        .div_ceil(BLOCK as u64)
        .checked_mul(BLOCK_HEAD as u64)?
        .checked_add(payload)?
        .checked_add(HEAD as u64)
}

/// A block's CRC begins with its index, so that no block can stand in for another.
fn block_crc(index: u64, pieces: &[Bytes]) -> u32 {
    pieces
        .iter()
        .fold(crc32c::crc32c(&index.to_le_bytes()), |crc, piece| {
            crc32c::crc32c_append(crc, piece)
        })
}

/// Writes and syncs a checkpoint file (not the directory); gives its entry.
pub(crate) fn write(
    home: &Home,
    number: u64,
    lsn: Lsn,
    payload: &[Bytes],
) -> Result<CheckpointEntry, Failure> {
    let path = home.checkpoint(number);
    let file = home.create(&path)?;
    let payload_bytes: u64 = payload.iter().map(|piece| piece.len() as u64).sum();
    write_at(
        &*file,
        &path,
        &mut [IoSlice::new(&encode_head(number, lsn, payload_bytes))],
        0,
    )?;
    let mut at = HEAD as u64;
    let mut pieces = payload
        .iter()
        .filter(|piece| !piece.is_empty())
        .cloned()
        .peekable();
    let mut index = 0;
    while pieces.peek().is_some() {
        let mut block = Vec::new();
        let mut missing = BLOCK;
        while missing > 0
            && let Some(piece) = pieces.peek_mut()
        {
            let part = piece.split_to(missing.min(piece.len()));
            missing -= part.len();
            block.push(part);
            if !piece.has_remaining() {
                pieces.next();
            }
        }
        let mut head = [0; BLOCK_HEAD];
        put(&mut head, 0, &block_crc(index, &block).to_le_bytes());
        put(&mut head, 4, &((BLOCK - missing) as u32).to_le_bytes());
        let mut slices = vec![IoSlice::new(&head)];
        slices.extend(block.iter().map(|part| IoSlice::new(part)));
        write_at(&*file, &path, &mut slices, at)?;
        at += (BLOCK_HEAD + BLOCK - missing) as u64;
        index += 1;
    }
    file.sync_data().during("fdatasync", &path)?;
    Ok(CheckpointEntry {
        number,
        lsn,
        bytes: at,
    })
}

fn write_at(
    file: &dyn FsFile,
    path: &Path,
    slices: &mut [IoSlice<'_>],
    at: u64,
) -> Result<(), Failure> {
    file.write_all_at(slices, at).during("write", path)
}

/// What a manifest would say of a checkpoint file, by its name and header; `None` when it is none.
pub(crate) fn entry_of(home: &Home, path: &Path) -> Result<Option<CheckpointEntry>, Failure> {
    let file = home.open(path, Open::Read)?;
    let bytes = file.len().during("stat", path)?;
    if bytes < HEAD as u64 {
        return Ok(None);
    }
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0).during("read", path)?;
    let entry = CheckpointEntry {
        number: u64_at(&head, 16),
        lsn: u64_at(&head, 24),
        bytes,
    };
    let named = home.checkpoint(entry.number) == *path;
    Ok((named && decode_head(&head, &entry).is_ok()).then_some(entry))
}

/// Reads and verifies the checkpoint that the manifest names, synced first.
pub(crate) fn read(home: &Home, entry: &CheckpointEntry) -> Result<Bytes, OpenError> {
    let path = home.checkpoint(entry.number);
    let damaged = |offset, detail: &str| OpenError::Damaged {
        file: path.clone(),
        offset,
        detail: detail.to_owned(),
    };
    let file = match home.open(&path, Open::Write) {
        Err(failure) if failure.source.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(
                0,
                "the checkpoint that the manifest names is missing",
            ));
        }
        opened => opened?,
    };
    file.sync_data().during("fdatasync", &path)?;
    let len = file.len().during("stat", &path)?;
    if len != entry.bytes || len < HEAD as u64 {
        return Err(damaged(
            len.min(entry.bytes),
            "the checkpoint is not as long as the manifest says",
        ));
    }
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0).during("read", &path)?;
    let payload = decode_head(&head, entry).map_err(|wrong| wrong.into_open(&path, VERSION))?;
    if file_bytes(payload) != Some(len) {
        return Err(damaged(
            32,
            "the checkpoint's payload length does not fit the file",
        ));
    }
    let mut bytes = Vec::with_capacity(payload as usize);
    let mut at = HEAD as u64;
    let mut block = Vec::new();
    for index in 0..payload.div_ceil(BLOCK as u64) {
        let expected = BLOCK.min(payload as usize - bytes.len());
        block.resize(BLOCK_HEAD + expected, 0);
        file.read_exact_at(&mut block, at).during("read", &path)?;
        let seed = crc32c::crc32c(&index.to_le_bytes());
        if u32_at(&block, 4) as usize != expected
            || crc32c::crc32c_append(seed, &block[BLOCK_HEAD..]) != u32_at(&block, 0)
        {
            return Err(damaged(
                at,
                "a block of the checkpoint does not match its CRC",
            ));
        }
        bytes.extend_from_slice(&block[BLOCK_HEAD..]);
        at += block.len() as u64;
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::fs::{Fs, SimFs};

    fn home() -> Home {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/data")).unwrap();
        Home::new(Arc::new(fs), Path::new("/data"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_checkpoint_round_trips_however_it_was_cut(
            lens in prop::collection::vec(prop_oneof![0..9_usize, 0..1_500_000_usize], 0..5), lsn: u64,
        ) {
            let home = home();
            let piece = |len: usize| Bytes::from((0..len).map(|at| (at / 7) as u8).collect::<Vec<_>>());
            let payload: Vec<Bytes> = lens.into_iter().map(piece).collect();
            let entry = write(&home, 3, lsn, &payload).unwrap();
            prop_assert_eq!(read(&home, &entry).unwrap(), payload.concat());
        }

        #[test]
        fn no_flipped_bit_and_no_cut_goes_unseen(len in 0..5_000_usize, at: prop::sample::Index) {
            let home = home();
            let entry = write(&home, 3, 800, &[vec![7; len].into()]).unwrap();
            let file = home.open(&home.checkpoint(3), Open::Write).unwrap();
            let bit = at.index(entry.bytes as usize * 8);
            let mut byte = [0];
            file.read_exact_at(&mut byte, bit as u64 / 8).unwrap();
            let flipped = [byte[0] ^ 1 << (bit % 8)];
            file.write_all_at(&mut [IoSlice::new(&flipped)], bit as u64 / 8).unwrap();
            prop_assert!(read(&home, &entry).is_err());
            file.write_all_at(&mut [IoSlice::new(&byte)], bit as u64 / 8).unwrap();
            prop_assert!(read(&home, &entry).is_ok());
            file.set_len(bit as u64 / 8).unwrap();
            prop_assert!(read(&home, &entry).is_err());
        }
    }

    #[test]
    fn no_block_stands_in_for_another() {
        let home = home();
        let payload = Bytes::from([vec![1; BLOCK], vec![2; BLOCK]].concat());
        let entry = write(&home, 3, 800, &[payload]).unwrap();
        let file = home.open(&home.checkpoint(3), Open::Write).unwrap();
        let whole = BLOCK_HEAD + BLOCK;
        let mut blocks = vec![0; 2 * whole];
        file.read_exact_at(&mut blocks, HEAD as u64).unwrap();
        blocks.rotate_left(whole);
        file.write_all_at(&mut [IoSlice::new(&blocks)], HEAD as u64)
            .unwrap();
        assert!(matches!(
            read(&home, &entry),
            Err(OpenError::Damaged { .. })
        ));
    }
}
