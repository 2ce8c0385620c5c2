//! A client with small wishes, beside whatever else is done to a server: each of its puts and gets
//! has to succeed, and how long they took is its testimony.

use crate::Server;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::{PutRequest, RangeRequest};
use bytes::Bytes;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How often it asks.
const PERIOD: Duration = Duration::from_millis(5);

/// How long it waits for an answer before it takes itself for not served.
const PATIENCE: Duration = Duration::from_secs(10);

/// The client.
#[derive(Debug)]
pub struct Witness {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Latencies>,
}

/// How long requests took, shortest first.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Witness {
    /// Starts to ask, on a connection of its own.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn start(server: &Server) -> Self {
        let (stop, stopped) = oneshot::channel();
        let client = KvClient::new(server.channel());
        Self { stop, task: tokio::spawn(ask(client, stopped)) }
    }

    /// Ends, and tells.
    ///
    /// # Panics
    /// If a request was refused, not answered in time, or answered wrongly.
    pub async fn end(self) -> Latencies {
        // One that failed is not there to be told; the next line says why.
        let _ = self.stop.send(());
        self.task.await.expect("the witness was served")
    }
}

async fn ask(
    mut client: KvClient<tonic::transport::Channel>,
    mut stopped: oneshot::Receiver<()>,
) -> Latencies {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut took, key) = (Vec::new(), Bytes::from_static(b"witness"));
    for number in 0u64.. {
        tokio::select! {
            _ = period.tick() => {}
            _ = &mut stopped => break,
        }
        let value = Bytes::from(number.to_string());
        let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
        let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let began = Instant::now();
        let done = tokio::time::timeout(PATIENCE, client.put(put)).await;
        done.expect("a put is answered in time").expect("a put is done");
        took.push(began.elapsed());
        let began = Instant::now();
        let found = tokio::time::timeout(PATIENCE, client.range(range)).await;
        let found = found.expect("a get is answered in time").expect("a get is done");
        took.push(began.elapsed());
        assert_eq!(found.into_inner().kvs[0].value, value, "it reads what it wrote");
    }
    took.sort();
    Latencies(took)
}

impl Latencies {
    /// The time that all but so many of a thousand took at most.
    ///
    /// # Panics
    /// If there was no request.
    #[must_use]
    pub fn all_but_of_1000(&self, slow: usize) -> Duration {
        let last = self.0.len().checked_sub(1).expect("somebody asked");
        self.0[last - last * slow / 1000]
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |slow| self.all_but_of_1000(slow).as_secs_f64() * 1000.0;
        write!(
            f,
            "{} small requests of others in {:.1} ms (p99; median {:.1}, worst {:.1})",
            self.0.len(),
            millis(10),
            millis(500),
            millis(0)
        )
    }
}
