//! The TCP connection: dials the given addresses one after the other, within one limit. No other
//! address is dialled.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::common::is_resource_shortage;
use crate::model::{Fault, Reason, Remedy};

/// Connects to the first address that accepts. `limit` bounds all addresses together. Each address
/// gets an even share of the remaining time.
///
/// # Errors
/// Returns the most specific fault if no address accepts: a refusal comes before a timeout. The
/// fact `tried` lists all faults if there are several.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    limit: Duration,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), Fault> {
    let mut faults = Vec::new();
    let dial_until = deadline.min(Instant::now() + limit);
    let remaining_counts = (1..=u32::try_from(addresses.len()).unwrap_or(u32::MAX)).rev();
    for (&address, remaining) in addresses.iter().zip(remaining_counts) {
        let now = Instant::now();
        let until = now + dial_until.saturating_duration_since(now) / remaining;
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Each message of the handshake is small and waits for an answer. Setting the
                // option fails on a socket that was reset meanwhile, and then the handshake reports
                // the reset.
                let _ = tcp.set_nodelay(true);
                return Ok((tcp, address));
            }
            Ok(Err(error)) => faults.push(classify_connect_error(address, &error)),
            Err(_) => faults.push(
                Fault::new(Reason::ConnectTimeout, format!("{address} did not answer in time"))
                    .with_detail("address", address.ip().to_string()),
            ),
        }
    }
    Err(most_specific(faults))
}

fn most_specific(faults: Vec<Fault>) -> Fault {
    let tried: Vec<String> = faults.iter().map(|fault| fault.details().to_owned()).collect();
    let rank = |fault: &Fault| match fault.reason() {
        // An address that was not tried might have accepted.
        Reason::AgentBusy => 0,
        Reason::ConnectionRefused | Reason::ConnectionLost => 1,
        Reason::ConnectTimeout => 2,
        _ => 3,
    };
    match faults.into_iter().min_by_key(rank) {
        Some(fault) if tried.len() > 1 => fault.with_detail("tried", tried),
        Some(fault) => fault,
        None => Fault::new(Reason::NameNotFound, "there is no address to connect to"),
    }
}

/// Classifies an error of connect(2).
fn classify_connect_error(address: SocketAddr, error: &io::Error) -> Fault {
    if let Some(errno) = error.raw_os_error().filter(|_| is_resource_shortage(error)) {
        // The server was not reached, so its state is as unknown as before.
        let details = format!("no connection to {address} could be opened: {error}");
        return Fault::new(Reason::AgentBusy, details)
            .with_detail("address", address.ip().to_string())
            .with_detail("errno", errno)
            .with_remedy(Remedy::CheckServiceLimits);
    }
    let errno = error.raw_os_error().map(Errno::from_raw);
    let (reason, what) = match errno {
        Some(Errno::ECONNREFUSED) => {
            (Reason::ConnectionRefused, "no server listens on this port".to_owned())
        }
        Some(Errno::ETIMEDOUT) => (Reason::ConnectTimeout, "the address did not answer".to_owned()),
        Some(Errno::ECONNRESET | Errno::ECONNABORTED) => {
            (Reason::ConnectionLost, "the connection was reset".to_owned())
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            (Reason::Unreachable, "this system does not permit the daemon to connect".to_owned())
        }
        Some(Errno::EAFNOSUPPORT) => (
            Reason::Unreachable,
            "this system does not permit the daemon to use this family of addresses".to_owned(),
        ),
        Some(Errno::EADDRNOTAVAIL) => (
            Reason::Unreachable,
            "this system has no local address or no free port to connect from".to_owned(),
        ),
        Some(errno) => (Reason::Unreachable, errno.desc().to_owned()),
        None => (Reason::Unreachable, error.to_string()),
    };
    let mut fault = Fault::new(reason, format!("{address}: {what}"))
        .with_detail("address", address.ip().to_string());
    if let Some(number) = error.raw_os_error() {
        fault = fault.with_detail("errno", number);
    }
    match errno {
        // A security module appears as these errors, and so does a firewall that rejects IPv6
        // packets as prohibited. A dropped packet does not: the kernel sends the SYN again, and the
        // connection times out. This includes IPAddressDeny of systemd.
        Some(Errno::EACCES | Errno::EPERM) => fault.with_remedy(Remedy::PermitConnection),
        Some(Errno::EAFNOSUPPORT) => fault.with_remedy(Remedy::PermitAddressFamily),
        Some(Errno::EADDRNOTAVAIL) => fault.with_remedy(Remedy::CheckLocalAddresses),
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fact;

    #[test]
    fn each_errno_has_its_reason() {
        let address: SocketAddr = "127.0.0.1:22".parse().unwrap();
        for (errno, reason) in [
            (Errno::ECONNREFUSED, Reason::ConnectionRefused),
            (Errno::ETIMEDOUT, Reason::ConnectTimeout),
            (Errno::ECONNRESET, Reason::ConnectionLost),
            (Errno::EHOSTUNREACH, Reason::Unreachable),
            (Errno::ENETUNREACH, Reason::Unreachable),
            (Errno::EADDRNOTAVAIL, Reason::Unreachable),
            (Errno::EPERM, Reason::Unreachable),
            (Errno::EAFNOSUPPORT, Reason::Unreachable),
            (Errno::EMFILE, Reason::AgentBusy),
            (Errno::ENFILE, Reason::AgentBusy),
            (Errno::ENOMEM, Reason::AgentBusy),
            (Errno::ENOBUFS, Reason::AgentBusy),
        ] {
            let fault = classify_connect_error(address, &io::Error::from(errno));
            assert_eq!(fault.reason(), reason, "{errno}");
            assert_eq!(fault.facts()["errno"], Fact::from(errno as i32));
            let is_local =
                matches!(errno, Errno::EPERM | Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
                    || reason == Reason::AgentBusy;
            assert_eq!(fault.own_remedy().is_some(), is_local);
        }
    }

    #[tokio::test]
    async fn many_silent_addresses_take_no_longer_than_one() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        // The kernel drops what exceeds a listener's queue: listen(2), tcp_abort_on_overflow = 0.
        let listener = socket.listen(0).unwrap();
        let silent = listener.local_addr().unwrap();
        let wait = Duration::from_millis(200);
        let mut queued = Vec::new();
        while let Ok(Ok(tcp)) = tokio::time::timeout(wait, TcpStream::connect(silent)).await {
            queued.push(tcp);
        }
        let limit = Duration::from_millis(320);
        let (began, far) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let fault = dial(&[silent; 16], limit, far).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::ConnectTimeout);
        assert!(matches!(&fault.facts()["tried"], Fact::List(tried) if tried.len() == 16));
        let took = began.elapsed();
        assert!(limit <= took && took < 8 * limit, "{took:?}");
        // The time that the silent addresses leave is shared by the others.
        let answers = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = answers.local_addr().unwrap();
        assert_eq!(dial(&[silent, silent, address], limit, far).await.unwrap().1, address);
    }

    #[test]
    fn a_refusal_comes_before_a_timeout() {
        let fault = |reason| Fault::new(reason, "x");
        let fault = most_specific(vec![
            fault(Reason::Unreachable),
            fault(Reason::ConnectTimeout),
            fault(Reason::ConnectionRefused),
        ]);
        assert_eq!(fault.reason(), Reason::ConnectionRefused);
        assert!(matches!(&fault.facts()["tried"], Fact::List(tried) if tried.len() == 3));
    }
}
