//! Letters to a syslog server: RFC 5424, over UDP (RFC 5426) or TCP with counted octets (RFC 6587 §3.4.1).
//!
//! Neither answers, so what was sent proves nothing: no clock starts by it.

use super::letter::Letter;
use crate::config::notify::{Syslog, Transport};
use rules::Timestamp;
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket},
};

/// Facility local0; severity notice: a person has to act.
const PRIORITY: u8 = 16 * 8 + 5;
/// Bytes of one message; receivers should take 2048 (RFC 5426 §3.2), most take this.
const MOST: usize = 8192;
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

impl Syslog {
    pub(super) async fn send(&self, letter: &Letter, host: &str, now: Timestamp) -> Result<(), String> {
        let message = message(letter, host, now)?;
        let sending = async {
            match self.transport {
                Transport::Udp => {
                    let address = tokio::net::lookup_host(&self.address).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
                    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    UdpSocket::bind(any).await?.send_to(message.as_bytes(), address).await.map(drop)
                }
                Transport::Tcp => {
                    let mut stream = TcpStream::connect(&self.address).await?;
                    stream.write_all(format!("{} {message}", message.len()).as_bytes()).await?;
                    stream.shutdown().await
                }
            }
        };
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|why| format!("syslog at {}: {why}", self.address)),
            Err(_) => Err(format!("syslog at {} did not take it in {} s", self.address, SEND_TIMEOUT.as_secs())),
        }
    }
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD MSG`; the message is the letter in JSON, which has no line breaks.
fn message(letter: &Letter, host: &str, now: Timestamp) -> Result<String, String> {
    let token = |text: &str, most: usize| {
        let plain: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
        if plain.is_empty() { "-".to_owned() } else { plain }
    };
    let head = format!(
        "<{PRIORITY}>1 {} {} gnomon {} {} - ",
        now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        token(host, 255),
        std::process::id(),
        token(letter.about.as_str(), 32)
    );
    let json = |letter: &Letter| serde_json::to_string(letter).map_err(|why| why.to_string());
    let mut body = json(letter)?;
    if head.len() + body.len() > MOST {
        // The finding has them all.
        body = json(&Letter { reasons: vec!["left out: too long for syslog".to_owned()], ..letter.clone() })?;
    }
    Ok(head + &body)
}

#[cfg(test)]
mod tests {
    use super::{super::shape::tests::letter, *};
    use tokio::{io::AsyncReadExt, net::TcpListener};

    const HEAD: &str = "<133>1 2027-01-15T08:00:00.000000Z router gnomon ";

    fn day() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn json(message: &str) -> serde_json::Value {
        assert!(message.starts_with(HEAD), "{message}");
        let (_, body) = message.split_once(" notice - ").unwrap();
        serde_json::from_str(body).unwrap()
    }

    #[tokio::test]
    async fn a_datagram_is_one_message() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let syslog = Syslog { address: server.local_addr().unwrap().to_string(), transport: Transport::Udp };
        syslog.send(&letter(), "router", day()).await.unwrap();
        let mut buffer = vec![0; 65_536];
        let (n, _) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(json(std::str::from_utf8(&buffer[..n]).unwrap())["finding"], "F-1a2b3c4d");
    }

    #[tokio::test]
    async fn over_tcp_its_octets_are_counted_and_a_server_that_is_away_is_an_error() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let syslog = Syslog { address: server.local_addr().unwrap().to_string(), transport: Transport::Tcp };
        let (letter, read) = (letter(), async {
            let mut text = String::new();
            server.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
            text
        });
        let (sent, text) = tokio::join!(syslog.send(&letter, "router", day()), read);
        sent.unwrap();
        let (count, message) = text.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), message.len());
        json(message);
        drop(server);
        syslog.send(&letter, "router", day()).await.unwrap_err();
    }

    #[test]
    fn long_letters_are_cut_and_a_host_without_a_name_has_none() {
        let long = Letter { reasons: vec!["x".repeat(20_000)], ..letter() };
        let text = message(&long, " \u{1b}", day()).unwrap();
        assert!(text.len() < MOST && text.contains("Z - gnomon ") && text.contains("left out"), "{text}");
    }
}
