//! Where to listen: what `--listen` means.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use socket2::{Domain, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// One `--listen`: an address, or a name with all of its addresses.
#[derive(Clone, Debug)]
pub struct Listen {
    /// As it was given, without the port.
    host: String,
    addresses: Vec<SocketAddr>,
}

/// `ADDR:PORT` or `NAME:PORT`.
///
/// # Errors
/// What is allowed, or why the name leads nowhere.
pub fn parse(text: &str) -> Result<Listen, String> {
    let (host, port) = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        .ok_or("allowed are an address or a name and a port, such as 127.0.0.1:8400, [::1]:8400 or localhost:8400")?;
    let is_name = host.bytes().any(|b| b.is_ascii_alphabetic()) && !host.starts_with('[');
    if !is_name && text.parse::<SocketAddr>().is_err() {
        return Err(format!(
            "{host}:{port} is no address; allowed are such as 127.0.0.1:8400, [::1]:8400 or localhost:8400"
        ));
    }
    let found = text
        .to_socket_addrs()
        .map_err(|e| format!("{host} is not the name of this machine: {e}"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(Listen {
        host: host.to_owned(),
        addresses,
    })
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.addresses.first().map_or(0, SocketAddr::port);
        write!(f, "{}:{port}", self.host)
    }
}

/// One `--listen` that takes connections.
pub struct Bound {
    host: String,
    port: u16,
    pub sockets: Vec<TcpListener>,
}

impl Listen {
    /// As it was given; 0: a free one.
    pub fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }

    /// Nobody but this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|a| a.ip().is_loopback())
    }

    /// An address by which this machine reaches it.
    pub fn own_address(&self) -> Option<SocketAddr> {
        self.addresses.first().map(|address| {
            let ip = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            SocketAddr::new(ip, address.port())
        })
    }

    /// Takes connections from now on; they are served when everything else is there. Of a name it is enough that
    /// one address is this machine's: a host may know the name of a family that it does not have.
    ///
    /// # Errors
    /// The first failure, where nothing could be bound or where a port is taken.
    pub fn bind(&self) -> io::Result<Bound> {
        let (mut sockets, mut port, mut failed) = (Vec::new(), None, None);
        for address in &self.addresses {
            let at = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
            match socket(at) {
                Ok(socket) => {
                    port = Some(socket.local_addr()?.port());
                    sockets.push(socket);
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => return Err(e),
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        match (port, failed) {
            (Some(port), _) => Ok(Bound {
                host: self.host.clone(),
                port,
                sockets,
            }),
            (None, failed) => Err(failed.unwrap_or(io::ErrorKind::AddrNotAvailable.into())),
        }
    }
}

/// IPv6 means IPv6 only, so that both wildcards can be listened on with one port.
fn socket(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Bound {
    /// The one that it has.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As it was given, with the port that it has.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// An address that can be opened: of a wildcard this machine's own in its network, or else loopback.
    pub fn usable_url(&self) -> String {
        let ip = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        match ip {
            Ok(ip) if ip.is_unspecified() => {
                let own = outward(ip).unwrap_or(if ip.is_ipv4() {
                    Ipv4Addr::LOCALHOST.into()
                } else {
                    Ipv6Addr::LOCALHOST.into()
                });
                format!("http://{}", SocketAddr::new(own, self.port))
            }
            _ => self.url(),
        }
    }
}

/// The address that packets to elsewhere would have. Nothing is sent: a datagram socket only chooses.
fn outward(wildcard: IpAddr) -> Option<IpAddr> {
    let elsewhere: IpAddr = if wildcard.is_ipv4() {
        Ipv4Addr::new(192, 0, 2, 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    };
    let socket = UdpSocket::bind((wildcard, 0)).ok()?;
    socket.connect((elsewhere, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_on() {
        for (text, addresses) in [
            ("127.0.0.1:8400", &["127.0.0.1:8400"][..]),
            ("[::1]:0", &["[::1]:0"]),
            ("0.0.0.0:80", &["0.0.0.0:80"]),
        ] {
            let listen = parse(text).unwrap();
            assert_eq!(listen.to_string(), text);
            let found: Vec<_> = listen.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(found, addresses);
        }
        assert!(parse("localhost:1").unwrap().is_loopback());
        for text in [
            "",
            "x",
            "localhost",
            ":80",
            "127.0.0.1",
            "127.0.0.1:x",
            "::1:80",
            "1.2.3:80",
            "[::1:80",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_shown_as_something_that_can_be_opened() {
        let bound = parse("0.0.0.0:0").unwrap().bind().unwrap();
        assert!(bound.url().starts_with("http://0.0.0.0:"));
        let usable = bound.usable_url();
        assert!(!usable.contains("0.0.0.0"), "{usable}");
        let both = parse("[::]:0").unwrap().bind();
        if let Ok(both) = both {
            parse(&format!("0.0.0.0:{}", both.port))
                .unwrap()
                .bind()
                .unwrap();
        }
    }
}
