//! An agent in this process, and those who talk to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spoacme_agent::address::Address;
use spoacme_agent::config::{Limits, SocketAccess};
use spoacme_agent::control::{self, Admission};
use spoacme_agent::listener::{Listener, bind_unix};
use spoacme_agent::server::{self, Service};
use spoacme_agent::stats::Counters;
use spoacme_agent::table::Table;
use spoacme_control::{Client, Entry, Owner};
use spoacme_haproxy::spop::{
    Action, Actions, AgentHello, Argument, Disconnect, Frame, FrameId, FrameType, HaproxyHello,
    Message, Notify, Status, StreamId, Value,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst";

pub(crate) fn entry(token: &str) -> Entry {
    Entry::for_host(token, &format!("{token}.thumb"), "example.test").unwrap()
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) service: Arc<Service>,
    pub(crate) stop: CancellationToken,
    serving: JoinHandle<()>,
    directory: TempDir,
}

impl Agent {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let service = Arc::new(Service {
            table: Table::default(),
            counters: Counters::new(Instant::now()),
            limits,
            boot_id: format!("{:?}", directory.path()),
        });
        let access = SocketAccess {
            mode: 0o600,
            group: None,
        };
        let address = Address::Unix(directory.path().join("spop.sock"));
        let listeners = vec![Listener::bind(&address, &access).await.unwrap()];
        let (socket, cleanup) = bind_unix(&directory.path().join("agent.sock"), &access).unwrap();
        std::mem::forget(cleanup);
        let stop = CancellationToken::new();
        let admission = Admission::new(None).unwrap();
        tokio::spawn(control::run(
            socket,
            admission,
            Arc::clone(&service),
            stop.clone(),
        ));
        let serving = tokio::spawn(server::run(listeners, Arc::clone(&service), stop.clone()));
        Self {
            service,
            stop,
            serving,
            directory,
        }
    }

    /// Publishes a token for `example.test`.
    pub(crate) fn publish(&self, token: &str) {
        self.service
            .table
            .put(&Owner::cli(), vec![entry(token)], Instant::now())
            .unwrap();
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.control_path())
    }

    /// A connection of HAProxy that has not said anything yet.
    pub(crate) async fn connect(&self) -> Haproxy {
        let stream = UnixStream::connect(self.directory.path().join("spop.sock"))
            .await
            .unwrap();
        Haproxy {
            stream,
            input: Vec::new(),
        }
    }

    /// A connection of HAProxy after its HELLO.
    pub(crate) async fn greet(&self) -> Haproxy {
        let mut haproxy = self.connect().await;
        haproxy.send(&hello(false)).await;
        let answer = haproxy.receive().await;
        assert_eq!(answer.kind, FrameType::AGENT_HELLO);
        haproxy
    }

    /// Waits until the agent has drained.
    pub(crate) async fn join(self) {
        timeout(PATIENCE, self.serving)
            .await
            .expect("the agent drains")
            .unwrap();
    }
}

/// HAProxy's end of a connection.
pub(crate) struct Haproxy {
    stream: UnixStream,
    input: Vec<u8>,
}

/// A frame of the agent.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: FrameType,
    pub(crate) ids: (u64, u64),
    payload: Vec<u8>,
}

impl Haproxy {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame of the agent.
    pub(crate) async fn receive(&mut self) -> Received {
        loop {
            if let Some((received, consumed)) = self.parse() {
                self.input.drain(..consumed);
                return received;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            assert_ne!(
                read.expect("an answer").unwrap(),
                0,
                "the agent closed the connection"
            );
        }
    }

    /// The agent says nothing more and closes.
    pub(crate) async fn expect_end(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.input)).await;
        // A reset is an end too: the agent need not read what it refuses.
        let _ = read.expect("the agent closes");
        assert!(self.input.is_empty(), "{:?}", self.input);
    }

    /// The agent says goodbye with `status` and closes.
    pub(crate) async fn expect_goodbye(&mut self, status: Status) {
        let received = self.receive().await;
        assert_eq!(received.kind, FrameType::AGENT_DISCONNECT);
        assert_eq!(
            Disconnect::decode(&received.payload).unwrap().status,
            status
        );
        self.expect_end().await;
    }

    fn parse(&self) -> Option<(Received, usize)> {
        let (frame, rest) = Frame::split(&self.input, 65_532).unwrap()?;
        let received = Received {
            kind: frame.head.kind,
            ids: (frame.head.stream_id.0, frame.head.frame_id.0),
            payload: frame.payload.to_vec(),
        };
        Some((received, self.input.len() - rest.len()))
    }
}

impl Received {
    pub(crate) fn hello(&self) -> AgentHello<'_> {
        AgentHello::decode(&self.payload).unwrap()
    }

    /// The variables that an ACK sets.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        assert_eq!(self.kind, FrameType::ACK);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let variable = |action: Action<'_>| match action {
            Action::SetVar {
                name,
                value: Value::Bool(value),
                ..
            } => (text(name), value.to_string()),
            Action::SetVar {
                name,
                value: Value::String(value),
                ..
            } => (text(name), text(value)),
            other => panic!("{other:?}"),
        };
        Actions::new(&self.payload)
            .iter()
            .map(|action| variable(action.unwrap()))
            .collect()
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.variables() == [("found".to_owned(), "false".to_owned())]
    }
}

pub(crate) fn hello(is_health_check: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    HaproxyHello {
        supported_versions: b"2.0",
        frame_size_max: 16_380,
        capabilities: b"pipelining",
        engine_id: Some(b"engine"),
        is_health_check,
    }
    .encode(&mut bytes);
    bytes
}

/// What HAProxy asks about one request.
pub(crate) fn notify(ids: (u64, u64), path: &str, host: &str) -> Vec<u8> {
    let arguments = [
        Argument {
            name: b"path",
            value: Value::String(path.as_bytes()),
        },
        Argument {
            name: b"host",
            value: Value::String(host.as_bytes()),
        },
    ];
    let mut payload = Vec::new();
    Message::encode("acme-challenge", &arguments, &mut payload);
    notify_with(ids, &payload)
}

pub(crate) fn notify_with((stream_id, frame_id): (u64, u64), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Notify::new(payload).encode(StreamId(stream_id), FrameId(frame_id), &mut bytes);
    bytes
}

pub(crate) fn disconnect(status: Status) -> Vec<u8> {
    let mut bytes = Vec::new();
    Disconnect {
        status,
        message: b"",
    }
    .encode(FrameType::HAPROXY_DISCONNECT, &mut bytes);
    bytes
}

/// A frame that is not final.
pub(crate) fn fragment() -> Vec<u8> {
    let mut bytes = notify((1, 1), "/", "example.test");
    let flags = 5..9;
    assert_eq!(bytes[flags.clone()], [0, 0, 0, 1]);
    bytes[flags].copy_from_slice(&[0, 0, 0, 0]);
    bytes
}

/// For anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
