//! A wire between the meter and PostgreSQL that loses a COMMIT when it is told to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

/// How a COMMIT is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It never comes to the server.
    OnTheWay,
    /// The server carries it out, and its answer is lost.
    OfTheAnswer,
    /// The server carries it out, and what comes back is no message.
    GarbledAnswer,
    /// The meter loses the connection, and a good while later it comes to the server, which carries it out.
    Delayed,
}

/// How late a COMMIT is that is delayed: the meter has asked for its fate several times by then.
const DELAY: Duration = Duration::from_millis(400);

struct Shared {
    server: SocketAddr,
    /// The next COMMIT is lost like this; where `true`, nobody gets through after it.
    next: Mutex<Option<(Loss, bool)>>,
    away: AtomicBool,
    commits: AtomicUsize,
    ended: AtomicBool,
}

/// The wire. It is cut when it is dropped.
pub(super) struct Proxy {
    /// The database's URL through the proxy.
    pub(super) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Leads to the database of this URL, whose server listens on the loopback address, too.
    pub(super) fn to(url: &str) -> Self {
        let parsed = Url::parse(url).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, parsed.port().unwrap())),
            next: Mutex::new(None),
            away: AtomicBool::new(false),
            commits: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let (user, password) = (parsed.username(), parsed.password().unwrap());
        let database = parsed.path();
        let url = format!("postgresql://{user}:{password}@{address}{database}?sslmode=disable");
        {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(client) = client else { continue };
                    if shared.away.load(Ordering::SeqCst) {
                        continue;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.carry(client));
                }
            });
        }
        Self {
            url,
            address,
            shared,
        }
    }

    /// The next COMMIT is lost.
    pub(super) fn lose(&self, loss: Loss) {
        *self.shared.next.lock().unwrap() = Some((loss, false));
    }

    /// The next COMMIT is lost, and nobody gets through until [`Proxy::come_back`].
    pub(super) fn lose_and_go_away(&self, loss: Loss) {
        *self.shared.next.lock().unwrap() = Some((loss, true));
    }

    pub(super) fn come_back(&self) {
        self.shared.away.store(false, Ordering::SeqCst);
    }

    /// How many COMMITs were sent.
    pub(super) fn commits(&self) -> usize {
        self.shared.commits.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Carries one connection until either side ends it. Errors are how connections end.
    fn carry(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else {
            return;
        };
        let lost = Arc::new(Mutex::new(None));
        let back = {
            let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let lost = Arc::clone(&lost);
            std::thread::spawn(move || carry_back(from, to, &lost))
        };
        let _ = self.carry_forth(&client, &server, &lost);
        if *lost.lock().unwrap() != Some(Loss::Delayed) {
            let _ = server.shutdown(Shutdown::Both);
            let _ = client.shutdown(Shutdown::Both);
        }
        // It ends with the server's answer to a COMMIT that was lost, or with either side.
        let _ = back.join();
    }

    fn carry_forth(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        lost: &Mutex<Option<Loss>>,
    ) -> std::io::Result<()> {
        // The first message bears no type.
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        from.read_exact(&mut body)?;
        to.write_all(&[&length[..], &body].concat())?;
        let mut reads = false;
        loop {
            let mut head = [0; 5];
            from.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; length as usize - 4];
            from.read_exact(&mut body)?;
            if head[0] == b'Q' && body.starts_with(b"BEGIN") {
                reads = body.windows(9).any(|words| words == b"READ ONLY");
            }
            // What only reads loses nothing by it.
            if head[0] == b'Q' && body.starts_with(b"COMMIT") && !reads {
                self.commits.fetch_add(1, Ordering::SeqCst);
                if let Some((loss, goes_away)) = self.next.lock().unwrap().take() {
                    self.away.store(goes_away, Ordering::SeqCst);
                    if loss == Loss::OnTheWay {
                        return Ok(());
                    }
                    *lost.lock().unwrap() = Some(loss);
                    if loss == Loss::Delayed {
                        from.shutdown(Shutdown::Both)?;
                        std::thread::sleep(DELAY);
                    }
                }
            }
            to.write_all(&[&head[..], &body].concat())?;
        }
    }
}

fn carry_back(mut from: TcpStream, mut to: TcpStream, lost: &Mutex<Option<Loss>>) {
    let mut answer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut answer) {
        let fault = *lost.lock().unwrap();
        let told = match fault {
            None => to.write_all(&answer[..length]),
            Some(Loss::GarbledAnswer) => to.write_all(b"\xff\x7f\xff\xff\xffnot a message"),
            Some(Loss::OnTheWay | Loss::OfTheAnswer | Loss::Delayed) => break,
        };
        if told.is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
