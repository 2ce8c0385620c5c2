//! A disk in memory that knows what was synced, can lose power and can fail.
//!
//! ```text
//! file       durable bytes --- changes since the last sync ---> live bytes
//! directory  durable entries - entry changes since its sync --> live entries
//! ```
//! Reads see the live side. [`MemFs::crash`] gives the disk as the next boot finds it: of each
//! file's 512-byte sectors each has what it held after any number of its pending changes, in any
//! combination with the others (so writes are lost, torn and reordered); of each directory's
//! pending entry changes a prefix arrived, as journalling file systems keep them in order. A
//! directory whose entry was lost is gone with all it held, however well its files were synced.
//!
//! What it is not: a model of time, of bit rot (flip bits through [`File::write_at`]), or of
//! half-written sectors: a sector is old or new, which is also what the log's format relies on.
//! Everything drawn at random comes from the seed.

mod random;

use crate::{Error, File, Fs, OpenMode, Operation, Result};
use random::Random;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes a disk writes wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones share the disk; see [`MemFs::duplicate`] for a second one.
#[derive(Clone, Debug)]
pub struct MemFs {
    disk: Arc<Mutex<Disk>>,
}

impl MemFs {
    /// An empty disk with a root directory.
    #[must_use]
    pub fn new() -> Self {
        let mut nodes = BTreeMap::new();
        nodes.insert(ROOT, Node::Dir(DirNode::default()));
        let disk = Disk { nodes, next: ROOT + 1, operations: 0, fault: Fault::None };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Operations so far that could change what a crash leaves: creating, writing, changing
    /// lengths, syncing, renaming, removing. Reading is not one.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Makes the `n`-th such operation from now (1 is the next) fail once, half done.
    pub fn fail_nth(&self, n: u64) {
        let mut disk = self.lock();
        disk.fault = Fault::Once { at: disk.operations + n };
    }

    /// Makes the `n`-th sync of a file from now (1 is the next) fail once; nothing is durable by
    /// it.
    pub fn fail_nth_sync(&self, n: u64) {
        self.lock().fault = Fault::Sync { after: n };
    }

    /// Lets `n` more such operations succeed and fails all that follow: the power is out. What
    /// the first failing one wrote may or may not be found by [`MemFs::crash`].
    pub fn cut_power_after(&self, n: u64) {
        let mut disk = self.lock();
        disk.fault = Fault::PowerOut { after: disk.operations + n };
    }

    /// The disk as the next boot finds it if the power fails now. This one stays as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Some crashes lose all, some nothing, most a part: the extremes find their own bugs.
        let odds = [0, 256, 128, 230, 26][random.below(5)];
        let disk = self.lock();
        let nodes = disk
            .nodes
            .iter()
            .map(|(id, node)| (*id, node.after_crash(odds, &mut random)))
            .collect();
        let disk = Disk { nodes, next: disk.next, operations: 0, fault: Fault::None };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// A second disk with the same live content, all of it durable, nothing locked.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let disk = self.lock();
        let nodes = disk.nodes.iter().map(|(id, node)| (*id, node.settled())).collect();
        let disk = Disk { nodes, next: disk.next, operations: 0, fault: Fault::None };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no holder of the disk panics")
    }
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl Fs for MemFs {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn File>> {
        let failed = |kind: io::ErrorKind| Error::new(Operation::Open, path, kind.into());
        let mut disk = self.lock();
        let (dir, name) = disk.split(path).map_err(failed)?;
        let id = match (disk.dir(dir).live.get(&name).copied(), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(failed(io::ErrorKind::AlreadyExists)),
            (None, OpenMode::Read | OpenMode::Write) => {
                return Err(failed(io::ErrorKind::NotFound));
            }
            (Some(id), OpenMode::Truncate) => {
                disk.count(Operation::Open, path)?;
                disk.file(id).change(Change::SetLen(0));
                id
            }
            (Some(id), _) => id,
            (None, _) => {
                disk.count(Operation::Open, path)?;
                let id = disk.add(Node::File(FileNode::default()));
                disk.dir(dir).change(EntryChange::Link(name, id));
                id
            }
        };
        if !matches!(disk.nodes[&id], Node::File(_)) {
            return Err(failed(io::ErrorKind::IsADirectory));
        }
        drop(disk);
        Ok(Box::new(MemFile {
            fs: self.clone(),
            id,
            path: path.to_owned(),
            read_only: mode == OpenMode::Read,
            holds_lock: Mutex::new(false),
        }))
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut disk = self.lock();
        let mut dir = ROOT;
        for name in names(path) {
            dir = match disk.dir(dir).live.get(&name).copied() {
                Some(id) if matches!(disk.nodes[&id], Node::Dir(_)) => id,
                Some(_) => {
                    let kind = io::ErrorKind::NotADirectory;
                    return Err(Error::new(Operation::CreateDir, path, kind.into()));
                }
                None => {
                    disk.count(Operation::CreateDir, path)?;
                    let id = disk.add(Node::Dir(DirNode::default()));
                    disk.dir(dir).change(EntryChange::Link(name, id));
                    disk.count(Operation::SyncDir, path)?;
                    disk.dir(dir).sync();
                    id
                }
            };
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<String>> {
        let mut disk = self.lock();
        let dir = disk.find_dir(Operation::ReadDir, path)?;
        Ok(disk.dir(dir).live.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let failed = |kind: io::ErrorKind| Error::new(Operation::Rename, from, kind.into());
        let mut disk = self.lock();
        let (from_dir, from_name) = disk.split(from).map_err(failed)?;
        let (to_dir, to_name) = disk.split(to).map_err(failed)?;
        let Some(id) = disk.dir(from_dir).live.get(&from_name).copied() else {
            return Err(failed(io::ErrorKind::NotFound));
        };
        disk.count(Operation::Rename, from)?;
        if from_dir == to_dir {
            disk.dir(to_dir).change(EntryChange::Rename(from_name, to_name));
        } else {
            disk.dir(to_dir).change(EntryChange::Link(to_name, id));
            disk.dir(from_dir).change(EntryChange::Unlink(from_name));
        }
        disk.count(Operation::SyncDir, to)?;
        disk.dir(to_dir).sync();
        disk.dir(from_dir).sync();
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.unlink(path, false)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.unlink(path, true)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut disk = self.lock();
        let dir = disk.find_dir(Operation::SyncDir, path)?;
        disk.count(Operation::SyncDir, path)?;
        disk.dir(dir).sync();
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.lock().find(path).is_some())
    }
}

impl MemFs {
    fn unlink(&self, path: &Path, directory: bool) -> Result<()> {
        let failed = |kind: io::ErrorKind| Error::new(Operation::Remove, path, kind.into());
        let mut disk = self.lock();
        let (dir, name) = disk.split(path).map_err(failed)?;
        let id = disk.dir(dir).live.get(&name).copied();
        match id.map(|id| matches!(disk.nodes[&id], Node::Dir(_))) {
            None => return Err(failed(io::ErrorKind::NotFound)),
            Some(found) if found != directory => return Err(failed(io::ErrorKind::InvalidInput)),
            Some(_) => {}
        }
        disk.count(Operation::Remove, path)?;
        disk.dir(dir).change(EntryChange::Unlink(name));
        Ok(())
    }
}

/// An open file. It keeps its node when it is renamed or removed, as on a real disk.
#[derive(Debug)]
struct MemFile {
    fs: MemFs,
    id: NodeId,
    path: PathBuf,
    read_only: bool,
    holds_lock: Mutex<bool>,
}

impl MemFile {
    /// Counts a change of this file and makes it, or a half of it if it is to fail.
    fn change(&self, operation: Operation, change: Change) -> Result<()> {
        if self.read_only {
            let kind = io::ErrorKind::PermissionDenied;
            return Err(Error::new(operation, &self.path, kind.into()));
        }
        let mut disk = self.fs.lock();
        let counted = disk.count(operation, &self.path);
        match (counted.is_ok(), change, &disk.fault) {
            (true, change, _) => disk.file(self.id).change(change),
            (false, Change::Write(offset, mut bytes), Fault::Once { .. }) => {
                bytes.truncate(bytes.len() / 2);
                disk.file(self.id).change(Change::Write(offset, bytes));
            }
            // The write the power failed in; later ones never reached the disk.
            (false, change, Fault::PowerOut { after }) if disk.operations == after + 1 => {
                disk.file(self.id).change(change);
            }
            (false, ..) => {}
        }
        counted
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.fs.lock();
        disk.count(Operation::Sync, &self.path)?;
        disk.file(self.id).sync();
        Ok(())
    }
}

impl File for MemFile {
    fn len(&self) -> Result<u64> {
        Ok(self.fs.lock().file(self.id).live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut disk = self.fs.lock();
        let live = &disk.file(self.id).live;
        let from = index(offset).min(live.len());
        let read = buffer.len().min(live.len() - from);
        buffer[..read].copy_from_slice(&live[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.change(Operation::Write, Change::Write(index(offset), bytes.to_vec()))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(Operation::SetLen, Change::SetLen(index(len)))
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let longer = self.len()?.max(len);
        self.change(Operation::Allocate, Change::SetLen(index(longer)))
    }

    fn sync_data(&self) -> Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> Result<()> {
        self.sync()
    }

    fn try_lock(&self) -> Result<()> {
        let mut mine = self.holds_lock.lock().expect("no holder of this flag panics");
        let mut disk = self.fs.lock();
        let file = disk.file(self.id);
        if file.locked && !*mine {
            let kind = io::ErrorKind::WouldBlock;
            return Err(Error::new(Operation::Lock, &self.path, kind.into()));
        }
        file.locked = true;
        *mine = true;
        Ok(())
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        if *self.holds_lock.get_mut().expect("no holder of this flag panics") {
            self.fs.lock().file(self.id).locked = false;
        }
    }
}

type NodeId = u64;

const ROOT: NodeId = 0;

#[derive(Debug)]
struct Disk {
    /// Files and directories, also those no entry leads to any more.
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    operations: u64,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    None,
    /// The operation of this number fails.
    Once {
        at: u64,
    },
    /// The sync so many syncs from now fails; 0 is none.
    Sync {
        after: u64,
    },
    /// Every operation after this number fails.
    PowerOut {
        after: u64,
    },
}

impl Disk {
    /// Counts an operation, or fails it if its time has come.
    fn count(&mut self, operation: Operation, path: &Path) -> Result<()> {
        self.operations += 1;
        let fails = match &mut self.fault {
            Fault::None => false,
            Fault::Sync { after } => {
                let this = operation == Operation::Sync && *after > 0;
                *after -= u64::from(this);
                this && *after == 0
            }
            Fault::Once { at } => self.operations == *at,
            Fault::PowerOut { after } => self.operations > *after,
        };
        if fails {
            return Err(Error::new(operation, path, io::Error::other("planned disk failure")));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    fn find(&self, path: &Path) -> Option<NodeId> {
        names(path).try_fold(ROOT, |dir, name| match &self.nodes[&dir] {
            Node::Dir(dir) => dir.live.get(&name).copied(),
            Node::File(_) => None,
        })
    }

    fn find_dir(&self, operation: Operation, path: &Path) -> Result<NodeId> {
        match self.find(path) {
            Some(id) if matches!(self.nodes[&id], Node::Dir(_)) => Ok(id),
            Some(_) => Err(Error::new(operation, path, io::ErrorKind::NotADirectory.into())),
            None => Err(Error::new(operation, path, io::ErrorKind::NotFound.into())),
        }
    }

    /// The directory that holds `path` and the name in it.
    fn split(&self, path: &Path) -> std::result::Result<(NodeId, String), io::ErrorKind> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let dir = self.find(path.parent().unwrap_or(Path::new("/")));
        match dir.filter(|id| matches!(self.nodes[id], Node::Dir(_))) {
            Some(dir) => Ok((dir, name)),
            None => Err(io::ErrorKind::NotFound),
        }
    }

    fn file(&mut self, id: NodeId) -> &mut FileNode {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => file,
            Some(Node::Dir(_)) | None => unreachable!("a handle names the file it opened"),
        }
    }

    fn dir(&mut self, id: NodeId) -> &mut DirNode {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => dir,
            Some(Node::File(_)) | None => unreachable!("looked up as a directory just before"),
        }
    }
}

#[derive(Debug)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

impl Node {
    fn after_crash(&self, odds: usize, random: &mut Random) -> Self {
        match self {
            Self::File(file) => Self::File(file.after_crash(odds, random)),
            Self::Dir(dir) => Self::Dir(dir.after_crash(odds, random)),
        }
    }

    fn settled(&self) -> Self {
        match self {
            Self::File(file) => Self::File(FileNode::settled_on(file.live.clone())),
            Self::Dir(dir) => Self::Dir(DirNode::settled_on(dir.live.clone())),
        }
    }
}

#[derive(Debug, Default)]
struct FileNode {
    durable: Vec<u8>,
    live: Vec<u8>,
    pending: Vec<Change>,
    locked: bool,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl FileNode {
    fn settled_on(content: Vec<u8>) -> Self {
        Self { durable: content.clone(), live: content, pending: Vec::new(), locked: false }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// The disk takes a sector as it is in memory when its turn comes, so each sector has the
    /// content after some of the changes, with all that were made to it before.
    fn after_crash(&self, odds: usize, random: &mut Random) -> Self {
        let mut content = self.durable.clone();
        let mut live = self.durable.clone();
        for change in &self.pending {
            change.apply(&mut live);
            match change {
                Change::SetLen(len) if random.happens(odds) => content.resize(*len, 0),
                Change::SetLen(_) => {}
                Change::Write(offset, bytes) => {
                    let first = offset / SECTOR_BYTES;
                    let end = (offset + bytes.len()).div_ceil(SECTOR_BYTES);
                    for at in (first..end).map(|sector| sector * SECTOR_BYTES) {
                        if random.happens(odds) {
                            write(&mut content, at, &live[at..live.len().min(at + SECTOR_BYTES)]);
                        }
                    }
                }
            }
        }
        Self::settled_on(content)
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write(content, *offset, bytes),
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
struct DirNode {
    durable: BTreeMap<String, NodeId>,
    live: BTreeMap<String, NodeId>,
    pending: Vec<EntryChange>,
}

#[derive(Debug)]
enum EntryChange {
    Link(String, NodeId),
    Unlink(String),
    Rename(String, String),
}

impl DirNode {
    fn settled_on(entries: BTreeMap<String, NodeId>) -> Self {
        Self { durable: entries.clone(), live: entries, pending: Vec::new() }
    }

    fn change(&mut self, change: EntryChange) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn after_crash(&self, odds: usize, random: &mut Random) -> Self {
        let mut entries = self.durable.clone();
        for change in self.pending.iter().take_while(|_| random.happens(odds)) {
            change.apply(&mut entries);
        }
        Self::settled_on(entries)
    }
}

impl EntryChange {
    fn apply(&self, entries: &mut BTreeMap<String, NodeId>) {
        match self {
            Self::Link(name, id) => _ = entries.insert(name.clone(), *id),
            Self::Unlink(name) => _ = entries.remove(name),
            Self::Rename(from, to) => {
                if let Some(id) = entries.remove(from) {
                    entries.insert(to.clone(), id);
                }
            }
        }
    }
}

/// The names along a path, without root and dots.
fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a disk in memory is smaller than memory")
}

#[cfg(test)]
mod tests;
