//! Listening sockets.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{
    SocketAddr as UnixAddress, UnixListener as StdUnixListener, UnixStream as StdUnixStream,
};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::address::{ABSTRACT_NAME_LENGTH_MAX, Address};
use crate::config::SocketAccess;

/// A socket that HAProxy connects to.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, with a path or abstract.
    Unix(UnixListener, Option<Cleanup>),
}

/// A connection of HAProxy.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Binds `address`. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When that is not possible, or another process listens there.
    pub async fn bind(address: &Address, access: &SocketAccess) -> Result<Self, BindError> {
        let fail = |source| BindError {
            address: address.to_string(),
            source,
        };
        match address {
            Address::Tcp(tcp) => TcpListener::bind(tcp).await.map(Self::Tcp).map_err(fail),
            Address::Unix(path) => {
                let (listener, cleanup) = bind_unix(path, access).map_err(fail)?;
                Ok(Self::Unix(listener, Some(cleanup)))
            }
            Address::Abstract(name) => bind_abstract(name)
                .map(|listener| Self::Unix(listener, None))
                .map_err(fail),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // HAProxy 3.2 breaks on a frame that comes in pieces.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// Binds a Unix socket that is reachable only once its mode and group are set:
/// it is bound under a name of its own and renamed.
///
/// # Errors
///
/// When that is not possible, or another process listens there.
pub fn bind_unix(path: &Path, access: &SocketAccess) -> io::Result<(UnixListener, Cleanup)> {
    require_directory(path)?;
    remove_stale(path)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let listener = StdUnixListener::bind(&temporary)?;
    let prepared = prepare(&temporary, access).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = prepared {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, Cleanup(path.to_owned())))
}

/// Removes a socket's file when dropped.
#[derive(Debug)]
pub struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A socket that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Where.
    pub address: String,
    /// Why not.
    pub source: io::Error,
}

impl BindError {
    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.kind() {
            ErrorKind::AddrInUse => Some("is another spoacme-agent running?"),
            ErrorKind::NotFound => Some("make its directory first, or name another path"),
            ErrorKind::PermissionDenied => Some("run as a user that may write to its directory"),
            _ => None,
        }
    }
}

fn require_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    if directory.is_dir() {
        return Ok(());
    }
    let text = format!("there is no directory {}", directory.display());
    Err(io::Error::new(ErrorKind::NotFound, text))
}

/// Removes a socket that nobody listens on any more; nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    // Connecting to a plain file is refused just like to a stale socket.
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "a file stands there",
            ));
        }
        _ => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens there",
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn prepare(path: &Path, access: &SocketAccess) -> io::Result<()> {
    if let Some(name) = &access.group
        && let Some(group) = Group::from_name(name).map_err(io::Error::from)?
    {
        chown(path, None, Some(group.gid.as_raw()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))
}

/// HAProxy pads an abstract name with NUL to the whole of `sun_path`.
fn bind_abstract(name: &str) -> io::Result<UnixListener> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(ABSTRACT_NAME_LENGTH_MAX, 0);
    let listener = StdUnixListener::bind_addr(&UnixAddress::from_abstract_name(padded)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: SocketAccess = SocketAccess {
        mode: 0o600,
        group: None,
    };

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spop.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        let (_listener, cleanup) = bind_unix(&path, &ACCESS).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let error = bind_unix(&path, &ACCESS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(cleanup);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spop.sock");
        fs::write(&path, "mine").unwrap();
        assert!(bind_unix(&path, &ACCESS).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let address = Address::Unix("/nonexistent/spop.sock".into());
        let error = Listener::bind(&address, &ACCESS).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no directory /nonexistent"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}
