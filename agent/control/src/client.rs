//! The client of the control socket.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::{ANSWER_SIZE_MAX, Answer, Entry, Listed, Owner, Refusal, Request, Stats, Token};

/// Talks to an agent: one connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the agent whose control socket is at `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }

    /// Publishes tokens. Once this returns, the agent answers them.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses; nothing has then changed.
    pub async fn put(&self, owner: &Owner, tokens: &[Entry]) -> Result<Answer, Error> {
        self.ask(&Request::Put {
            owner: owner.clone(),
            tokens: tokens.to_vec(),
        })
        .await
    }

    /// Withdraws a token of `owner`. Says whether there was one.
    ///
    /// # Errors
    ///
    /// When the token is malformed, or the agent cannot be reached or refuses.
    pub async fn delete(&self, owner: &Owner, token: &str) -> Result<bool, Error> {
        let token = Token::try_from(token.to_owned()).map_err(|e| Error::Request(e.to_string()))?;
        let request = Request::Delete {
            owner: owner.clone(),
            tokens: vec![token],
        };
        Ok(self.ask(&request).await?.deleted.unwrap_or_default() > 0)
    }

    /// Makes `tokens` the whole set of `owner`.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses; nothing has then changed.
    pub async fn replace(&self, owner: &Owner, tokens: &[Entry]) -> Result<Answer, Error> {
        self.ask(&Request::Replace {
            owner: owner.clone(),
            tokens: tokens.to_vec(),
        })
        .await
    }

    /// Lists all tokens.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let answer = self.ask(&Request::List {}).await?;
        answer
            .tokens
            .ok_or_else(|| self.nonsense("a list without tokens"))
    }

    /// Reads the counters.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let answer = self.ask(&Request::Stats {}).await?;
        answer
            .stats
            .ok_or_else(|| self.nonsense("stats without counters"))
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    ///
    /// When the agent cannot be reached or refuses.
    pub async fn ping(&self) -> Result<Answer, Error> {
        self.ask(&Request::Ping {}).await
    }

    async fn ask(&self, request: &Request) -> Result<Answer, Error> {
        let mut line = serde_json::to_vec(request).map_err(|e| Error::Request(e.to_string()))?;
        line.push(b'\n');
        let answered = timeout(REQUEST_TIMEOUT, self.exchange(&line)).await;
        let late = || io::Error::new(ErrorKind::TimedOut, "no answer in time");
        let text = answered
            .unwrap_or_else(|_| Err(late()))
            .map_err(|source| Error::Io {
                path: self.path.clone(),
                source,
            })?;
        let answer: Answer =
            serde_json::from_slice(&text).map_err(|error| self.nonsense(&error.to_string()))?;
        match answer.error {
            Some(refusal) => Err(Error::Refused(refusal)),
            None if !answer.ok => Err(self.nonsense("a refusal without an error")),
            None => Ok(answer),
        }
    }

    async fn exchange(&self, line: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.path).await?;
        stream.write_all(line).await?;
        let mut answer = Vec::new();
        let limit = u64::try_from(ANSWER_SIZE_MAX).unwrap_or(u64::MAX);
        BufReader::new(stream)
            .take(limit)
            .read_until(b'\n', &mut answer)
            .await?;
        if answer.ends_with(b"\n") {
            Ok(answer)
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::Nonsense {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }
}

/// For one request, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("the agent at {}: {source}", path.display())]
    Io {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It refused.
    #[error("the agent refused: {}", .0.message)]
    Refused(Refusal),
    /// The request is malformed.
    #[error("{0}")]
    Request(String),
    /// It gave no answer of the kind expected.
    #[error("what answers at {} is no agent: {what}", path.display())]
    Nonsense {
        /// Its socket.
        path: PathBuf,
        /// What is wrong with the answer.
        what: String,
    },
}

impl Error {
    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        let Self::Io { source, .. } = self else {
            return None;
        };
        let hint = match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "is spoacme-agent running, and is its --control this path?"
            }
            ErrorKind::PermissionDenied => {
                "run as root, or as a user that the agent's `control-group` admits"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// Answers one request with `answer` and returns the request.
    async fn agent(listener: UnixListener, answer: &str) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        stream.read_line(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    }

    async fn dialogue(answer: &str) -> (String, Result<Answer, Error>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = Client::new(path);
        tokio::join!(agent(listener, answer), client.ping())
    }

    #[tokio::test]
    async fn sends_one_line_and_reads_one() {
        let (request, answer) = dialogue("{\"ok\":true,\"boot_id\":\"b\"}\n").await;
        assert_eq!(request, "{\"op\":\"ping\"}\n");
        assert_eq!(answer.unwrap().boot_id(), "b");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error() {
        let text =
            "{\"ok\":false,\"boot_id\":\"b\",\"error\":{\"code\":\"full\",\"message\":\"full\"}}\n";
        let (_, answer) = dialogue(text).await;
        assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_cut_or_foreign_answer_is_an_error() {
        for text in ["", "{\"ok\":true", "220 smtp.example ESMTP\n", "{}\n"] {
            let (_, answer) = dialogue(text).await;
            assert!(answer.is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named_with_the_way_out() {
        let error = Client::new("/nonexistent/agent.sock")
            .ping()
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/agent.sock"),
            "{error}"
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("spoacme-agent"))
        );
    }
}
