//! Power cuts: which disks may be found afterwards.
//!
//! The model is stricter than the file systems we know. What a sync covered is there. Of the rest,
//! every write, every change of length and every change of a directory may be there or not, each by
//! itself and in any order; a write may be torn between sectors, a sector never. Directories
//! themselves are durable once made. A sync that failed loses for good what it should have covered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::SimFs;
use super::content::Content;
use super::journal::{FileId, Journal, Op};

/// What of the unsynced survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// Nothing.
    NothingUnsynced,
    /// Everything.
    Everything,
    /// Everything up to some operation, nothing after it.
    Prefix,
    /// Any operations; lengths and data independently.
    Subset,
    /// Any operations, and of a write any sectors of this many bytes (512 or 4,096, say).
    Torn {
        /// What the disk writes as one.
        sector: u32,
    },
}

impl Policy {
    /// One of each kind, torn at 512 bytes and at 4 KiB.
    pub const ALL: [Policy; 6] = [
        Policy::NothingUnsynced,
        Policy::Everything,
        Policy::Prefix,
        Policy::Subset,
        Policy::Torn { sector: 512 },
        Policy::Torn { sector: 4096 },
    ];
}

/// A recording, wound forward to the moment at which the power goes.
pub struct Crash {
    journal: Journal,
    dirs: BTreeSet<PathBuf>,
    /// What is passed on to the images: [`SimFs::set_write_through`].
    through: bool,
    /// Operations done so far.
    at: usize,
    names: BTreeMap<PathBuf, FileId>,
    files: BTreeMap<FileId, File>,
    pending: Vec<NameChange>,
}

#[derive(Default)]
struct File {
    durable: Content,
    /// Indices of operations that no sync has covered, in order.
    pending: Vec<usize>,
    /// Those of them that are durable by themselves. They stay among the others, since what was written before must not
    /// come out on top of them.
    certain: BTreeSet<usize>,
    /// Operations before this one were dropped by a failed sync.
    dropped: usize,
}

#[derive(Clone)]
struct NameChange {
    index: usize,
    dir: PathBuf,
    gone: Option<PathBuf>,
    set: Option<(PathBuf, FileId)>,
    /// The name that is set is the only one of its file.
    moves: bool,
}

impl Crash {
    pub(super) fn new(journal: Journal, dirs: BTreeSet<PathBuf>, through: bool) -> Self {
        let mut crash = Crash {
            journal,
            dirs,
            through,
            at: 0,
            names: BTreeMap::new(),
            files: BTreeMap::new(),
            pending: Vec::new(),
        };
        crash.rewind();
        crash
    }

    /// How many operations were recorded.
    pub fn op_count(&self) -> usize {
        self.journal.ops.len()
    }

    /// Winds to the moment after the first `op_index` operations; the end when there are fewer.
    pub fn advance_to(&mut self, op_index: usize) {
        if op_index < self.at {
            self.rewind();
        }
        while self.at < op_index.min(self.journal.ops.len()) {
            self.step();
            self.at += 1;
        }
    }

    /// Whether a power cut now could lose anything, so that seeds and policies make a difference.
    pub fn has_unsynced(&self) -> bool {
        let linked = self.names.values().filter_map(|id| self.files.get(id));
        !self.pending.is_empty()
            || linked
                .into_iter()
                .any(|f| f.pending.len() > f.certain.len())
    }

    /// One disk that a power cut now could leave: the same seed gives the same disk.
    pub fn image(&self, policy: Policy, seed: u64) -> SimFs {
        let mut luck = Luck::new(policy, seed, self);
        let mut names = self.names.clone();
        for change in &self.pending {
            if luck.keeps(change.index) {
                change.apply(&mut names);
            }
        }
        let fs = SimFs::from_parts(self.dirs.clone(), &names, |id| {
            let Some(file) = self.files.get(&id) else {
                return Content::default();
            };
            let mut content = file.durable.clone();
            for &index in &file.pending {
                let op = &self.journal.ops[index];
                if file.certain.contains(&index) {
                    apply(op, &mut content);
                } else {
                    luck.content(index, op, &mut content);
                }
            }
            content
        });
        fs.set_write_through(self.through);
        fs
    }

    fn rewind(&mut self) {
        self.at = 0;
        self.names.clone_from(&self.journal.names);
        self.pending.clear();
        let files = self.journal.files.iter();
        self.files = files
            .map(|(&id, content)| {
                let durable = content.clone();
                let file = File {
                    durable,
                    ..File::default()
                };
                (id, file)
            })
            .collect();
    }

