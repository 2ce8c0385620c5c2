//! Where log lines go.

use super::rotate::{Rotating, Rotation};
use crate::config::go;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A place for lines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// An open one.
pub(super) enum Sink {
    Stderr,
    Stdout,
    File(File),
    Rotating(Mutex<Rotating>),
}

impl Sink {
    /// Writes a line in one piece. Nobody can be told that it cannot be written.
    pub(super) fn write(&self, line: &[u8]) {
        let written = match self {
            Self::Stderr => std::io::stderr().lock().write_all(line),
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(line).and_then(|()| stdout.flush())
            }
            // One call, at the file's end wherever that is by now.
            Self::File(file) => (&*file).write_all(line),
            Self::Rotating(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
        };
        drop(written);
    }
}

/// Opens all places, each once.
///
/// # Errors
/// What cannot be opened, in etcd's words.
pub(super) fn open(outputs: &[Output], rotation: Option<&Rotation>) -> Result<Vec<Sink>, String> {
    let mut outputs = outputs.to_vec();
    outputs.sort();
    outputs.dedup();
    // Compat: nothing goes anywhere else then.
    let nowhere = Output::File("/dev/null".into());
    if outputs.contains(&nowhere) {
        outputs = vec![nowhere];
    }
    let open = |output: Output| match (output, rotation) {
        (Output::Stderr, _) => Ok(Sink::Stderr),
        (Output::Stdout, _) => Ok(Sink::Stdout),
        (Output::File(path), None) => open_file(&path).map(Sink::File),
        (Output::File(path), Some(rotation)) => {
            let rotating = Rotating::open(&path, rotation.clone());
            let rotating = rotating.map_err(|error| go::io_text("open", &path, &error))?;
            Ok(Sink::Rotating(Mutex::new(rotating)))
        }
    };
    outputs.into_iter().map(open).collect()
}

fn open_file(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| {
        format!("open sink {:?}: {}", path.display().to_string(), go::io_text("open", path, &error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_to_at_their_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        for line in ["one\n", "two\n"] {
            let outputs = [Output::File(path.clone()), Output::File(path.clone())];
            let sinks = open(&outputs, None).unwrap_or_else(|error| panic!("{error}"));
            sinks.iter().for_each(|sink| sink.write(line.as_bytes()));
        }
        assert_eq!(std::fs::read_to_string(&path).expect("a log"), "one\ntwo\n");
        let outputs = [Output::Stderr, Output::File("/dev/null".into())];
        assert_eq!(open(&outputs, None).map(|sinks| sinks.len()), Ok(1));
        let missing = Output::File("no-such-folder/x".into());
        assert_eq!(
            open(&[missing], None).err().as_deref(),
            Some(
                "open sink \"no-such-folder/x\": open no-such-folder/x: no such file or directory"
            )
        );
    }
}
