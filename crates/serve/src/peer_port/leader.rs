//! What members ask their leader for: renewals of leases, what a lease has left, promotions.
//!
//! Statuses and texts are etcd's: Go members read them.
//!
//! Source: etcd `server/lease/leasehttp/http.go`, `server/etcdserver/api/etcdhttp/peer.go`.

use super::{body, error, full, not_allowed};
use api::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use api::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, ResponseHeader};
use api::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use peer::ResponseBody;
use prost::Message;
use server::{Error, Server};

/// Bytes of a request, at most.
const REQUEST_BYTES_MAX: usize = 64 << 10;

const LEASE_NOT_FOUND: &str = "lease not found";
const WAITED_TOO_LONG: &str = "waiting for node to catch up its applied index has timed out";

/// Renews a lease.
pub(super) async fn renew(server: &Server, request: Request<Incoming>) -> Response<ResponseBody> {
    let LeaseKeepAliveRequest { id } = match read(request).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    match server.lease_renew_for_peer(id).await {
        Ok(ttl) => protobuf(&LeaseKeepAliveResponse { header: None, id, ttl }),
        Err(refused) => refuse(&refused, StatusCode::BAD_REQUEST),
    }
}

/// Says what a lease has left.
pub(super) async fn lease_times(
    server: &Server,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let request: LeaseInternalRequest = match read(request).await {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let Some(LeaseTimeToLiveRequest { id, keys }) = request.lease_time_to_live_request else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match server.lease_times_for_peer(id, keys).await {
        Ok(Some(times)) => {
            let times = LeaseTimeToLiveResponse {
                header: Some(ResponseHeader::default()),
                id,
                ttl: times.ttl,
                granted_ttl: times.granted_ttl,
                keys: times.keys,
            };
            protobuf(&LeaseInternalResponse { lease_time_to_live_response: Some(times) })
        }
        Ok(None) => error(StatusCode::NOT_FOUND, LEASE_NOT_FOUND),
        Err(refused) => refuse(&refused, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Promotes a learner. Compat: its id is decimal, as nowhere else.
pub(super) async fn promote(server: &Server, method: &Method, id: &str) -> Response<ResponseBody> {
    if method != Method::POST {
        return not_allowed("POST");
    }
    let Ok(number) = id.parse::<u64>() else {
        return error(StatusCode::NOT_FOUND, &format!("member {id} not found in cluster"));
    };
    match server.promote_member(number).await {
        Ok(members) => body(StatusCode::OK, member::members_json(members.iter())),
        Err(refused) => {
            let member_id = member::format_id(number);
            tracing::warn!(member_id, error = %refused, "failed to promote a member");
            match refused {
                Error::Api(api::Error::MemberNotFound) => {
                    error(StatusCode::NOT_FOUND, "membership: ID not found")
                }
                Error::Api(api::Error::MemberNotLearner) => {
                    error(StatusCode::PRECONDITION_FAILED, server::NOT_A_LEARNER)
                }
                Error::Api(its @ api::Error::LearnerNotReady) => {
                    error(StatusCode::PRECONDITION_FAILED, its.text())
                }
                _ => body(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    r#"{"message":"Internal Server Error"}"#.to_owned(),
                ),
            }
        }
    }
}

/// Reads a message that is posted.
async fn read<M: Message + Default>(
    request: Request<Incoming>,
) -> Result<M, Response<ResponseBody>> {
    if request.method() != Method::POST {
        // Compat: without a header that says which methods are.
        return Err(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
    }
    let read = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await;
    let read = read.map_err(|failed| match failed.is::<LengthLimitError>() {
        true => error(StatusCode::PAYLOAD_TOO_LARGE, "request body too large"),
        false => error(StatusCode::BAD_REQUEST, "error reading body"),
    })?;
    let unreadable = |_| error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    M::decode(read.to_bytes()).map_err(unreadable)
}

fn refuse(refused: &Error, otherwise: StatusCode) -> Response<ResponseBody> {
    match refused {
        Error::Api(api::Error::LeaseNotFound) => error(StatusCode::NOT_FOUND, LEASE_NOT_FOUND),
        Error::Api(api::Error::TimeoutWaitAppliedIndex) => {
            error(StatusCode::REQUEST_TIMEOUT, WAITED_TOO_LONG)
        }
        refused => error(otherwise, &refused.to_string()),
    }
}

fn protobuf(message: &impl Message) -> Response<ResponseBody> {
    let mut response = Response::new(full(Bytes::from(message.encode_to_vec())));
    let kind = HeaderValue::from_static("application/protobuf");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
