//! Plain HTTP, one request per connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For a connection, and for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, status line included.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Sends `GET path` with `Host: host` to a port of the loopback.
///
/// # Errors
///
/// When there is no well-formed answer within ten seconds.
pub fn get(port: u16, host: &str, path: &str) -> Result<Answer, String> {
    request(port, "GET", host, path)
}

/// Sends `GET path` with `Host: host` to any address.
///
/// # Errors
///
/// When there is no well-formed answer within ten seconds.
pub fn get_at(address: SocketAddr, host: &str, path: &str) -> Result<Answer, String> {
    send_to(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends `GET path` with one more header line.
///
/// # Errors
///
/// When there is no well-formed answer within ten seconds.
pub fn get_with(port: u16, host: &str, path: &str, header: &str) -> Result<Answer, String> {
    send(
        port,
        &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends a request without a body.
///
/// # Errors
///
/// When there is no well-formed answer within ten seconds.
pub fn request(port: u16, method: &str, host: &str, path: &str) -> Result<Answer, String> {
    send(
        port,
        &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends `POST path` with a body.
///
/// # Errors
///
/// When there is no well-formed answer within ten seconds.
pub fn post(port: u16, path: &str, body: &str) -> Result<Answer, String> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
    send(port, &format!("{head}Connection: close\r\n\r\n{body}"))
}

fn send(port: u16, request: &str) -> Result<Answer, String> {
    send_to((Ipv4Addr::LOCALHOST, port).into(), request)
}

fn send_to(address: SocketAddr, request: &str) -> Result<Answer, String> {
    let text = exchange(address, request).map_err(|error| format!("{address}: {error}"))?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("no head in {text:?}"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| format!("no status in {head:?}"))?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one piece: two would wait for each other's acknowledgement.
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
