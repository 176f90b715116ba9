//! Servers and clients over real sockets: echo, push, datagrams.

use crate::lab::{INNOCENT, Lab, PORT, SHADOW};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(1);

/// How connections ended on the server's side.
pub type Ends = mpsc::Receiver<(SocketAddr, io::ErrorKind)>;

pub fn addresses() -> Vec<SocketAddr> {
    SHADOW.iter().chain(&INNOCENT).map(|a| SocketAddr::new(a.parse().unwrap(), PORT)).collect()
}

pub fn shadow() -> Vec<SocketAddr> {
    addresses().into_iter().take(2).collect()
}

/// TCP and UDP servers on all four addresses. `E` at the start of a connection: echo; `P`: push a byte every 20 ms.
pub fn serve(lab: &Lab) -> Ends {
    let (tell, ends) = mpsc::channel();
    for address in addresses() {
        let tell = tell.clone();
        let (listener, datagrams) = lab.within("server", move || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    let end = attend(stream).err().map_or(io::ErrorKind::UnexpectedEof, |why| why.kind());
                    let _ = tell.send((address, end));
                });
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((n, from)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..n], from);
            }
        });
    }
    ends
}

fn attend(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.set_nodelay(true)?;
    loop {
        if byte == *b"P" {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(b"x")?;
        } else {
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
        }
    }
}

pub fn connect(lab: &Lab, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = lab.within("agent", move || TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"E")?;
    stream.read_exact(&mut [0])
}

/// Opens a stream that only the server writes to, as SSE is, and sees it flow.
pub fn stream(lab: &Lab, to: SocketAddr) -> TcpStream {
    let mut stream = connect(lab, to).unwrap();
    stream.write_all(b"P").unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    stream
}

pub fn datagram(lab: &Lab, to: SocketAddr) -> io::Result<()> {
    let socket = lab.within("agent", move || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        Ok::<_, io::Error>(socket)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"u")?;
    socket.recv(&mut [0; 8]).map(drop)
}

/// All that may flow to an address does: a new connection with an echo, and a datagram.
pub fn assert_flows(lab: &Lab, to: SocketAddr) {
    connect(lab, to).and_then(|mut s| echo(&mut s)).unwrap_or_else(|why| panic!("TCP to {to}: {why}"));
    datagram(lab, to).unwrap_or_else(|why| panic!("UDP to {to}: {why}"));
}

pub fn assert_blocked(lab: &Lab, to: SocketAddr) {
    let tcp = connect(lab, to).and_then(|mut s| echo(&mut s)).expect_err("TCP flows").kind();
    assert_eq!(tcp, io::ErrorKind::ConnectionRefused, "TCP to {to}");
    let udp = datagram(lab, to).expect_err("UDP flows");
    assert!(!matches!(udp.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "UDP to {to} is swallowed, not rejected: {udp}");
}

/// Whether `condition` comes true in time, and after how long. A bound, not a proof by sleeping: what is waited for is observable.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

/// Keeps talking to the innocent addresses until dropped; each failure counts.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    failures: Arc<AtomicUsize>,
    successes: Arc<AtomicUsize>,
}

impl Bystander {
    pub fn start(lab: &Lab) -> Bystander {
        let it = Bystander { stop: Arc::default(), failures: Arc::default(), successes: Arc::default() };
        for to in addresses().into_iter().skip(2) {
            let (stop, failures, successes) = (it.stop.clone(), it.failures.clone(), it.successes.clone());
            let mut held = connect(lab, to).unwrap();
            echo(&mut held).unwrap();
            lab.spawn("agent", move || {
                while !stop.load(Ordering::Relaxed) {
                    let fresh = TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut s| {
                        s.set_read_timeout(Some(PATIENCE))?;
                        echo(&mut s)
                    });
                    let ok = fresh.is_ok() && echo(&mut held).is_ok();
                    if ok { &successes } else { &failures }.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        it
    }

    /// Nobody else was touched, and somebody was there to be.
    pub fn assert_untouched(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.failures.load(Ordering::Relaxed), 0);
        assert!(self.successes.load(Ordering::Relaxed) > 10);
    }
}
