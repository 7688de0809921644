//! Connections from several addresses of the loopback network, which the daemon counts as several
//! sources.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

/// Number of connections that [`nth_source`] takes from one address. It is below the share of one
/// source without a session, 128.
const CONNECTIONS_PER_SOURCE: usize = 100;

/// Returns the address for the connection with this number, from 0.
pub(crate) fn nth_source(number: usize) -> IpAddr {
    let host = 2 + u8::try_from(number / CONNECTIONS_PER_SOURCE).unwrap();
    Ipv4Addr::new(127, 0, 0, host).into()
}

/// Connects from an address of the loopback network.
pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}
