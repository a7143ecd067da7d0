//! A bad network between a client and a server.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::run::free_port;

/// What the proxy does to all its connections, those that are open included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: bytes pass.
    Pass,
    /// The server is down: open connections are closed, new ones refused.
    Refuse,
    /// Nothing arrives, a close included, and nobody is told. Bytes are held and flow when the fault is over.
    BlackHole,
    /// Each piece that is read, in either direction, is passed on after this long.
    Delay(Duration),
    /// This many more bytes of each connection's requests reach the server; at the next one the connection is cut.
    CutRequestAfter(usize),
    /// This many more bytes of each connection's replies reach the client; at the next one the connection is cut.
    /// With 0 the server has done what was asked, and the client never learns it.
    CutReplyAfter(usize),
    /// A connection is cut, before any of it reaches the client, at the first piece of a reply that holds these bytes.
    /// With `b"COMMIT\0"`, PostgreSQL has committed and the client never learns it.
    CutReplyWith(&'static [u8]),
    /// Open connections are reset (RST), new ones as soon as they are made.
    Reset,
}

/// A TCP proxy on 127.0.0.1 whose [`Fault`] can be changed at any time. Gone, with its connections, on `Drop`.
pub struct ChaosProxy {
    address: SocketAddr,
    upstream: watch::Sender<String>,
    wanted: watch::Sender<Fault>,
    applied: watch::Receiver<Fault>,
    task: AbortHandle,
}

impl ChaosProxy {
    /// Starts a proxy to `upstream` (`host:port`), which need not be up yet. It begins with [`Fault::Pass`].
    pub async fn start(upstream: impl std::fmt::Display) -> ChaosProxy {
        let listener =
            TcpListener::bind(("127.0.0.1", free_port())).await.expect("the port was free just now");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (wanted, fault) = watch::channel(Fault::Pass);
        let (apply, applied) = watch::channel(Fault::Pass);
        let (upstream, to) = watch::channel(upstream.to_string());
        let task = tokio::spawn(serve(listener, to, fault, apply)).abort_handle();
        ChaosProxy { address, upstream, wanted, applied, task }
    }

    /// Where clients connect: the same under every fault.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another server (`host:port`), as a name does after a failover. Those that are open stay.
    pub fn lead_to(&self, upstream: impl std::fmt::Display) {
        self.upstream.send_replace(upstream.to_string());
    }

    /// Changes the fault. When this returns it holds for the next byte and the next connection.
    pub async fn set(&self, fault: Fault) {
        self.wanted.send_replace(fault);
        self.applied.clone().wait_for(|now| *now == fault).await.expect("the proxy runs until it is dropped");
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    first: TcpListener,
    to: watch::Receiver<String>,
    mut fault: watch::Receiver<Fault>,
    apply: watch::Sender<Fault>,
) {
    let address = first.local_addr().expect("a bound socket has an address");
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        let now = *fault.borrow_and_update();
        if now == Fault::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("nobody else took the proxy's port"));
        }
        apply.send_replace(now);
        let accept =
            async { if let Some(listener) = &listener { listener.accept().await } else { pending().await } };
        tokio::select! {
            changed = fault.changed() => if changed.is_err() { return },
            Ok((client, _)) = accept => {
                let upstream = to.borrow().clone();
                connections.spawn(connection(client, upstream, fault.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One client's connection, until either side closes it (a half-close closes both) or the fault ends it.
async fn connection(mut client: TcpStream, upstream: String, mut fault: watch::Receiver<Fault>) {
    let hole = fault.wait_for(|fault| *fault != Fault::BlackHole).await.is_err();
    if hole || *fault.borrow() == Fault::Reset {
        client.set_zero_linger().ok();
        return;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let ((request, reply_to), (reply, request_to)) = (client.split(), server.split());
    tokio::select! {
        () = pump(request, request_to, fault.clone(), true) => {}
        () = pump(reply, reply_to, fault.clone(), false) => {}
    }
    if *fault.borrow() == Fault::Reset {
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
}

/// Passes bytes on in one direction, until there are no more or the fault ends the connection.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    requests: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut held = None; // bytes in hand, 0 for a close
    let mut passed = 0; // bytes since the fault began
    loop {
        let now = {
            let fault = fault.borrow_and_update();
            passed = if fault.has_changed() { 0 } else { passed };
            *fault
        };
        let limit = match now {
            Fault::Refuse | Fault::Reset => return,
            Fault::CutRequestAfter(limit) if requests => limit,
            Fault::CutReplyAfter(limit) if !requests => limit,
            _ => usize::MAX,
        };
        let ready = async {
            match (held, now) {
                (None, _) => return from.read(&mut buffer).await.unwrap_or(0),
                (Some(_), Fault::BlackHole) => pending().await,
                (Some(_), Fault::Delay(delay)) => tokio::time::sleep(delay).await,
                (Some(_), _) => {}
            }
            held.unwrap_or(0)
        };
        let n = tokio::select! {
            biased;
            changed = fault.changed() => { if changed.is_err() { return } passed = 0; continue }
            n = ready => n,
        };
        if held.replace(n).is_none() {
            continue; // the fault may have changed during the read
        }
        if let Fault::CutReplyWith(bytes) = now
            && !requests
            && buffer[..n].windows(bytes.len()).any(|piece| piece == bytes)
        {
            return;
        }
        let allowed = n.min(limit - passed);
        if n == 0 || to.write_all(&buffer[..allowed]).await.is_err() || allowed < n {
            return;
        }
        (held, passed) = (None, passed + n);
    }
}
