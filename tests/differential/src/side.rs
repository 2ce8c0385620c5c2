//! One of the two servers, as a program sees it: it is sent steps, and its answers are brought to
//! a form that does not say which server gave them.

use crate::kept::mask;
use crate::revisions::{ME, resolve};
use crate::watches::{Items, Stream};
use crate::{Request, Response, Step};
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, RangeRequest, RangeResponse, ResponseHeader,
    StatusRequest,
};
use api::v3electionpb::election_client::ElectionClient;
use api::v3electionpb::{LeaderRequest, LeaderResponse};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long an answer may take. etcd itself gives up on a proposal after 7 s.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What a server said to a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    One(Box<Response>),
    Pieces(Vec<RangeResponse>, Option<(Code, String)>),
    Beat(Option<LeaseKeepAliveResponse>),
    Leader(Option<LeaderResponse>),
    Refused(Code, String),
    Created(Items),
    Settled(BTreeMap<u8, BTreeMap<i64, Items>>),
    Nothing,
    /// No answer in time, or the connection broke: the server is not well, whatever the other says.
    Lost(String),
}

/// Who a server is, and where its log stood when it was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    cluster: u64,
    member: u64,
    term: u64,
    index: u64,
}

/// One of the two servers.
#[derive(Debug)]
pub(crate) struct Side {
    channel: Channel,
    identity: Identity,
    streams: BTreeMap<u8, Stream>,
}

impl Side {
    /// Meets a server. Gives its store's revision too.
    pub(crate) async fn meet(channel: Channel) -> (Self, i64) {
        let asked = Request::Status(StatusRequest {}).send(channel.clone()).await;
        let Ok(Response::Status(status)) = asked else { panic!("no status: {asked:?}") };
        let header = status.header.expect("an answer has a header");
        let identity = Identity {
            cluster: header.cluster_id,
            member: header.member_id,
            term: header.raft_term,
            index: status.raft_index,
        };
        (Self { channel, identity, streams: BTreeMap::new() }, header.revision)
    }

    /// Asks it one thing, its store being at `revision`.
    pub(crate) async fn ask(&mut self, step: &Step, revision: i64) -> Answer {
        let step = resolve(step, revision, self.identity.member);
        let answer = tokio::time::timeout(ANSWER_MAX, self.answer(step, revision)).await;
        answer.unwrap_or_else(|_late| Answer::Lost(format!("no answer in {ANSWER_MAX:?}")))
    }

    async fn answer(&mut self, step: Step, revision: i64) -> Answer {
        match step {
            Step::Unary(request) => match request.send(self.channel.clone()).await {
                Ok(mut response) => {
                    self.identity.strip(&mut response);
                    mask(&mut response);
                    Answer::One(Box::new(response))
                }
                Err(status) => refused(&status),
            },
            Step::RangeStream(request) => self.pieces(request).await,
            Step::KeepAlive(request) => self.beat(request).await,
            Step::Observe(request) => self.observe(request).await,
            Step::Watch(stream, request) => {
                let stream = match self.streams.entry(stream) {
                    std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                    std::collections::btree_map::Entry::Vacant(place) => {
                        match Stream::open(self.channel.clone()).await {
                            Ok(stream) => place.insert(stream),
                            Err(status) => return refused(&status),
                        }
                    }
                };
                match stream.say(request, revision).await {
                    Ok(items) => Answer::Created(items),
                    Err(status) => refused(&status),
                }
            }
            Step::Close(stream) => {
                self.streams.remove(&stream);
                Answer::Nothing
            }
            Step::Settle => {
                for stream in self.streams.values_mut() {
                    if let Err(status) = stream.settle(revision).await {
                        return refused(&status);
                    }
                }
                let told = |(&name, stream): (&u8, &Stream)| (name, stream.told().clone());
                Answer::Settled(self.streams.iter().map(told).collect())
            }
        }
    }

    /// The revision up to which some watcher of its waits to begin.
    pub(crate) fn ahead(&self) -> i64 {
        self.streams.values().map(Stream::ahead).max().unwrap_or(0)
    }

