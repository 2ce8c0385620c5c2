//! Users and roles: not built yet, but for saying that there are none.
//!
//! Invariant: what is not built is refused by name; nothing is taken and forgotten.

use crate::grpc::fill_revision;
use crate::grpc::status::status;
use api::etcdserverpb::auth_server;
use api::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
    AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
    AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
    AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
    AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest,
    AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse, InternalRaftRequest,
};
use server::Server;
use tonic::{Request, Response, Status};

pub(crate) struct Auth {
    server: Server,
}

type Answer<T> = Result<Response<T>, Status>;

/// The revision of users and roles before the first of them.
const FIRST_REVISION: u64 = 1;

impl Auth {
    pub(crate) fn new(server: Server) -> Self {
        Self { server }
    }
}

fn not_built<T>(what: &str) -> Answer<T> {
    Err(Status::unimplemented(format!("{what} is not built yet")))
}

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    /// Compat: asked through the log, as every request about users and roles.
    async fn auth_status(&self, request: Request<AuthStatusRequest>) -> Answer<AuthStatusResponse> {
        let auth_status = Some(request.into_inner());
        let request = InternalRaftRequest { auth_status, ..Default::default() };
        self.server.propose(request).await.map_err(status)?;
        let mut response =
            AuthStatusResponse { header: None, enabled: false, auth_revision: FIRST_REVISION };
        fill_revision(&self.server, &mut response.header);
        Ok(Response::new(response))
    }

    async fn authenticate(&self, _: Request<AuthenticateRequest>) -> Answer<AuthenticateResponse> {
        Err(api::Error::AuthNotEnabled.into())
    }

    async fn auth_enable(&self, _: Request<AuthEnableRequest>) -> Answer<AuthEnableResponse> {
        not_built("AuthEnable")
    }

    async fn auth_disable(&self, _: Request<AuthDisableRequest>) -> Answer<AuthDisableResponse> {
        not_built("AuthDisable")
    }

    async fn user_add(&self, _: Request<AuthUserAddRequest>) -> Answer<AuthUserAddResponse> {
        not_built("UserAdd")
    }

    async fn user_get(&self, _: Request<AuthUserGetRequest>) -> Answer<AuthUserGetResponse> {
        not_built("UserGet")
    }

    async fn user_list(&self, _: Request<AuthUserListRequest>) -> Answer<AuthUserListResponse> {
        not_built("UserList")
    }

    async fn user_delete(
        &self,
        _: Request<AuthUserDeleteRequest>,
    ) -> Answer<AuthUserDeleteResponse> {
        not_built("UserDelete")
    }

    async fn user_change_password(
        &self,
        _: Request<AuthUserChangePasswordRequest>,
    ) -> Answer<AuthUserChangePasswordResponse> {
        not_built("UserChangePassword")
    }

    async fn user_grant_role(
        &self,
        _: Request<AuthUserGrantRoleRequest>,
    ) -> Answer<AuthUserGrantRoleResponse> {
        not_built("UserGrantRole")
    }

    async fn user_revoke_role(
        &self,
        _: Request<AuthUserRevokeRoleRequest>,
    ) -> Answer<AuthUserRevokeRoleResponse> {
        not_built("UserRevokeRole")
    }

    async fn role_add(&self, _: Request<AuthRoleAddRequest>) -> Answer<AuthRoleAddResponse> {
        not_built("RoleAdd")
    }

    async fn role_get(&self, _: Request<AuthRoleGetRequest>) -> Answer<AuthRoleGetResponse> {
        not_built("RoleGet")
    }

    async fn role_list(&self, _: Request<AuthRoleListRequest>) -> Answer<AuthRoleListResponse> {
        not_built("RoleList")
    }

    async fn role_delete(
        &self,
        _: Request<AuthRoleDeleteRequest>,
    ) -> Answer<AuthRoleDeleteResponse> {
        not_built("RoleDelete")
    }

    async fn role_grant_permission(
        &self,
        _: Request<AuthRoleGrantPermissionRequest>,
    ) -> Answer<AuthRoleGrantPermissionResponse> {
        not_built("RoleGrantPermission")
    }

    async fn role_revoke_permission(
        &self,
        _: Request<AuthRoleRevokePermissionRequest>,
    ) -> Answer<AuthRoleRevokePermissionResponse> {
        not_built("RoleRevokePermission")
    }
}
