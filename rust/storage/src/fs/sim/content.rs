//! The bytes of a simulated file: sparse, and shared between crash images until written to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const PAGE: usize = 4096;

/// A file's bytes. Pages never written cost nothing; a clone shares every page.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    /// No byte at or beyond `len` is anything but zero in here, so lengthening shows zeros.
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory that the written pages take.
    pub(super) fn resident(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub(super) fn extend(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, within) = split(len);
            self.pages
                .split_off(&if within == 0 { page } else { page + 1 });
            if let Some(last) = self.pages.get_mut(&page)
                && within != 0
            {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    pub(super) fn write(&mut self, mut offset: u64, mut data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.extend(offset + data.len() as u64);
        while !data.is_empty() {
            let (page, within) = split(offset);
            let (now, later) = data.split_at(data.len().min(PAGE - within));
            let page = self
                .pages
                .entry(page)
                .or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + now.len()].copy_from_slice(now);
            offset += now.len() as u64;
            data = later;
        }
    }

    pub(super) fn read_exact(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let (page, within) = split(offset);
            let len = buf.len().min(PAGE - within);
            let (now, later) = buf.split_at_mut(len);
            match self.pages.get(&page) {
                Some(bytes) => now.copy_from_slice(&bytes[within..within + len]),
                None => now.fill(0),
            }
            offset += len as u64;
            buf = later;
        }
        Ok(())
    }
}

/// Page number and place within the page.
fn split(offset: u64) -> (u64, usize) {
    let page = PAGE as u64;
    (offset / page, (offset % page) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Extend(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_u64, prop::collection::vec(any::<u8>(), 0..9000))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0..20_000_u64).prop_map(Step::SetLen),
            (0..20_000_u64).prop_map(Step::Extend),
        ]
    }

    proptest! {
        #[test]
        fn content_reads_like_a_vector_of_bytes(steps in prop::collection::vec(step(), 1..20)) {
            let mut content = Content::default();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = at as usize + data.len();
                        if !data.is_empty() {
                            model.resize(model.len().max(end), 0);
                            model[at as usize..end].copy_from_slice(&data);
                        }
                        content.write(at, &data);
                    }
                    Step::SetLen(len) => {
                        model.resize(len as usize, 0);
                        content.set_len(len);
                    }
                    Step::Extend(len) => {
                        model.resize(model.len().max(len as usize), 0);
                        content.extend(len);
                    }
                }
                let mut got = vec![1; model.len()];
                content.read_exact(&mut got, 0).unwrap();
                prop_assert_eq!(&got, &model);
                prop_assert_eq!(content.len(), model.len() as u64);
                prop_assert!(content.read_exact(&mut [0], model.len() as u64).is_err());
            }
        }
    }

    #[test]
    fn a_clone_keeps_its_bytes_when_the_other_is_written_to() {
        let mut one = Content::default();
        one.write(0, b"before");
        let two = one.clone();
        one.write(0, b"after!");
        let mut got = [0; 6];
        two.read_exact(&mut got, 0).unwrap();
        assert_eq!(&got, b"before");
    }
}
