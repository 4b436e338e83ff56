//! Checkpoint files: opaque bytes of the engine in blocks with a CRC each.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
/// Bytes written after which they are synced.
const SYNC_BYTES: u64 = 1 << 20;
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

/// A checkpoint file being written. Its header comes last.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    number: u64,
    lsn: Lsn,
    /// Of the block that is filling.
    pieces: Vec<Bytes>,
    missing: usize,
    /// Blocks written.
    blocks: u64,
    payload: u64,
    /// Where the next block goes.
    at: u64,
    unsynced: u64,
}

impl CheckpointFile {
    pub(crate) fn create(home: &Home, number: u64, lsn: Lsn) -> Result<Self, Failure> {
        let path = home.checkpoint(number);
        Ok(Self {
            file: home.create(&path)?,
            path,
            number,
            lsn,
            pieces: Vec::new(),
            missing: BLOCK,
            blocks: 0,
            payload: 0,
            at: HEAD as u64,
            unsynced: 0,
        })
    }

    /// Adds to the payload; writes the blocks that are full.
    pub(crate) fn push(&mut self, mut payload: Bytes) -> Result<(), Failure> {
        self.payload += payload.len() as u64;
        while payload.has_remaining() {
            let part = payload.split_to(self.missing.min(payload.len()));
            self.missing -= part.len();
            self.pieces.push(part);
            if self.missing == 0 {
                self.write_block()?;
            }
        }
        // A bit at a time: one large sync would keep those of the log waiting.
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), Failure> {
        let bytes = BLOCK - self.missing;
        let mut head = [0; BLOCK_HEAD];
        put(
            &mut head,
            0,
            &block_crc(self.blocks, &self.pieces).to_le_bytes(),
        );
        put(&mut head, 4, &(bytes as u32).to_le_bytes());
        let mut slices = vec![IoSlice::new(&head)];
        slices.extend(self.pieces.iter().map(|part| IoSlice::new(part)));
        write_at(&*self.file, &self.path, &mut slices, self.at)?;
        let written = (BLOCK_HEAD + bytes) as u64;
        self.at += written;
        self.unsynced += written;
        self.blocks += 1;
        self.pieces.clear();
        self.missing = BLOCK;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.file.sync_data().during("fdatasync", &self.path)?;
        self.unsynced = 0;
        Ok(())
    }

    /// Writes what is left and the header, syncs (not the directory); gives its entry.
    pub(crate) fn finish(mut self) -> Result<CheckpointEntry, Failure> {
        if self.missing < BLOCK {
            self.write_block()?;
        }
        let head = encode_head(self.number, self.lsn, self.payload);
        write_at(&*self.file, &self.path, &mut [IoSlice::new(&head)], 0)?;
        self.sync()?;
        Ok(CheckpointEntry {
            number: self.number,
            lsn: self.lsn,
            bytes: self.at,
        })
    }
}

/// Writes and syncs a checkpoint file (not the directory); gives its entry.
pub(crate) fn write(
    home: &Home,
    number: u64,
    lsn: Lsn,
    payload: &[Bytes],
) -> Result<CheckpointEntry, Failure> {
    let mut file = CheckpointFile::create(home, number, lsn)?;
    for piece in payload {
        file.push(piece.clone())?;
    }
    file.finish()
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
pub(crate) fn entry_of(home: &Home, path: &Path) -> Result<Option<CheckpointEntry>, OpenError> {
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
    match decode_head(&head, &entry) {
        Err(wrong @ Undecodable::Version(_)) => Err(wrong.into_open(path, VERSION)),
        Err(Undecodable::Damaged { .. }) => Ok(None),
        Ok(_) => Ok((home.checkpoint(entry.number) == *path).then_some(entry)),
    }
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
