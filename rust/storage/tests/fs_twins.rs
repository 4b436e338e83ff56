//! The simulated disk answers as the real one does, errors included.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durastream_storage::fs::{Fs, FsFile, Open, OsFs, SimFs};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    CreateDir(&'static str),
    Open(&'static str, Open),
    Write(u64, Vec<Vec<u8>>),
    Read(u64, usize),
    Allocate(u64),
    SetLen(u64),
    Sync,
    SyncDir(&'static str),
    Rename(&'static str, &'static str),
    Link(&'static str, &'static str),
    Remove(&'static str),
    List(&'static str),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "sub/a", "sub/deep/a", "none/a"])
}

fn dir() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "sub", "sub/deep", "none"])
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(vec![
        Open::CreateNew,
        Open::CreateNew,
        Open::Read,
        Open::Write,
    ]);
    let slices = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..4);
    prop_oneof![
        1 => prop::sample::select(vec!["sub", "sub/deep"]).prop_map(Step::CreateDir),
        4 => (name(), how).prop_map(|(name, how)| Step::Open(name, how)),
        6 => (0..9000_u64, slices).prop_map(|(at, slices)| Step::Write(at, slices)),
        4 => (0..9000_u64, 0..5000_usize).prop_map(|(at, len)| Step::Read(at, len)),
        1 => (1..20_000_u64).prop_map(Step::Allocate),
        1 => (0..12_000_u64).prop_map(Step::SetLen),
        1 => Just(Step::Sync),
        1 => dir().prop_map(Step::SyncDir),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Step::Link(from, to)),
        2 => name().prop_map(Step::Remove),
        2 => dir().prop_map(Step::List),
    ]
}

/// A file system in use, with the last file it opened.
struct User {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    file: Option<Arc<dyn FsFile>>,
}

impl User {
    /// What the step came to, in words.
    fn take(&mut self, step: &Step) -> Result<String, io::ErrorKind> {
        self.attempt(step).map_err(|e| e.kind())
    }

    fn attempt(&mut self, step: &Step) -> io::Result<String> {
        let path = |name: &str| self.root.join(name);
        let file = || self.file.clone().ok_or(io::ErrorKind::NotFound);
        match step {
            Step::CreateDir(dir) => self.fs.create_dir_all(&path(dir))?,
            Step::Open(name, how) => self.file = Some(self.fs.open(&path(name), *how)?),
            Step::Write(at, slices) => {
                let mut slices: Vec<_> = slices.iter().map(|s| IoSlice::new(s)).collect();
                file()?.write_all_at(&mut slices, *at)?;
            }
            Step::Read(at, len) => {
                let mut bytes = vec![0; *len];
                file()?.read_exact_at(&mut bytes, *at)?;
                return Ok(format!("{bytes:?}"));
            }
            Step::Allocate(len) => file()?.allocate(*len)?,
            Step::SetLen(len) => file()?.set_len(*len)?,
            Step::Sync => file()?.sync_data()?,
            Step::SyncDir(dir) => self.fs.sync_dir(&path(dir))?,
            Step::Rename(from, to) => self.fs.rename(&path(from), &path(to))?,
            Step::Link(from, to) => self.fs.link(&path(from), &path(to))?,
            Step::Remove(name) => self.fs.remove(&path(name))?,
            Step::List(dir) => return Ok(format!("{:?}", self.fs.list(&path(dir))?)),
        }
        match &self.file {
            Some(file) => Ok(format!("{} bytes", file.len()?)),
            None => Ok(String::new()),
        }
    }

    /// Every file and its bytes.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut content = BTreeMap::new();
        for dir in ["", "sub", "sub/deep"] {
            for name in self.fs.list(&self.root.join(dir)).unwrap_or_default() {
                let path = Path::new(dir).join(name);
                let file = self.fs.open(&self.root.join(&path), Open::Read).unwrap();
                let mut bytes = vec![0; file.len().unwrap() as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                content.insert(path, bytes);
            }
        }
        content
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_disks_answer_alike(steps in prop::collection::vec(step(), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let mut real = User { fs: Arc::new(OsFs), root: root.path().to_owned(), file: None };
        let sim = SimFs::recording();
        let mut simulated = User { fs: Arc::new(sim.clone()), root: "/data".into(), file: None };
        sim.create_dir_all(Path::new("/data")).unwrap();
        for (at, step) in steps.iter().enumerate() {
            prop_assert_eq!(real.take(step), simulated.take(step), "step {} {:?}", at, step);
        }
        prop_assert_eq!(real.content(), simulated.content());
    }
}