    fn step(&mut self) {
        let index = self.at;
        match &self.journal.ops[index] {
            Op::Create { path, file } => {
                self.files.insert(*file, File::default());
                self.pending
                    .push(NameChange::new(index, None, Some((path, *file))));
            }
            Op::Rename { from, to, file } => {
                self.pending
                    .push(NameChange::new(index, Some(from), Some((to, *file))));
            }
            Op::Link { path, file } => {
                let mut change = NameChange::new(index, None, Some((path, *file)));
                change.moves = false;
                self.pending.push(change);
            }
            Op::Remove { path } => self.pending.push(NameChange::new(index, Some(path), None)),
            Op::SyncDir { dir } => {
                let names = &mut self.names;
                self.pending.retain(|change| {
                    let synced = change.dir == *dir;
                    if synced {
                        change.apply(names);
                    }
                    !synced
                });
            }
            Op::Write { file, .. } | Op::SetLen { file, .. } | Op::Allocate { file, .. } => {
                let file = self.files.entry(*file).or_default();
                file.pending.push(index);
            }
            Op::Sync { file } => {
                let file = self.files.entry(*file).or_default();
                let certain = std::mem::take(&mut file.certain);
                for index in file.pending.drain(..) {
                    if index >= file.dropped || certain.contains(&index) {
                        apply(&self.journal.ops[index], &mut file.durable);
                    }
                }
            }
            Op::SyncWrite { file, write } => {
                let file = self.files.entry(*file).or_default();
                file.certain.insert(*write);
                if file.certain.len() == file.pending.len() {
                    file.certain.clear();
                    for index in file.pending.drain(..) {
                        apply(&self.journal.ops[index], &mut file.durable);
                    }
                }
            }
            Op::SyncFailed { file } => {
                self.files.entry(*file).or_default().dropped = index;
            }
        }
    }
}

impl NameChange {
    fn new(index: usize, gone: Option<&PathBuf>, set: Option<(&PathBuf, FileId)>) -> Self {
        let target = set.map(|(path, _)| path).or(gone);
        let dir = target.and_then(|path| path.parent());
        NameChange {
            index,
            dir: dir.unwrap_or(Path::new("")).to_owned(),
            gone: gone.cloned(),
            set: set.map(|(path, file)| (path.clone(), file)),
            moves: true,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        if let Some(path) = &self.gone {
            names.remove(path);
        }
        if let Some((path, file)) = &self.set {
            // A file that an earlier, lost rename should have moved away is still only in one place.
            // Files that are linked are never renamed.
            if self.moves {
                names.retain(|_, other| other != file);
            }
            names.insert(path.clone(), *file);
        }
    }
}

/// Does a whole operation to a file's content.
fn apply(op: &Op, content: &mut Content) {
    match op {
        Op::Write { offset, data, .. } => content.write(*offset, data),
        Op::SetLen { len, .. } => content.set_len(*len),
        Op::Allocate { len, .. } => content.extend(*len),
        _ => {}
    }
}

/// Decides what survives.
struct Luck {
    policy: Policy,
    /// With `Prefix`: operations from here on are lost.
    cut: usize,
    /// Of 16 unsynced things, how many survive.
    odds: u64,
    state: u64,
}

impl Luck {
    fn new(policy: Policy, seed: u64, crash: &Crash) -> Self {
        let mut luck = Luck {
            policy,
            cut: 0,
            odds: 0,
            state: seed ^ (crash.at as u64).rotate_left(32),
        };
        luck.odds = [2, 8, 8, 14][luck.below(4) as usize];
        let files = crash.files.values().filter_map(|f| f.pending.first());
        let names = crash.pending.first().map(|change| &change.index);
        let oldest = files.chain(names).copied().min().unwrap_or(crash.at);
        luck.cut = oldest + luck.below((crash.at - oldest) as u64 + 1) as usize;
        luck
    }

    /// A number below `bound` (splitmix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn keeps(&mut self, index: usize) -> bool {
        match self.policy {
            Policy::NothingUnsynced => false,
            Policy::Everything => true,
            Policy::Prefix => index < self.cut,
            Policy::Subset | Policy::Torn { .. } => self.below(16) < self.odds,
        }
    }

    /// Does to `content` what survives of an operation.
    fn content(&mut self, index: usize, op: &Op, content: &mut Content) {
        let Op::Write { offset, data, .. } = op else {
            if self.keeps(index) {
                apply(op, content);
            }
            return;
        };
        let end = offset + data.len() as u64;
        if self.keeps(index) {
            content.extend(end);
        }
        // Data beyond a length that did not survive is out of reach.
        let reach = end.min(content.len()).saturating_sub(*offset) as usize;
        let sector = match self.policy {
            Policy::Torn { sector } => u64::from(sector.max(1)),
            _ => {
                if self.keeps(index) {
                    content.write(*offset, &data[..reach]);
                }
                return;
            }
        };
        let tear = self.tear(end.div_ceil(sector) - offset / sector);
        let mut from = 0;
        let mut number = 0;
        while from < reach {
            let at = offset + from as u64;
            let until = reach.min(from + (sector - at % sector) as usize);
            if tear.keeps(self, number) {
                content.write(at, &data[from..until]);
            }
            from = until;
            number += 1;
        }
    }

    fn tear(&mut self, sectors: u64) -> Tear {
        match self.below(4) {
            0 => Tear::After(self.below(sectors + 1)),
            1 => Tear::Before(self.below(sectors + 1)),
            2 => Tear::Anywhere,
            _ if self.below(16) < self.odds => Tear::Before(0),
            _ => Tear::After(0),
        }
    }
}

/// How a write is torn.
enum Tear {
    /// The first so many sectors survive.
    After(u64),
    /// All but the first so many sectors survive.
    Before(u64),
    /// Any sectors survive.
    Anywhere,
}

impl Tear {
    fn keeps(&self, luck: &mut Luck, sector: u64) -> bool {
        match self {
            Tear::After(n) => sector < *n,
            Tear::Before(n) => sector >= *n,
            Tear::Anywhere => luck.below(2) == 0,
        }
    }
}
