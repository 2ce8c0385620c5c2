//! Requests with one answer, as data: one table of what there is.

use api::etcdserverpb::auth_client::AuthClient;
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::*;
use api::v3electionpb::election_client::ElectionClient;
use api::v3electionpb::*;
use api::v3lockpb::lock_client::LockClient;
use api::v3lockpb::*;
use prost::Message;
use tonic::Status;
use tonic::transport::Channel;

macro_rules! unary {
    ($($kind:ident $word:literal $client:ident::$method:ident($request:ty) -> $response:ty;)*) => {
        /// A request with one answer.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is the request of its name")]
        pub enum Request {
            $($kind($request),)*
        }

        /// The answer to a [`Request`].
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is the response of its name")]
        pub enum Response {
            $($kind($response),)*
        }

        impl Request {
            /// What programs written down call it.
            #[must_use]
            pub fn word(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $word,)*
                }
            }

            /// Its message, encoded.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$kind(request) => request.encode_to_vec(),)*
                }
            }

            /// The request that `word` and `message` stand for, if they stand for one.
            #[must_use]
            pub fn decode(word: &str, message: &[u8]) -> Option<Self> {
                match word {
                    $($word => <$request>::decode(message).ok().map(Self::$kind),)*
                    _ => None,
                }
            }

            /// Sends it.
            pub(crate) async fn send(self, channel: Channel) -> Result<Response, Status> {
                match self {
                    $(Self::$kind(request) => {
                        let client = $client::new(channel);
                        let mut client = client.max_decoding_message_size(usize::MAX);
                        let answer = client.$method(request).await?;
                        Ok(Response::$kind(answer.into_inner()))
                    })*
                }
            }
        }

        impl Response {
            /// Its header, where it has one.
            pub(crate) fn header_mut(&mut self) -> Option<&mut ResponseHeader> {
                match self {
                    $(Self::$kind(response) => response.header.as_mut(),)*
                }
            }
        }
    };
}

unary! {
    Range "range" KvClient::range(RangeRequest) -> RangeResponse;
    Put "put" KvClient::put(PutRequest) -> PutResponse;
    DeleteRange "delete" KvClient::delete_range(DeleteRangeRequest) -> DeleteRangeResponse;
    Txn "txn" KvClient::txn(TxnRequest) -> TxnResponse;
    Compact "compact" KvClient::compact(CompactionRequest) -> CompactionResponse;
    Grant "grant" LeaseClient::lease_grant(LeaseGrantRequest) -> LeaseGrantResponse;
    Revoke "revoke" LeaseClient::lease_revoke(LeaseRevokeRequest) -> LeaseRevokeResponse;
    TimeToLive "ttl" LeaseClient::lease_time_to_live(LeaseTimeToLiveRequest)
        -> LeaseTimeToLiveResponse;
    Leases "leases" LeaseClient::lease_leases(LeaseLeasesRequest) -> LeaseLeasesResponse;
    HashKv "hashkv" MaintenanceClient::hash_kv(HashKvRequest) -> HashKvResponse;
    Status "status" MaintenanceClient::status(StatusRequest) -> StatusResponse;
    Alarm "alarm" MaintenanceClient::alarm(AlarmRequest) -> AlarmResponse;
    Defragment "defragment" MaintenanceClient::defragment(DefragmentRequest) -> DefragmentResponse;
    Members "members" ClusterClient::member_list(MemberListRequest) -> MemberListResponse;
    AuthStatus "auth-status" AuthClient::auth_status(AuthStatusRequest) -> AuthStatusResponse;
    Lock "lock" LockClient::lock(LockRequest) -> LockResponse;
    Unlock "unlock" LockClient::unlock(UnlockRequest) -> UnlockResponse;
    Campaign "campaign" ElectionClient::campaign(CampaignRequest) -> CampaignResponse;
    Proclaim "proclaim" ElectionClient::proclaim(ProclaimRequest) -> ProclaimResponse;
    Leader "leader" ElectionClient::leader(LeaderRequest) -> LeaderResponse;
    Resign "resign" ElectionClient::resign(ResignRequest) -> ResignResponse;
}
