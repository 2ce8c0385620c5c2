//! The one table of errors that clients are told, with the exact code and text: clients compare
//! both (etcd `api/v3rpc/rpctypes/error.go`).

pub use tonic::Code;

macro_rules! errors {
    ($($name:ident $code:ident $text:literal,)*) => {
        /// An error of the client API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
        #[allow(missing_docs, reason = "each text says what it is")]
        pub enum Error {
            $(#[error($text)] $name,)*
        }

        impl Error {
            /// All of them, in the table's order.
            pub const ALL: &[Error] = &[$(Error::$name),*];

            /// The status code it goes out with.
            #[must_use]
            pub fn code(self) -> Code {
                match self {
                    $(Error::$name => Code::$code,)*
                }
            }

            /// The text it goes out with.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Error::$name => $text,)*
                }
            }
        }
    };
}

// Compat: TooManyRequests and MemberNotEnoughStarted are mapped to the client's form of the error
// in etcd's server, so that their code on the wire is Unknown.
errors! {
    EmptyKey InvalidArgument "etcdserver: key is not provided",
    KeyNotFound InvalidArgument "etcdserver: key not found",
    ValueProvided InvalidArgument "etcdserver: value is provided",
    LeaseProvided InvalidArgument "etcdserver: lease is provided",
    TooManyOps InvalidArgument "etcdserver: too many operations in txn request",
    DuplicateKey InvalidArgument "etcdserver: duplicate key given in txn request",
    InvalidClientApiVersion InvalidArgument "etcdserver: invalid client api version",
    InvalidSortOption InvalidArgument "etcdserver: invalid sort option",
    MemberBadUrls InvalidArgument "etcdserver: given member URLs are invalid",
    RequestTooLarge InvalidArgument "etcdserver: request is too large",
    UserEmpty InvalidArgument "etcdserver: user name is empty",
    RoleEmpty InvalidArgument "etcdserver: role name is empty",
    AuthFailed InvalidArgument "etcdserver: authentication failed, invalid user ID or password",
    PermissionNotGiven InvalidArgument "etcdserver: permission not given",
    InvalidAuthMgmt InvalidArgument "etcdserver: invalid auth management",
    AuthOldRevision InvalidArgument "etcdserver: revision of auth store is old",
    WrongDowngradeVersionFormat InvalidArgument "etcdserver: wrong downgrade target version format",
    InvalidDowngradeTargetVersion InvalidArgument "etcdserver: invalid downgrade target version",
    Compacted OutOfRange "etcdserver: mvcc: required revision has been compacted",
    FutureRev OutOfRange "etcdserver: mvcc: required revision is a future revision",
    LeaseTtlTooLarge OutOfRange "etcdserver: too large lease TTL",
    NoSpace ResourceExhausted "etcdserver: mvcc: database space exceeded",
    TooManyRequests Unknown "etcdserver: too many requests",
    LeaseNotFound NotFound "etcdserver: requested lease not found",
    MemberNotFound NotFound "etcdserver: member not found",
    MemberNotEnoughStarted Unknown "etcdserver: re-configuration failed due to not enough started members",
    LeaseExist FailedPrecondition "etcdserver: lease already exists",
    MemberExist FailedPrecondition "etcdserver: member ID already exist",
    PeerUrlExist FailedPrecondition "etcdserver: Peer URLs already exists",
    MemberNotLearner FailedPrecondition "etcdserver: can only promote a learner member",
    LearnerNotReady FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader",
    TooManyLearners FailedPrecondition "etcdserver: too many learner members in cluster",
    ClusterIdMismatch FailedPrecondition "etcdserver: cluster ID mismatch",
    RootUserNotExist FailedPrecondition "etcdserver: root user does not exist",
    RootRoleNotExist FailedPrecondition "etcdserver: root user does not have root role",
    UserAlreadyExist FailedPrecondition "etcdserver: user name already exists",
    UserNotFound FailedPrecondition "etcdserver: user name not found",
    RoleAlreadyExist FailedPrecondition "etcdserver: role name already exists",
    RoleNotFound FailedPrecondition "etcdserver: role name not found",
    RoleNotGranted FailedPrecondition "etcdserver: role is not granted to the user",
    PermissionNotGranted FailedPrecondition "etcdserver: permission is not granted to the role",
    AuthNotEnabled FailedPrecondition "etcdserver: authentication is not enabled",
    NotLeader FailedPrecondition "etcdserver: not leader",
    NotCapable FailedPrecondition "etcdserver: not capable",
    NotSupportedForLearner FailedPrecondition "etcdserver: rpc not supported for learner",
    BadLeaderTransferee FailedPrecondition "etcdserver: bad leader transferee",
    ClusterVersionUnavailable FailedPrecondition "etcdserver: cluster version not found during downgrade",
    DowngradeInProcess FailedPrecondition "etcdserver: cluster has a downgrade job in progress",
    NoInflightDowngrade FailedPrecondition "etcdserver: no inflight downgrade job",
    NoLeader Unavailable "etcdserver: no leader",
    LeaderChanged Unavailable "etcdserver: leader changed",
    Stopped Unavailable "etcdserver: server stopped",
    Timeout Unavailable "etcdserver: request timed out",
    TimeoutDueToLeaderFail Unavailable "etcdserver: request timed out, possibly due to previous leader failure",
    TimeoutDueToConnectionLost Unavailable "etcdserver: request timed out, possibly due to connection lost",
    TimeoutWaitAppliedIndex Unavailable "etcdserver: request timed out, waiting for the applied index took too long",
    Unhealthy Unavailable "etcdserver: unhealthy cluster",
    PermissionDenied PermissionDenied "etcdserver: permission denied",
    InvalidAuthToken Unauthenticated "etcdserver: invalid auth token",
    WatchCanceled Cancelled "etcdserver: watch canceled",
    Canceled Cancelled "etcdserver: request canceled",
    DeadlineExceeded DeadlineExceeded "etcdserver: context deadline exceeded",
    Corrupt DataLoss "etcdserver: corrupt cluster",
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        tonic::Status::new(error.code(), error.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn codes_and_texts() {
        let table: Vec<String> =
            Error::ALL.iter().map(|e| format!("{} {e:?}: {e}", i32::from(e.code()))).collect();
        expect_test::expect_file!["error_table.txt"].assert_eq(&(table.join("\n") + "\n"));
    }
}
