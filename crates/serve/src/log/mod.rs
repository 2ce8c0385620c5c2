//! Log lines as etcd writes them: a JSON object each, on stderr, in files, or for people.
//!
//! ```text
//! {"level":"info","ts":"2026-01-02T15:04:05.000000Z","caller":"server/start.rs:9","msg":"..."}
//! ```
//! [`start`] logs from the first moment on; [`configure`] does it as the flags say, once they are
//! read. `line.rs` makes the lines, `output.rs` has where they go, `rotate.rs` changes files.
//!
//! Invariants: a line is written in one piece; the four keys come first and are never empty;
//! fields are in kebab-case; a thread that panics ends the process with a line of its own.

mod line;
mod output;
mod rotate;

pub(crate) use line::timestamp_of;
pub use output::Output;
pub use rotate::Rotation;

use line::{Fields, Line, caller};
use output::Sink;
use serde_json::Value;
use std::panic::{Location, PanicHookInfo};
use std::sync::{OnceLock, PoisonError, RwLock};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is logged, how, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This and all that is worse.
    pub level: Severity,
    /// How lines look.
    pub format: Format,
    /// Where they go.
    pub outputs: Vec<Output>,
    /// When a file gives way to a new one; `None` for never.
    pub rotation: Option<Rotation>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Severity::Info,
            format: Format::Json,
            outputs: vec![Output::Stderr],
            rotation: None,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Json,
    /// For people.
    Console,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For those who work on the server.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong.
    Error,
    /// Compat: a level of etcd's that nothing has.
    Dpanic,
    /// A thread panicked, and the process ends.
    Panic,
    /// The process ends.
    Fatal,
}

impl Severity {
    const ALL: [(Severity, &'static str); 7] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Warn, "warn"),
        (Self::Error, "error"),
        (Self::Dpanic, "dpanic"),
        (Self::Panic, "panic"),
        (Self::Fatal, "fatal"),
    ];

    /// The level of that name, in whatever case; info if there is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name.is_empty() { "info" } else { name };
        let found = Self::ALL.iter().find(|(_, its)| its.eq_ignore_ascii_case(name));
        found.map(|(level, _)| *level)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("info", |(_, name)| name)
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::Dpanic | Self::Panic | Self::Fatal => LevelFilter::OFF,
        }
    }
}

/// The one log of the process.
struct Log {
    state: RwLock<State>,
    filter: reload::Handle<Targets, Registry>,
}

struct State {
    level: Severity,
    format: Format,
    sinks: Vec<Sink>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts logging, as etcd does before it has read its flags; does nothing if it has been started.
pub fn start() {
    let settings = Settings::default();
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let state = State { level: settings.level, format: settings.format, sinks: vec![Sink::Stderr] };
    if LOG.set(Log { state: RwLock::new(state), filter: handle }).is_ok() {
        // Another program around this one may have its own.
        let _ = tracing_subscriber::registry().with(Lines.with_filter(filter)).try_init();
    }
}

/// Logs as the settings say from now on.
///
/// # Errors
/// What cannot be opened, in etcd's words.
pub fn configure(settings: &Settings) -> Result<(), String> {
    let sinks = output::open(&settings.outputs, settings.rotation.as_ref())?;
    start();
    if let Some(log) = LOG.get() {
        let state = State { level: settings.level, format: settings.format, sinks };
        *log.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        // The other end may be in another program's hands.
        let _ = log.filter.reload(targets(settings.level));
    }
    Ok(())
}

/// What others log is of use to those who work on the server only.
fn targets(level: Severity) -> Targets {
    let others = match level {
        Severity::Debug => LevelFilter::INFO,
        Severity::Info => LevelFilter::WARN,
        level => level.filter(),
    };
    Targets::new().with_default(others).with_target("quorate", level.filter())
}

/// Writes a line with more fields than a macro takes, or of a level that macros do not have.
#[track_caller]
pub fn write<'a>(
    level: Severity,
    message: &str,
    fields: impl IntoIterator<Item = (&'a str, Value)>,
) {
    let place = Location::caller();
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    emit(&Line { level, caller: caller(place.file(), place.line()), message, fields });
}

/// Makes the panic of any thread the end of the process, with a last line that says so: a member
/// with a part missing is worse than none.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        write_panic(panic);
        std::process::abort();
    }));
}

fn write_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("a panic without words");
    let thread = std::thread::current();
    let fields = vec![
        ("thread".to_owned(), thread.name().unwrap_or("unnamed").into()),
        ("stacktrace".to_owned(), std::backtrace::Backtrace::force_capture().to_string().into()),
    ];
    let place = panic.location().map(|place| caller(place.file(), place.line()));
    let caller = place.unwrap_or_else(|| "unknown".to_owned());
    emit(&Line { level: Severity::Panic, caller, message, fields });
}

fn emit(line: &Line<'_>) {
    // A thread that panics may have the lock, and a program may never have started the log.
    let state = LOG.get().and_then(|log| log.state.try_read().ok());
    match state {
        Some(state) => {
            if line.level >= state.level {
                let text = line.text(state.format);
                state.sinks.iter().for_each(|sink| sink.write(text.as_bytes()));
            }
        }
        None => Sink::Stderr.write(line.text(Format::Json).as_bytes()),
    }
}

/// What tracing calls with each event.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            tracing::Level::ERROR => Severity::Error,
            tracing::Level::WARN => Severity::Warn,
            tracing::Level::INFO => Severity::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Severity::Debug,
        };
        let place = (metadata.file().unwrap_or("unknown"), metadata.line().unwrap_or_default());
        let message = if fields.message.is_empty() { metadata.name() } else { &fields.message };
        let line = Line { level, caller: caller(place.0, place.1), message, fields: fields.others };
        let Some(log) = LOG.get() else { return };
        let state = log.state.read().unwrap_or_else(PoisonError::into_inner);
        let text = line.text(state.format);
        state.sinks.iter().for_each(|sink| sink.write(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names() {
        for (level, name) in Severity::ALL {
            assert_eq!(Severity::parse(name), Some(level));
            assert_eq!(level.name(), name);
        }
        assert_eq!(Severity::parse("WARN"), Some(Severity::Warn));
        assert_eq!(Severity::parse(""), Some(Severity::Info));
        assert_eq!(Severity::parse("loud"), None);
        assert!(Severity::Fatal > Severity::Error);
    }
}