    /// Whether a step looks at what watchers were told, or would change what is told to those
    /// that have not caught up yet: then they are let catch up first.
    pub(crate) fn unsettled_by(&self, step: &Step) -> bool {
        match step {
            Step::Unary(Request::Compact(_)) | Step::Close(_) => {
                self.streams.values().any(Stream::lags)
            }
            Step::Watch(stream, request) => {
                let cancels = matches!(
                    request.request_union,
                    Some(api::etcdserverpb::watch_request::RequestUnion::CancelRequest(_))
                );
                cancels && self.streams.contains_key(stream)
            }
            _ => false,
        }
    }

    async fn pieces(&mut self, request: RangeRequest) -> Answer {
        let client = KvClient::new(self.channel.clone());
        let mut client = client.max_decoding_message_size(usize::MAX);
        let mut pieces = Vec::new();
        let mut stream = match client.range_stream(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return refused(&status),
        };
        loop {
            match stream.message().await {
                Ok(Some(piece)) => {
                    let mut piece = piece.range_response.unwrap_or_default();
                    self.identity.strip_header(piece.header.as_mut());
                    pieces.push(piece);
                }
                Ok(None) => return Answer::Pieces(pieces, None),
                Err(status) => {
                    let end = (status.code(), status.message().to_owned());
                    return Answer::Pieces(pieces, Some(end));
                }
            }
        }
    }

    async fn beat(&mut self, request: LeaseKeepAliveRequest) -> Answer {
        let mut client = LeaseClient::new(self.channel.clone());
        let beats = futures_util::stream::iter([request]);
        let answer = async { client.lease_keep_alive(beats).await?.into_inner().message().await };
        match answer.await {
            Ok(mut beat) => {
                self.identity.strip_header(beat.as_mut().and_then(|beat| beat.header.as_mut()));
                Answer::Beat(beat)
            }
            Err(status) => refused(&status),
        }
    }

    async fn observe(&mut self, request: LeaderRequest) -> Answer {
        let mut client = ElectionClient::new(self.channel.clone());
        let answer = async { client.observe(request).await?.into_inner().message().await };
        match answer.await {
            Ok(mut told) => {
                self.identity.strip_header(told.as_mut().and_then(|told| told.header.as_mut()));
                Answer::Leader(told)
            }
            Err(status) => refused(&status),
        }
    }
}

impl Answer {
    /// The store's revision that it tells of.
    pub(crate) fn revision(&mut self) -> Option<i64> {
        match self {
            Answer::One(response) => response.header_mut().map(|header| header.revision),
            Answer::Leader(Some(told)) => told.header.map(|header| header.revision),
            _ => None,
        }
    }
}

impl Identity {
    /// Takes from an answer what tells this server from another one.
    fn strip(self, response: &mut Response) {
        self.strip_header(response.header_mut());
        match response {
            Response::Status(status) => {
                self.strip_member(&mut status.leader);
                self.strip_term(&mut status.raft_term);
                status.raft_index = status.raft_index.wrapping_sub(self.index);
                status.raft_applied_index = status.raft_applied_index.wrapping_sub(self.index);
                for error in &mut status.errors {
                    *error = error.replace(&self.member.to_string(), "ME");
                }
            }
            Response::Alarm(alarm) => {
                alarm.alarms.iter_mut().for_each(|alarm| self.strip_member(&mut alarm.member_id));
            }
            Response::Members(members) => {
                members.members.iter_mut().for_each(|member| self.strip_member(&mut member.id));
            }
            _ => {}
        }
    }

    /// What is not this server's own stays as it is: then it differs.
    fn strip_header(self, header: Option<&mut ResponseHeader>) {
        let Some(header) = header else { return };
        if header.cluster_id == self.cluster {
            header.cluster_id = 1;
        }
        self.strip_member(&mut header.member_id);
        self.strip_term(&mut header.raft_term);
    }

    fn strip_member(self, id: &mut u64) {
        if *id == self.member {
            *id = ME;
        }
    }

    fn strip_term(self, term: &mut u64) {
        if *term == self.term {
            *term = 1;
        }
    }
}

fn refused(status: &Status) -> Answer {
    // What the server itself says has no cause on this side.
    if let Some(cause) = std::error::Error::source(status) {
        return Answer::Lost(format!("{status:?}: {cause}"));
    }
    Answer::Refused(status.code(), status.message().to_owned())
}
