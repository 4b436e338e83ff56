//! What `fuzz/` drives: each function takes any bytes and asserts what the decoder behind it promises.
//!
//! A search does not find a CRC by itself, so most of them mend the CRC (and the magic) first: what lies
//! behind the check must bear anything too.
#![allow(missing_docs, reason = "the names of the decoders say it all")]

mod sealed;

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::checkpoint;
use crate::codec::{put, u32_at, u64_at};
use crate::frame::{self, HEAD};
use crate::fs::{Fs, Open, SimFs};
use crate::group::{GROUP_HEAD, GROUP_MAGIC, GroupHead, seed};
use crate::home::Home;
use crate::manifest::{CheckpointEntry, Manifest};
use crate::segment::{self, Birth, Opening};

pub use sealed::{footer, marks, sealed};

/// LSNs come from verified headers; the log never grows this long.
const LSN_MAX: u64 = 1 << 60;

pub fn frame(bytes: &[u8]) {
    let seed = u32_at(bytes, 0);
    let lsn = u64_at(bytes, 8) % LSN_MAX;
    assert!(bytes.len() >= HEAD || frame::decode(bytes, lsn, seed).is_err());
    let mut bytes = bytes.to_vec();
    put(&mut bytes, 8, &lsn.to_le_bytes());
    if let Some(checked) = bytes.get(4..) {
        let crc = crc32c::crc32c_append(seed, checked);
        put(&mut bytes, 0, &crc.to_le_bytes());
    }
    let Ok(frame) = frame::decode(&bytes, lsn, seed) else {
        return;
    };
    assert_eq!((frame.lsn, frame.end), (lsn, lsn + bytes.len() as u64));
    let Ok(head) = frame::head_bytes(&frame.head) else {
        return;
    };
    let whole = frame::whole_bytes(head, frame.payload.len());
    assert_eq!(whole, bytes.len() as u64);
    let mut again = BytesMut::new();
    frame::encode_head(&mut again, lsn, whole, &frame.head, frame.payload.len());
    again.put_slice(frame.payload);
    assert_eq!(again[4..], bytes[4..again.len()]);
}

pub fn group(bytes: &[u8]) {
    let salt = u64_at(bytes, 8);
    let mut bytes = bytes.to_vec();
    bytes.resize(GROUP_HEAD, 0);
    assert_eq!(GroupHead::decode(&bytes[1..], salt), None);
    put(&mut bytes, 0, &GROUP_MAGIC.to_le_bytes());
    let crc = crc32c::crc32c_append(seed(salt), &bytes[8..]);
    put(&mut bytes, 4, &crc.to_le_bytes());
    if let Some(head) = GroupHead::decode(&bytes, salt) {
        assert_eq!(&head.encode(salt)[..], &bytes);
    }
}

/// 64 bytes of header, then 32 of opening.
pub fn segment(bytes: &[u8]) {
    let mut block = vec![0; segment::BLOCK as usize];
    let (birth, opening) = bytes.split_at(bytes.len().min(64));
    put(&mut block, 0, birth);
    put(&mut block, 512, &opening[..opening.len().min(32)]);
    let _ = Birth::decode(&block);
    put(&mut block, 0, b"DSsegmt\n");
    put(&mut block, 8, &segment::VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&block[16..64]);
    put(&mut block, 12, &crc.to_le_bytes());
    if block[512] == b'D' {
        put(&mut block, 512, b"DSopen!\n");
        let crc = crc32c::crc32c_append(seed(u64_at(&block, 24)), &block[528..544]);
        put(&mut block, 520, &crc.to_le_bytes());
    }
    match Birth::decode(&block) {
        Ok((birth, Opening::Base(base))) => {
            let again = Birth::decode(&birth.encode_opened(base));
            assert_eq!(again, Ok((birth, Opening::Base(base))));
        }
        Ok((birth, _)) => {
            assert_eq!(Birth::decode(&birth.encode()), Ok((birth, Opening::Unused)));
        }
        Err(wrong) => unreachable!("a valid header: {wrong:?}"),
    }
}

pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::decode(bytes);
    let mut bytes = bytes.to_vec();
    put(&mut bytes, 0, b"DSmanif\n");
    let versions = [1, crate::manifest::VERSION];
    // Odd is version 1, even the newest.
    let version = versions[usize::from(bytes.get(8).is_some_and(|byte| byte % 2 == 0))];
    put(&mut bytes, 8, &version.to_le_bytes());
    if let Some(checked) = bytes.get(16..) {
        let crc = crc32c::crc32c(checked);
        put(&mut bytes, 12, &crc.to_le_bytes());
    }
    if let Ok(mut manifest) = Manifest::decode(&bytes) {
        manifest.upgrade(None);
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

pub fn checkpoint(bytes: &[u8]) {
    const FILE_HEAD: usize = 64;
    const BLOCK: usize = 8 + (1 << 20);
    let (number, lsn) = (3, u64_at(bytes, 24));
    let mut bytes = bytes.to_vec();
    put(&mut bytes, 0, b"DSckpnt\n");
    put(&mut bytes, 8, &checkpoint::VERSION.to_le_bytes());
    put(&mut bytes, 16, &3u64.to_le_bytes());
    if bytes.len() >= FILE_HEAD {
        let crc = crc32c::crc32c(&bytes[16..FILE_HEAD]);
        put(&mut bytes, 12, &crc.to_le_bytes());
        for (index, block) in bytes[FILE_HEAD..].chunks_mut(BLOCK).enumerate() {
            let seed = crc32c::crc32c(&(index as u64).to_le_bytes());
            let crc = crc32c::crc32c_append(seed, block.get(8..).unwrap_or_default());
            put(block, 0, &crc.to_le_bytes());
        }
    }
    let fs = SimFs::new();
    let Ok(()) = fs.create_dir_all(Path::new("/data")) else {
        return;
    };
    let home = Home::new(Arc::new(fs), Path::new("/data"));
    let Ok(file) = home.create(&home.checkpoint(number)) else {
        return;
    };
    let written = file.write_all_at(&mut [IoSlice::new(&bytes)], 0);
    assert!(written.is_ok());
    let entry = CheckpointEntry {
        number,
        lsn,
        bytes: bytes.len() as u64,
    };
    let Ok(payload) = checkpoint::read(&home, &entry) else {
        return;
    };
    let pieces = [
        payload.slice(..payload.len() / 2),
        payload.slice(payload.len() / 2..),
    ];
    let Ok(again) = checkpoint::write(&home, number + 1, lsn, &pieces) else {
        unreachable!("the disk has room");
    };
    assert_eq!(again.bytes, entry.bytes);
    assert!(checkpoint::read(&home, &again).is_ok_and(|same| same == payload));
    assert!(home.open(&home.checkpoint(number + 1), Open::Read).is_ok());
}
