//! A log file that gives way to a new one when it is large, as lumberjack does it for etcd.
//!
//! The full file gets the moment's name (`etcd-2026-01-02T15-04-05.000.log`) and stays beside the
//! new one; a thread of its own compresses old ones and removes those that are too many or too
//! old, so that nobody who logs waits for it. What it is not: a promise that lines are durable.
//!
//! Source: `gopkg.in/natefinch/lumberjack.v2`, by its documentation and by experiment.

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use vfs::{Fs as _, OsFs};

/// When a file is full, and what becomes of those that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file, at most.
    pub max_bytes: u64,
    /// Days after which a full one is removed; 0 for never.
    pub max_age_days: u32,
    /// Full ones kept; 0 for all.
    pub max_backups: u32,
    /// Whether their names have the machine's time rather than UTC.
    pub local_time: bool,
    /// Whether they are compressed.
    pub compress: bool,
}

/// The same in JSON, in which etcd's flag has it.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Json {
    maxsize: u32,
    maxage: u32,
    maxbackups: u32,
    localtime: bool,
    compress: bool,
}

/// Megabytes of a file if nothing is said.
const DEFAULT_MEGABYTES: u32 = 100;

const NAME_TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

impl Rotation {
    /// Reads etcd's flag.
    ///
    /// # Errors
    /// What is wrong with it, beginning with etcd's words.
    pub fn parse(json: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => format!("invalid log rotation config: {error}"),
            _ => format!("improperly formatted log rotation config: {error}"),
        })?;
        let megabytes = if json.maxsize == 0 { DEFAULT_MEGABYTES } else { json.maxsize };
        Ok(Self {
            max_bytes: u64::from(megabytes) << 20,
            max_age_days: json.maxage,
            max_backups: json.maxbackups,
            local_time: json.localtime,
            compress: json.compress,
        })
    }
}

/// A file with its rules.
pub(super) struct Rotating {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
    /// Wakes the thread that looks after full ones. It ends with the process.
    mill: SyncSender<()>,
}

impl Rotating {
    /// Goes on with the file that is there, or makes one.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open_file(path)?;
        let bytes = file.metadata()?.len();
        // One request is enough: whoever looks sees all that is there.
        let (mill, requests) = sync_channel(1);
        let (of_mill, rules) = (path.to_owned(), rotation.clone());
        let look = move || {
            while requests.recv().is_ok() {
                // It is tried again the next time.
                let _ = clean_up(&of_mill, &rules, Timestamp::now());
            }
        };
        std::thread::Builder::new().name("log-files".to_owned()).spawn(look)?;
        let rotating = Self { path: path.to_owned(), rotation, file, bytes, mill };
        rotating.wake();
        Ok(rotating)
    }

    /// Writes a line, to a new file if this one has no room for it. If there can be no new one,
    /// the line is written all the same, and the next one tries again.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let len = line.len() as u64;
        let is_full = self.bytes > 0 && self.bytes + len > self.rotation.max_bytes;
        let rotated = if is_full { self.rotate(&ZonedDateTime::now()) } else { Ok(()) };
        self.bytes += len;
        self.file.write_all(line).and(rotated)
    }

    fn rotate(&mut self, now: &ZonedDateTime) -> io::Result<()> {
        let full = full_name(&self.path, now, self.rotation.local_time);
        OsFs.rename(&self.path, &full).map_err(io::Error::other)?;
        self.file = open_file(&self.path)?;
        self.bytes = 0;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // If there is no room, it is about to look anyway.
        let _ = self.mill.try_send(());
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A file's name in three parts: folder, what comes before the time, what comes behind it.
fn parts(path: &Path) -> (PathBuf, String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let folder = if folder.as_os_str().is_empty() { ".".into() } else { folder };
    let ending = text(path.extension());
    let ending = if ending.is_empty() { ending } else { format!(".{ending}") };
    (folder, format!("{}-", text(path.file_stem())), ending)
}

fn full_name(path: &Path, now: &ZonedDateTime, local: bool) -> PathBuf {
    let (folder, before, behind) = parts(path);
    let time = if local {
        now.datetime()
    } else {
        now.timestamp().to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime()
    };
    folder.join(format!("{before}{}{behind}", time.strftime(NAME_TIME)))
}

/// A full file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Full {
    time: DateTime,
    name: String,
    is_compressed: bool,
}

/// Full files, the oldest first.
fn full_files(path: &Path) -> io::Result<BTreeSet<Full>> {
    let (folder, before, behind) = parts(path);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let plain = name.strip_suffix(".gz");
        let is_compressed = plain.is_some();
        let time = plain.unwrap_or(&name).strip_prefix(&before);
        let time = time.and_then(|time| time.strip_suffix(&behind));
        let Some(Ok(time)) = time.map(|time| DateTime::strptime(NAME_TIME, time)) else { continue };
        found.insert(Full { time, name, is_compressed });
    }
    Ok(found)
}

