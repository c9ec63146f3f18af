//! Asking the real name servers.
//!
//! Each query goes out under an id and from a port of its own, so that a process that sees the client's cannot forge the
//! answer. It passes answers on as they are; what they may do is decided by [`super`].

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::packet::{self, Question};

/// How long one server has.
const PATIENCE: Duration = Duration::from_secs(2);
/// Datagrams that are looked at for one answer; others are forged or late.
const MAX_STRAYS: usize = 16;

/// Asks each server in turn, and gives the first answer, under the client's id.
pub(super) async fn forward(
    query: &[u8],
    question: &Question,
    servers: &[SocketAddr],
    stream: bool,
) -> Option<Vec<u8>> {
    for server in servers {
        let asked = packet::with_id(query, random_id()?);
        let answer = timeout(PATIENCE, async {
            if stream {
                by_stream(&asked, question, *server).await
            } else {
                by_datagram(&asked, question, *server).await
            }
        });
        if let Ok(Ok(answer)) = answer.await {
            return Some(packet::with_id(&answer, packet::id(query)));
        }
    }
    None
}

async fn by_datagram(query: &[u8], question: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
    let local: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    // No memory for an answer that does not come.
    answered(&socket).await?;
    let mut buffer = vec![0; packet::MAX_DATAGRAM];
    for _ in 0..MAX_STRAYS {
        answered(&socket).await?;
        let length = match socket.try_recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        let answer = buffer.get(..length).unwrap_or_default();
        if question.is_answered_by(answer, packet::id(query)) {
            return Ok(answer.to_vec());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Waits for a datagram.
///
/// # Errors
/// What the network says in place of one: nobody listens there, or no way leads there. Without the layer a client learns
/// that at once too.
async fn answered(socket: &UdpSocket) -> io::Result<()> {
    let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
    if ready.is_readable() {
        return Ok(());
    }
    Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

async fn by_stream(query: &[u8], question: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&packet::framed(query)).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if question.is_answered_by(&answer, packet::id(query)) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn random_id() -> Option<u16> {
    let name = crate::random::name().ok()?;
    u16::from_str_radix(name.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::packet::tests::{query, reply};

    #[test]
    fn a_server_that_is_not_there_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let message = query(7, "a.example", 1);
        let question = Question::parse(&message).unwrap();
        let begun = std::time::Instant::now();
        let answer = runtime.block_on(forward(&message, &question, &[closed, closed], false));
        assert_eq!(answer, None);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }

    #[test]
    fn the_clients_id_does_not_leave_the_machine_and_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let upstream = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = upstream.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (length, client) = upstream.recv_from(&mut buffer).unwrap();
            let forged = reply(&packet::with_id(&buffer[..length], packet::id(&buffer) ^ 1), &[[6, 6, 6, 6]]);
            upstream.send_to(&forged, client).unwrap();
            let honest = reply(&buffer[..length], &[[203, 0, 113, 1]]);
            upstream.send_to(&honest, client).unwrap();
        });
        let message = query(7, "a.example", 1);
        let question = Question::parse(&message).unwrap();
        let answer = runtime.block_on(forward(&message, &question, &[server], false)).unwrap();
        answering.join().unwrap();
        assert_eq!(packet::id(&answer), 7);
        assert_eq!(
            packet::addresses(&answer).next(),
            Some([203, 0, 113, 1].into()),
            "the forged one was dropped"
        );
    }
}
