//! What a request asks for, by the names that etcd's metrics and logs have, and what it does to
//! the keys, as etcd counts it.

use api::etcdserverpb::InternalRaftRequest;

macro_rules! ops {
    ($($name:ident $field:ident,)*) => {
        /// A kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is named as its request")]
        pub enum Op {
            $($name,)*
            /// None that is known.
            Unknown,
        }

        impl Op {
            /// All kinds.
            pub const ALL: &[Op] = &[$(Op::$name,)* Op::Unknown];

            /// The kind of a request.
            #[must_use]
            pub fn of(request: &InternalRaftRequest) -> Self {
                $(if request.$field.is_some() {
                    return Op::$name;
                })*
                Op::Unknown
            }

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Op::$name => stringify!($name),)*
                    Op::Unknown => "unknown",
                }
            }
        }
    };
}

ops! {
    Put put,
    Txn txn,
    Range range,
    DeleteRange delete_range,
    Compaction compaction,
    LeaseGrant lease_grant,
    LeaseRevoke lease_revoke,
    LeaseCheckpoint lease_checkpoint,
    Alarm alarm,
    Authenticate authenticate,
    AuthEnable auth_enable,
    AuthDisable auth_disable,
    AuthStatus auth_status,
    AuthUserAdd auth_user_add,
    AuthUserDelete auth_user_delete,
    AuthUserChangePassword auth_user_change_password,
    AuthUserGrantRole auth_user_grant_role,
    AuthUserGet auth_user_get,
    AuthUserRevokeRole auth_user_revoke_role,
    AuthRoleAdd auth_role_add,
    AuthRoleGrantPermission auth_role_grant_permission,
    AuthRoleGet auth_role_get,
    AuthRoleRevokePermission auth_role_revoke_permission,
    AuthRoleDelete auth_role_delete,
    AuthUserList auth_user_list,
    AuthRoleList auth_role_list,
    ClusterVersionSet cluster_version_set,
    ClusterMemberAttrSet cluster_member_attr_set,
    DowngradeInfoSet downgrade_info_set,
    DowngradeVersionTest downgrade_version_test,
}

/// What transactions did to the keys, as etcd counts it: a compare, a look at the value before,
/// and a range are each one range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as what it counts")]
pub struct Operations {
    pub ranges: u64,
    pub puts: u64,
    pub deletes: u64,
    /// Transactions of more than one operation.
    pub txns: u64,
    /// Bytes of the keys and values put.
    pub put_bytes: u64,
}

impl Operations {
    /// Adds one transaction of the store.
    pub(crate) fn end(&mut self, txn: Self) {
        self.ranges += txn.ranges;
        self.puts += txn.puts;
        self.deletes += txn.deletes;
        self.put_bytes += txn.put_bytes;
        self.txns += u64::from(txn.ranges + txn.puts + txn.deletes > 1);
    }

    pub(crate) fn put(&mut self, put: &api::etcdserverpb::PutRequest, value_bytes: usize) {
        self.puts += 1;
        self.put_bytes += (put.key.len() + value_bytes) as u64;
    }
}