/// Removes what is too much or too old, and compresses the rest.
fn clean_up(path: &Path, rules: &Rotation, now: Timestamp) -> io::Result<()> {
    let folder = parts(path).0;
    // Compat: names count as UTC whatever they have.
    let now = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime();
    let age = SignedDuration::from_hours(24 * i64::from(rules.max_age_days));
    let oldest = now.checked_sub(age).unwrap_or(DateTime::MIN);
    let mut times = BTreeSet::new();
    for full in full_files(path)?.into_iter().rev() {
        // One that was being compressed when the process ended is there twice, and counts once.
        times.insert(full.time);
        let too_many = rules.max_backups > 0 && times.len() > rules.max_backups as usize;
        let too_old = rules.max_age_days > 0 && full.time < oldest;
        let file = folder.join(&full.name);
        if too_many || too_old {
            fs::remove_file(&file)?;
        } else if rules.compress && !full.is_compressed {
            compress(&file)?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&name)?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn rules() -> Rotation {
        Rotation {
            max_bytes: 10,
            max_age_days: 0,
            max_backups: 0,
            local_time: false,
            compress: false,
        }
    }

    fn names(path: &Path) -> Vec<String> {
        let full = full_files(path).expect("a folder");
        full.into_iter().map(|full| full.name).collect()
    }

    #[test]
    fn the_flag_is_read() {
        let default = "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \
                       \"compress\": false}";
        let rotation = Rotation::parse(default).expect("etcd's default");
        assert_eq!(rotation, Rotation { max_bytes: 100 << 20, ..rules() });
        let some = Rotation::parse("{\"maxbackups\": 3, \"compress\": true, \"x\": 1}");
        let want = Rotation { max_bytes: 100 << 20, max_backups: 3, compress: true, ..rules() };
        assert_eq!(some, Ok(want));
        let error = |text: &str| Rotation::parse(text).expect_err(text);
        assert!(error("{").starts_with("improperly formatted log rotation config: "));
        assert!(error("{\"maxsize\":\"1\"}").starts_with("invalid log rotation config: "));
    }

    #[test]
    fn a_full_file_gives_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.log");
        let mut file = Rotating::open(&path, rules()).expect("a file");
        for line in ["1234567\n", "ab\n", "a line of more than ten bytes\n", "c\n"] {
            file.write(line.as_bytes()).expect("a line");
        }
        assert_eq!(fs::read_to_string(&path).expect("a log"), "c\n");
        let full = names(&path);
        assert!((1..=3).contains(&full.len()), "within a millisecond they have one name: {full:?}");
        drop(file);
        // What is there counts after a restart.
        fs::write(&path, "123456789\n").expect("a file");
        let mut file = Rotating::open(&path, rules()).expect("a file");
        file.write(b"d\n").expect("a line");
        assert_eq!(fs::read_to_string(&path).expect("a log"), "d\n");
    }

    #[test]
    fn lines_are_kept_if_there_can_be_no_new_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.log");
        let mut file = Rotating::open(&path, rules()).expect("a file");
        file.write(b"12345678\n").expect("a line");
        let kept = folder.path().join("kept");
        fs::hard_link(&path, &kept).expect("a second name");
        fs::remove_file(&path).expect("it is there");
        file.write(b"abc\n").expect_err("what is gone cannot be renamed");
        assert_eq!(fs::read_to_string(&kept).expect("a log"), "12345678\nabc\n");
    }

    #[test]
    fn names_have_the_time() {
        let now: ZonedDateTime = "2026-01-02T15:04:05.678[+02:00]".parse().expect("a moment");
        let name = |local| full_name(Path::new("logs/etcd.log"), &now, local);
        assert_eq!(name(false), Path::new("logs/etcd-2026-01-02T13-04-05.678.log"));
        assert_eq!(name(true), Path::new("logs/etcd-2026-01-02T15-04-05.678.log"));
        let bare = full_name(Path::new("log"), &now, false);
        assert_eq!(bare, Path::new("./log-2026-01-02T13-04-05.678"));
    }

    #[test]
    fn what_is_too_much_or_too_old_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("e.log");
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().expect("a moment");
        let fill = || {
            for day in 1..=5 {
                let name = format!("e-2026-01-0{day}T00-00-00.000.log");
                fs::write(folder.path().join(name), format!("day {day}")).expect("a file");
            }
            fs::write(folder.path().join("e-other.log"), "another's").expect("a file");
        };
        fill();
        clean_up(&path, &Rotation { max_age_days: 7, ..rules() }, now).expect("it is cleaned up");
        assert_eq!(names(&path).len(), 3);
        fill();
        let two = Rotation { max_backups: 2, compress: true, ..rules() };
        clean_up(&path, &two, now).expect("it is cleaned up");
        let kept = ["e-2026-01-04T00-00-00.000.log.gz", "e-2026-01-05T00-00-00.000.log.gz"];
        assert_eq!(names(&path), kept);
        let mut text = String::new();
        let file = File::open(folder.path().join(kept[1])).expect("a file");
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("it is gzip");
        assert_eq!(text, "day 5");
        assert!(folder.path().join("e-other.log").exists());
    }
}
