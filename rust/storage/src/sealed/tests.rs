//! Sealed files against the model: what was written is found, what was damaged is never served.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::error::{OpenError, ReadError};
use crate::frame::FrameRef;
use crate::fs::Open;
use crate::sealed::model::{Burst, Model, bursts, flip, home, payload};
use crate::sealed::{Extent, Sealed, SealedFile, SealedWriter, Throttle, WriteError};

fn batches() -> impl Strategy<Value = Vec<Vec<Burst>>> {
    prop::collection::vec(bursts(12), 1..5)
}

/// Everything that can be read of `stream`, as pieces of at least one event; ends at what does not verify.
fn read_all(sealed: &Sealed, model: &Model, stream: u64) -> Result<(), ReadError> {
    let Some(events) = model.streams.get(&stream) else {
        return Ok(());
    };
    let (mut at, last) = (events[0].0, events[events.len() - 1].1);
    while at < last {
        let history = sealed.history(stream, at, u64::MAX, 5000)?;
        assert_eq!(
            (history.start, history.end),
            model.history(stream, at, u64::MAX, 5000)
        );
        assert_eq!(
            history.chunks.concat(),
            payload(stream, history.start, history.end)
        );
        at = history.end;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_was_written_is_found_again(batches in batches()) {
        let (home, mut model) = (home(), Model::default());
        let sealed = model.write_all(&home, &batches);
        model.assert_whole(&sealed);
    }

    #[test]
    fn a_page_is_cut_at_events_and_at_its_end(
        batches in batches(),
        asks in prop::collection::vec((1..8_u64, any::<Index>(), any::<Index>(), 0..5_u32, 0..200_000_usize), 30),
    ) {
        let (home, mut model) = (home(), Model::default());
        let sealed = model.write_all(&home, &batches);
        for (stream, from, to, shift, max) in asks {
            let events = model.streams.get(&stream).cloned().unwrap_or_default();
            let first = events.first().map_or(0, |event| event.0);
            let last = events.last().map_or(10, |event| event.1);
            let place = |index: Index| first.saturating_sub(5) + index.index((last - first + 20) as usize) as u64;
            let (from, to, max) = (place(from), place(to), max >> (4 * shift));
            model.assert_history(&sealed, stream, from, to, max);
            model.assert_history(&sealed, stream, from, u64::MAX, max);
            prop_assert_eq!(sealed.event_at(stream, from).unwrap(), model.event_at(stream, from));
            prop_assert_eq!(sealed.events(stream, from, to).unwrap(), model.events(stream, from, to));
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_never_served(batches in batches(), file: Index, bit: Index) {
        let (home, mut model) = (home(), Model::default());
        let sealed = model.write_all(&home, &batches);
        let files = sealed.files();
        prop_assume!(!files.is_empty());
        let hit = &files[file.index(files.len())];
        let bit = bit.index(hit.entry().bytes as usize * 8) as u64;
        flip(&home, hit.path(), bit);
        // A file that is open already has its extents and CRCs in memory.
        for stream in 1..7 {
            let before = read_all(&sealed, &model, stream);
            let io = matches!(before, Err(ReadError::Io { .. }));
            prop_assert!(!io);
        }
        match SealedFile::open(&home, &hit.entry()) {
            Ok(opened) => {
                let mut flaws = Vec::new();
                opened.verify(&mut |flaw| flaws.push(flaw)).unwrap();
                prop_assert_eq!(flaws.len(), 1);
                let flaw = &flaws[0];
                prop_assert!((flaw.offset..flaw.offset + flaw.bytes).contains(&(bit / 8)));
                // Whoever has something in the block cannot read it, and is named; all others can.
                for stream in 1..7 {
                    let named = flaw.lost.iter().any(|lost| lost.0 == stream);
                    let read = read_all(&sealed, &model, stream);
                    prop_assert!(named || read.is_ok());
                    if let Err(ReadError::Damaged { file, offset, detail }) = read {
                        prop_assert_eq!(file, hit.path());
                        prop_assert_eq!(offset, flaw.offset);
        let named = detail.contains(&stream.to_string());
                        prop_assert!(named, "{}", detail);
                    }
                }
            }
            Err(OpenError::Damaged { file, .. }) => prop_assert_eq!(file, hit.path()),
            Err(OpenError::Version { .. }) => prop_assert!((64..96).contains(&bit) || bit > 4096 * 8),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn no_cut_goes_unseen(batch in bursts(5), at: Index) {
        let (home, mut model) = (home(), Model::default());
        let Some(file) = model.write(&home, 1, &batch) else {
            return Ok(());
        };
        let entry = file.entry();
        let mut cut = entry;
        cut.bytes = at.index(entry.bytes as usize) as u64;
        home.open(file.path(), Open::Write).unwrap().set_len(cut.bytes).unwrap();
        let refused = |entry| matches!(SealedFile::open(&home, entry), Err(OpenError::Damaged { .. }));
        prop_assert!(refused(&entry));
        prop_assert!(refused(&cut));
    }
}

#[test]
fn what_is_contiguous_is_one_extent() {
    let (home, mut model) = (home(), Model::default());
    let burst = |stream, len, count| Burst { stream, len, count };
    let file = model
        .write(
            &home,
            1,
            &[burst(1, 10, 3), burst(2, 5, 1), burst(1, 7, 400)],
        )
        .unwrap();
    let bounds = |extent: Extent| (extent.stream, extent.start, extent.end, extent.is_single());
    let extents: Vec<_> = file.extents().iter().map(bounds).collect();
    assert_eq!(
        extents,
        [(1, 1000, 1000 + 30 + 2800, false), (2, 2000, 2005, true)]
    );
    assert_eq!(
        (file.events(), file.streams(), file.payload_bytes()),
        (404, 2, 2835)
    );
}

#[test]
fn a_gap_begins_another_extent_and_ends_a_page() {
    let home = home();
    let throttle = Throttle::new(None);
    let mut writer = SealedWriter::create(&home, 1, 0, 80, &throttle).unwrap();
    writer.event(1, 0, b"ab").unwrap();
    writer.event(1, 5, b"fg").unwrap();
    let sealed = Sealed::open(&home, &[]).unwrap();
    sealed.swap(&[], writer.finish(&home).unwrap());
    assert_eq!(sealed.history(1, 0, 100, 100).unwrap().end, 2);
    assert_eq!(sealed.history(1, 3, 100, 100).unwrap().chunks.len(), 0);
    assert_eq!(sealed.history(1, 6, 100, 100).unwrap().start, 5);
    assert_eq!(sealed.event_at(1, 2).unwrap(), None);
    assert_eq!(sealed.events(1, 0, 100).unwrap(), 2);
}

#[test]
fn without_events_no_file_is_left() {
    let home = home();
    let throttle = Throttle::new(None);
    let mut writer = SealedWriter::create(&home, 1, 0, 80, &throttle).unwrap();
    writer.event(1, 5, b"").unwrap();
    assert!(writer.finish(&home).unwrap().is_none());
    assert!(home.list().unwrap().sealed.is_empty());
}

#[test]
fn what_comes_out_of_order_is_refused() {
    let home = home();
    let throttle = Throttle::new(None);
    let mut writer = SealedWriter::create(&home, 1, 0, 80, &throttle).unwrap();
    writer.event(2, 10, b"abc").unwrap();
    for (stream, position) in [(1, 0), (2, 10), (2, 12), (2, 0), (3, u64::MAX - 1)] {
        let refused = writer.event(stream, position, b"abc");
        assert!(matches!(refused, Err(WriteError::Disorder { .. })));
    }
    writer.event(2, 13, b"d").unwrap();
}

#[test]
fn only_what_was_announced_may_be_written() {
    let home = home();
    let throttle = Throttle::new(None);
    let mut writer = SealedWriter::create(&home, 1, 0, 80, &throttle).unwrap();
    writer.announce(1, 0, 4).unwrap();
    writer.data(b"abc").unwrap();
    assert!(matches!(
        writer.finish(&home),
        Err(WriteError::Disorder { .. })
    ));
}

#[test]
fn a_part_of_an_event_can_be_read_but_nothing_behind_it() {
    let (home, mut model) = (home(), Model::default());
    let batch = vec![Burst {
        stream: 3,
        len: 100,
        count: 2,
    }];
    let sealed = model.write_all(&home, &[batch]);
    let frame = |position, len| FrameRef {
        lsn: 0,
        stream: 3,
        position,
        len,
    };
    let part = sealed.payload(&frame(3010, 50)).unwrap();
    assert_eq!(part.unwrap(), payload(3, 3010, 3060));
    assert!(matches!(
        sealed.payload(&frame(3150, 51)),
        Err(ReadError::Damaged { .. })
    ));
    assert_eq!(sealed.payload(&frame(3200, 1)).unwrap(), None);
}

#[test]
fn a_block_is_verified_once() {
    let (home, mut model) = (home(), Model::default());
    let batch = vec![Burst {
        stream: 1,
        len: 1000,
        count: 1000,
    }];
    let sealed = model.write_all(&home, &[batch]);
    let verified = || sealed.figures().blocks_verified;
    assert_eq!(verified(), 0);
    let _ = sealed.event_at(1, 1000).unwrap();
    assert_eq!(verified(), 1, "the block with the marks");
    read_all(&sealed, &model, 1).unwrap();
    // A million bytes of data and the marks behind them.
    assert_eq!(verified(), 16);
    read_all(&sealed, &model, 1).unwrap();
    assert_eq!(verified(), 16);
}

#[test]
fn where_marks_are_damaged_only_the_bounds_of_their_extent_are_known() {
    let (home, mut model) = (home(), Model::default());
    let burst = |stream, count| Burst {
        stream,
        len: 100,
        count,
    };
    let sealed = model.write_all(&home, &[vec![burst(1, 30), burst(2, 1)]]);
    let files = sealed.files();
    let marks_at = files[0].extents().get(0).unwrap().marks_at;
    let row = |sealed: &Sealed, stream, position| {
        let row = sealed.row_at(stream, position).unwrap();
        row.map(|row| (row.start, row.end, row.is_single))
    };
    assert_eq!(row(&sealed, 1, 1250), Some((1200, 1300, true)));
    let reopened = Sealed::open(&home, &[files[0].entry()]).unwrap();
    flip(&home, files[0].path(), (4096 + marks_at) * 8);
    assert!(reopened.event_at(1, 1250).is_err());
    let row = |stream, position| row(&reopened, stream, position);
    assert_eq!(row(1, 1250), Some((1000, 4000, false)));
    assert_eq!(row(2, 2000), Some((2000, 2100, true)));
    assert_eq!((row(1, 4000), row(3, 0)), (None, None));
}

#[test]
fn a_reader_keeps_the_files_that_it_began_with() {
    let (home, mut model) = (home(), Model::default());
    let batch = vec![Burst {
        stream: 1,
        len: 1000,
        count: 3,
    }];
    let sealed = model.write_all(&home, &[batch]);
    let files = sealed.files();
    sealed.swap(&[1], None);
    home.remove(files[0].path()).unwrap();
    assert_eq!(sealed.event_at(1, 1000).unwrap(), None);
    let extent = files[0].extents().get(0).unwrap();
    assert_eq!(
        files[0].read(extent.data_at, 10).unwrap(),
        payload(1, 1000, 1010)
    );
}

#[test]
fn a_file_that_is_missing_or_another_is_refused() {
    let (home, mut model) = (home(), Model::default());
    let batch = [Burst {
        stream: 1,
        len: 1000,
        count: 3,
    }];
    let entry = model.write(&home, 1, &batch).unwrap().entry();
    let refused = |entry| {
        matches!(
            SealedFile::open(&home, &entry),
            Err(OpenError::Damaged { .. })
        )
    };
    let mut other = entry;
    other.to += 8;
    assert!(refused(other));
    other = entry;
    other.number = 2;
    assert!(refused(other));
    home.rename(&home.sealed(1), &home.sealed(2)).unwrap();
    assert!(refused(other));
}
