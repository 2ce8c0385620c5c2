//! From a member's errors to what goes out.

use server::Error;
use tonic::Status;

/// Compat: what the table does not have goes out as Unknown with its text.
pub(crate) fn status(error: Error) -> Status {
    match error {
        Error::Api(error) => error.into(),
        Error::Other(text) => Status::unknown(text),
    }
}

/// What a read comes to. Damage that a read finds is this member's fault, and is told as such.
pub(crate) fn read_status(error: &mvcc::Error) -> Status {
    match error {
        mvcc::Error::Compacted => api::Error::Compacted.into(),
        mvcc::Error::FutureRev => api::Error::FutureRev.into(),
        error => {
            tracing::error!(error = error as &dyn std::error::Error, "a read failed");
            Status::data_loss(error.to_string())
        }
    }
}
