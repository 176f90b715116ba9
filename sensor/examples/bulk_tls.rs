//! TLS between two hosts, as much as is asked for. `packaging/bench.d/sensor` runs it.
//!
//! `bulk_tls serve ADDRESS PORT` takes what comes. `bulk_tls send ADDRESS PORT MEGABITS SECONDS` sends so much a second, and says how many
//! bytes that were.

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned, pki_types::ServerName};
use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const NAME: &str = "bulk.invalid";
const STEP: Duration = Duration::from_millis(2);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", address, port] => serve(SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?)),
        ["send", address, port, megabits, seconds] => {
            let to = SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?);
            send(to, megabits.parse()?, Duration::from_secs(seconds.parse()?))
        }
        _ => Err("usage: bulk_tls serve ADDRESS PORT | send ADDRESS PORT MEGABITS SECONDS".into()),
    }
}

fn serve(at: SocketAddr) -> Result<(), Box<dyn Error>> {
    let identity = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![identity.cert.der().clone()], key)?);
    let listener = TcpListener::bind(at)?;
    // Whoever sends has to know whom it trusts.
    std::fs::write(certificate(at.port()), identity.cert.der())?;
    println!("ready");
    for stream in listener.incoming().flatten() {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone())?, stream);
        drop(io::copy(&mut stream, &mut io::sink()));
    }
    Ok(())
}

fn send(to: SocketAddr, megabits: u64, time: Duration) -> Result<(), Box<dyn Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(std::fs::read(certificate(to.port()))?.into())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME)?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(to)?);
    let piece = vec![7; usize::try_from(megabits * 1_000_000 / 8 * STEP.as_millis() as u64 / 1000)?];
    let (begin, mut sent) = (Instant::now(), 0u32);
    while begin.elapsed() < time {
        stream.write_all(&piece)?;
        sent += 1;
        thread::sleep((begin + STEP * sent).saturating_duration_since(Instant::now()));
    }
    println!("{}", piece.len() as u64 * u64::from(sent));
    Ok(())
}

fn certificate(port: u16) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("bulk_tls-{port}.der"))
}
