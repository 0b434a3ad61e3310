//! A connection to the broker, which ends when it is dropped, whatever the broker does.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_rs::Tokio;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::{AsyncTcpStream, Channel, Connection, Event};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Broker;
use super::mended::Mended;
use super::reactor::{self, Plain};
use crate::trouble::Trouble;

/// Longest that a step of a parting may take.
pub(crate) const PARTING: Duration = Duration::from_secs(5);

/// A connection. Dropped, its socket is shut: lapin's own close waits for an answer, which a broker that stands still never gives, and
/// would keep a thread until then.
#[derive(Debug)]
pub(crate) struct Wire {
    connection: Connection,
    _hand: Hand,
}

impl Wire {
    /// Connects, within the broker's patience.
    ///
    /// # Errors
    /// [`Trouble`], with what to do.
    pub(crate) async fn connect(broker: &Broker) -> Result<Self, Trouble> {
        let reaching = broker.reaching();
        let config = |error| Trouble::config(&reaching, error);
        let uri = broker.uri().map_err(config)?;
        let connector = broker.tls.as_ref().map(super::Tls::connector).transpose().map_err(config)?;
        let hand = Hand::default();
        let socket = Arc::clone(&hand.0);
        let (address, patience, turn) = (broker.address.clone(), broker.patience(), broker.turn.clone());
        let connecting = Connection::connector(
            uri,
            reactor::runtime(),
            async move |_, _| {
                let addresses: Vec<_> = lookup_host((address.host.as_str(), address.port)).await?.collect();
                let stream = reach(&addresses, patience, &turn).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    hold(&socket, plain.get_ref())?;
                }
                let stream = match &connector {
                    Some(connector) => stream.into_rustls(connector, &address.host).await?,
                    None => stream,
                };
                Ok(AsyncTcpStream::Plain(Mended::new(stream)))
            },
            broker.properties(),
        );
        match timeout(broker.patience(), connecting).await {
            Ok(Ok(connection)) => {
                broker.turn.stay();
                Ok(Self { connection, _hand: hand })
            }
            Ok(Err(error)) => Err(Trouble::connecting(&error, &reaching)),
            Err(_elapsed) => Err(Trouble::silent(&reaching, broker.patience(), "--heartbeat")),
        }
    }

    /// A channel of it.
    ///
    /// # Errors
    /// [`lapin::Error`] where the connection is over.
    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// The most bytes of a frame, as was agreed with the broker.
    pub(crate) fn frame_max(&self) -> u32 {
        self.connection.configuration().frame_max()
    }

    /// What the broker tells of the connection as a whole.
    pub(crate) fn events(&self) -> BoxStream<'static, Event> {
        self.connection.events_listener().boxed()
    }

    /// Takes leave: all that was sent before is heard before it.
    pub(crate) async fn part(self) {
        // Whoever does not answer is left without.
        let _ = timeout(PARTING, self.connection.close(200, "done".into())).await;
    }
}

/// A connection to one of the addresses that the broker's name has. One that is silent for its share of the patience is passed over.
async fn reach(addresses: &[SocketAddr], patience: Duration, turn: &Turn) -> io::Result<AsyncTcpStream<Plain>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for _ in addresses {
        let Some(address) = addresses.get(turn.next() % addresses.len()) else { break };
        match timeout(share, AsyncTcpStream::connect(&Tokio::current(), *address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => {
                let silent = format!("{address} says nothing for {}", humantime::format_duration(share));
                last = io::Error::new(io::ErrorKind::TimedOut, silent);
            }
        }
    }
    Err(last)
}

/// Which of a broker's addresses is the next to be tried: after one that came to nothing, the one behind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The last one was good: the next time it is the first to be tried.
    fn stay(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Our hand on the socket that lapin has: when it is dropped, the socket is shut, now or as soon as there is one.
#[derive(Debug, Default)]
struct Hand(Arc<Mutex<Socket>>);

#[derive(Debug, Default)]
enum Socket {
    #[default]
    None,
    Open(TcpStream),
    Unwanted,
}

impl Drop for Hand {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.0), Socket::Unwanted);
        if let Socket::Open(socket) = before {
            // Fails only where it is shut already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn hold(held: &Mutex<Socket>, socket: &impl AsFd) -> io::Result<()> {
    let mut held = lock(held);
    if matches!(*held, Socket::Unwanted) {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for it any more"));
    }
    *held = Socket::Open(TcpStream::from(socket.as_fd().try_clone_to_owned()?));
    Ok(())
}

fn lock(held: &Mutex<Socket>) -> MutexGuard<'_, Socket> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn port(address: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// Somebody who answers nothing that is said to him, and before long not even that he is there.
    fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let (listener, address) = port("127.0.0.3");
        rustix::net::listen(&listener, 0).expect("a short queue");
        let waiting = std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok());
        (listener, waiting.collect(), address)
    }

    #[tokio::test]
    async fn each_attempt_begins_behind_the_address_that_came_to_nothing_and_stays_with_one_that_was_good() {
        let ((_first, first), (_second, second)) = (port("127.0.0.1"), port("127.0.0.2"));
        let (gone, refuses) = port("127.0.0.4");
        drop(gone);
        let (_listener, _waiting, silent) = silent();
        let turn = Turn::default();
        let reached = async || {
            let addresses = [first, silent, refuses, second];
            let stream = reach(&addresses, Duration::from_secs(4), &turn).await.expect("one of them");
            let AsyncTcpStream::Plain(stream) = stream else { panic!("nobody asked for TLS") };
            stream.get_ref().peer_addr().expect("an address")
        };
        assert_eq!([reached().await, reached().await, reached().await], [first, second, first], "nothing came of them");
        turn.stay();
        assert_eq!([reached().await, reached().await], [first, second]);
        turn.stay();
        assert_eq!(reached().await, second);
        let error = reach(&[silent], Duration::from_millis(100), &turn).await.err().expect("silence");
        assert!(error.to_string().contains("says nothing for 100ms"), "{error}");
        let error = reach(&[], Duration::from_secs(4), &turn).await.err().expect("nobody");
        assert!(error.to_string().contains("no address"), "{error}");
    }
}
