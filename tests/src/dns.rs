//! A DNS server that answers as it is told, over UDP and TCP.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What is said of a name.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Its addresses; from answer to answer another one comes first.
    pub addresses: Vec<IpAddr>,
    /// The name that it stands for.
    pub alias: Option<String>,
    /// Who may issue for it, by CAA; an empty name is nobody.
    pub issuers: Vec<String>,
    /// How the server fails of it.
    pub fault: Option<Fault>,
}

/// How the server fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// SERVFAIL.
    Fails,
    /// SERVFAIL, unless it is told not to check signatures: what a validating
    /// resolver says of a zone whose signatures are not in order.
    Bogus,
    /// No answer.
    Silent,
}

/// A running server.
#[derive(Debug)]
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    zone: Mutex<Zone>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Zone {
    names: BTreeMap<String, Answers>,
    turn: usize,
}

impl Dns {
    /// Starts one that knows no names; what it does not know does not exist.
    ///
    /// # Errors
    ///
    /// When it cannot listen at `address`.
    pub fn start(address: SocketAddr) -> Result<Self, String> {
        let fail = |error: io::Error| format!("{address}: {error}");
        let udp = UdpSocket::bind(address).map_err(fail)?;
        udp.set_read_timeout(Some(TICK)).map_err(fail)?;
        let tcp = TcpListener::bind(address).map_err(fail)?;
        tcp.set_nonblocking(true).map_err(fail)?;
        let shared = Arc::new(Shared::default());
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || serve_udp(&udp, &of_udp));
        thread::spawn(move || serve_tcp(&tcp, &of_tcp));
        Ok(Self { address, shared })
    }

    /// Sets what is said of `name`.
    pub fn set(&self, name: &str, answers: Answers) {
        self.shared.zone().names.insert(name.to_owned(), answers);
    }

    /// Lets `name` not exist.
    pub fn remove(&self, name: &str) {
        self.shared.zone().names.remove(name);
    }

    /// Lets `name` have `addresses`.
    ///
    /// # Errors
    ///
    /// When one of them is no address.
    pub fn resolve(&self, name: &str, addresses: &[&str]) -> Result<(), String> {
        let parse = |text: &&str| text.parse().map_err(|error| format!("{text}: {error}"));
        let addresses = addresses.iter().map(parse).collect::<Result<_, _>>()?;
        self.set(
            name,
            Answers {
                addresses,
                ..Answers::default()
            },
        );
        Ok(())
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        self.zone().answer(&query)?.to_vec().ok()
    }
}

const TICK: Duration = Duration::from_millis(20);

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    while !shared.has_ended() {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer)
            && let Some(answer) = shared.answer(&buffer[..length])
        {
            // A peer that has gone is none of our business.
            let _ = socket.send_to(&answer, peer);
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || converse(stream, &shared));
            }
            Err(_) => thread::sleep(TICK),
        }
    }
}

/// Messages with their lengths before them (RFC 1035 §4.2.2), until the peer
/// has enough.
fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        if let Some(answer) = shared.answer(&query) {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }
}

impl Zone {
    fn answer(&mut self, query: &Message) -> Option<Message> {
        let question = query.queries.first()?;
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(question.clone());
        let name = question
            .name()
            .to_ascii()
            .trim_end_matches('.')
            .to_lowercase();
        let Some(answers) = self.names.get(&name).cloned() else {
            answer.metadata.response_code = self.code_of_unknown(&name);
            return Some(answer);
        };
        match answers.fault {
            Some(Fault::Silent) => return None,
            Some(Fault::Bogus) if query.metadata.checking_disabled => {}
            Some(_) => {
                answer.metadata.response_code = ResponseCode::ServFail;
                return Some(answer);
            }
            None => {}
        }
        self.turn += 1;
        let mut owner = question.name().clone();
        let mut answers = answers;
        if let Some(alias) = answers.alias.take() {
            let target = Name::from_ascii(format!("{alias}.")).ok()?;
            let data = RData::CNAME(CNAME(target.clone()));
            answer.add_answers([Record::from_rdata(owner, TTL, data)]);
            owner = target;
            answers = self.names.get(&alias).cloned().unwrap_or_default();
        }
        let records = records(&answers, question.query_type(), self.turn);
        answer.add_answers(
            records
                .into_iter()
                .map(|data| Record::from_rdata(owner.clone(), TTL, data)),
        );
        Some(answer)
    }

    /// What stands above a name exists (RFC 8020).
    fn code_of_unknown(&self, name: &str) -> ResponseCode {
        let suffix = format!(".{name}");
        match self.names.keys().any(|known| known.ends_with(&suffix)) {
            true => ResponseCode::NoError,
            false => ResponseCode::NXDomain,
        }
    }
}

const TTL: u32 = 1;

fn records(answers: &Answers, kind: RecordType, turn: usize) -> Vec<RData> {
    let mut addresses = answers.addresses.clone();
    if !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    match kind {
        RecordType::A => addresses
            .iter()
            .filter_map(|ip| match ip {
                IpAddr::V4(ip) => Some(RData::A(A(*ip))),
                IpAddr::V6(_) => None,
            })
            .collect(),
        RecordType::AAAA => addresses
            .iter()
            .filter_map(|ip| match ip {
                IpAddr::V6(ip) => Some(RData::AAAA(AAAA(*ip))),
                IpAddr::V4(_) => None,
            })
            .collect(),
        RecordType::CAA => answers
            .issuers
            .iter()
            .filter_map(|issuer| caa(issuer))
            .collect(),
        _ => Vec::new(),
    }
}

fn caa(issuer: &str) -> Option<RData> {
    let name = match issuer {
        "" => None,
        issuer => Some(Name::from_ascii(issuer).ok()?),
    };
    Some(RData::CAA(CAA::new_issue(false, name, Vec::new())))
}
