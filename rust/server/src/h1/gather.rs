//! Many small pieces in one write.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use durastream_engine::storage::Piece;

/// Slices handed to the system in one call.
pub(crate) const SLICES: usize = 64;
/// Neighbours smaller than this are copied together: the system would spend more on each of them.
const SMALL: usize = 2 << 10;

/// The first of `pieces` as `slices`, at most `most` bytes; how many slices that are, and whether what comes behind them is
/// a file's. Small neighbours are copied to `scratch`, as long as it has room.
pub(crate) fn gather<'p>(
    pieces: &'p VecDeque<Piece>,
    mut scratch: &'p mut [u8],
    mut most: usize,
    slices: &mut [IoSlice<'p>; SLICES],
) -> (usize, bool) {
    let (mut count, mut next) = (0, 0);
    for slice in slices {
        let mut copied = 0;
        while let Some(piece) = in_memory(pieces, next).filter(|piece| piece.len() < SMALL)
            && copied + piece.len() <= most
            && let Some(place) = scratch.get_mut(copied..copied + piece.len())
        {
            place.copy_from_slice(piece);
            copied += piece.len();
            next += 1;
        }
        *slice = if copied > 0 {
            let (full, free) = std::mem::take(&mut scratch).split_at_mut(copied);
            scratch = free;
            IoSlice::new(full)
        } else if let Some(piece) = in_memory(pieces, next).filter(|_| most > 0) {
            next += usize::from(piece.len() <= most);
            IoSlice::new(piece.get(..most).unwrap_or(piece))
        } else {
            break;
        };
        most -= slice.len();
        count += 1;
    }
    (count, matches!(pieces.get(next), Some(Piece::File(_))))
}

fn in_memory(pieces: &VecDeque<Piece>, index: usize) -> Option<&Bytes> {
    match pieces.get(index) {
        Some(Piece::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(sizes: &[usize]) -> (VecDeque<Piece>, Vec<u8>) {
        let numbered = || (0_u8..=255).cycle().zip(sizes);
        let pieces = numbered().map(|(number, size)| Bytes::from(vec![number; *size]).into());
        let whole = numbered().flat_map(|(number, size)| vec![number; *size]);
        (pieces.collect(), whole.collect())
    }

    #[test]
    fn small_neighbours_are_one_slice_and_large_pieces_are_not_copied() {
        let (pieces, _) = pieces(&[20, 30, 40, 9000, 50, 60]);
        let large = in_memory(&pieces, 3).unwrap();
        let mut scratch = [0; 4096];
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = gather(&pieces, &mut scratch, usize::MAX, &mut slices);
        assert_eq!(count, (3, false));
        let sizes: Vec<usize> = slices[..3].iter().map(|slice| slice.len()).collect();
        assert_eq!(sizes, [90, 9000, 110]);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
    }

    proptest! {
        #[test]
        fn what_is_gathered_is_the_beginning_of_what_waits(
            sizes in prop::collection::vec(1..3 * SMALL, 1..200), room in 0..70_000_usize, most in 1..300_000_usize,
        ) {
            let (pieces, whole) = pieces(&sizes);
            let mut scratch = vec![0; room];
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (count, _) = gather(&pieces, &mut scratch, most, &mut slices);
            let gathered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert!(count > 0 && slices[..count].iter().all(|slice| !slice.is_empty()));
            prop_assert!(gathered.len() <= most && whole.starts_with(&gathered));
            prop_assert!(count == SLICES || gathered.len() == whole.len().min(most));
        }
    }
}
