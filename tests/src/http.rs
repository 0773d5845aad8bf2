//! Plain HTTP, one request per connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

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
    let text = exchange(port, request).map_err(|error| format!("port {port}: {error}"))?;
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

fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // In one piece: two would wait for each other's acknowledgement.
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
