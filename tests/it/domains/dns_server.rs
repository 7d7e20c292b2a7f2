//! A DNS server on loopback that answers as it is told.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{CNAME, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

/// What a name answers. Names that were not set do not exist.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// A CNAME record.
    Cname(&'static str),
    /// A and AAAA records.
    Addresses(&'static [&'static str]),
    /// A TXT record.
    Text(&'static str),
    /// One of these at a time, each in turn.
    Rotating(&'static [&'static str]),
    /// FORMERR for questions with EDNS, else a CNAME record.
    WithoutEdns(&'static str),
    /// The name exists, without any record of use.
    NoData,
    /// NXDOMAIN.
    NoName,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// Nothing at all.
    Nothing,
    /// A CNAME record, once the gate is open.
    CnameOnceOpen(&'static str),
}

#[derive(Default)]
struct Zone {
    names: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<String>>,
    turn: AtomicUsize,
    gate: Gate,
}

pub struct Gate {
    asked: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            asked: Semaphore::new(0),
            open: Semaphore::new(0),
        }
    }
}

impl Gate {
    /// Returns when a held name has been asked for.
    pub async fn asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }

    /// Lets all answers through.
    pub fn open(&self) {
        self.open.add_permits(1000);
    }
}

pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    _server: Server<Handler>,
}

impl DnsServer {
    pub async fn start() -> DnsServer {
        let zone = Arc::new(Zone::default());
        let mut server = Server::new(Handler(zone.clone()));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        server.register_socket(socket);
        DnsServer {
            address,
            zone,
            _server: server,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` (a host, or `*.` and one) answers this.
    pub fn set(&self, name: &str, says: Says) {
        self.zone
            .names
            .lock()
            .unwrap()
            .insert(name.to_owned(), says);
    }

    /// Every name that was asked for, once per question.
    pub fn asked(&self) -> Vec<String> {
        self.zone.asked.lock().unwrap().clone()
    }

    pub fn gate(&self) -> &Gate {
        &self.zone.gate
    }
}

struct Handler(Arc<Zone>);

impl Zone {
    /// The name itself, or the nearest wildcard above it.
    fn find(&self, name: &str) -> Says {
        let names = self.names.lock().unwrap();
        let above = name
            .match_indices('.')
            .map(|(dot, _)| format!("*{}", &name[dot..]));
        std::iter::once(name.to_owned())
            .chain(above)
            .find_map(|n| names.get(&n).copied())
            .unwrap_or(Says::NoName)
    }
}

impl Handler {
    async fn handle(&self, request: &Request, mut out: impl ResponseHandler) -> ResponseInfo {
        let query = request.request_info().unwrap().query;
        let name = query
            .name()
            .to_string()
            .trim_end_matches('.')
            .to_ascii_lowercase();
        self.0.asked.lock().unwrap().push(name.clone());
        let data = |data: RData| Record::from_rdata(Name::from(query.name()), 60, data);
        let cname = |to: &str| {
            data(RData::CNAME(CNAME(
                Name::from_ascii(format!("{to}.")).unwrap(),
            )))
        };
        let (code, records) = match self.0.find(&name) {
            Says::Cname(to) => (ResponseCode::NoError, vec![cname(to)]),
            Says::CnameOnceOpen(to) => {
                self.0.gate.asked.add_permits(1);
                self.0.gate.open.acquire().await.unwrap().forget();
                (ResponseCode::NoError, vec![cname(to)])
            }
            Says::Addresses(list) => {
                let all = list.iter().map(|text| match text.parse().unwrap() {
                    IpAddr::V4(ip) => RData::A(ip.into()),
                    IpAddr::V6(ip) => RData::AAAA(ip.into()),
                });
                let fits = |d: &RData| d.record_type() == query.query_type();
                (ResponseCode::NoError, all.filter(fits).map(data).collect())
            }
            Says::Text(text) => {
                let txt = RData::TXT(TXT::new(vec![text.to_owned()]));
                let fits = query.query_type() == RecordType::TXT;
                (
                    ResponseCode::NoError,
                    fits.then(|| data(txt)).into_iter().collect(),
                )
            }
            Says::Rotating(pool) => {
                let fits = query.query_type() == RecordType::A;
                let turn = if fits {
                    self.0.turn.fetch_add(1, Ordering::Relaxed)
                } else {
                    0
                };
                let IpAddr::V4(ip) = pool[turn % pool.len()].parse().unwrap() else {
                    panic!("the pool is of IPv4")
                };
                let a = data(RData::A(ip.into()));
                (
                    ResponseCode::NoError,
                    fits.then_some(a).into_iter().collect(),
                )
            }
            Says::WithoutEdns(_) if request.edns.is_some() => (ResponseCode::FormErr, vec![]),
            Says::WithoutEdns(to) => (ResponseCode::NoError, vec![cname(to)]),
            Says::NoData => (ResponseCode::NoError, vec![]),
            Says::NoName => (ResponseCode::NXDomain, vec![]),
            Says::ServerFailure => (ResponseCode::ServFail, vec![]),
            Says::Refused => (ResponseCode::Refused, vec![]),
            Says::Nothing => std::future::pending().await,
        };
        assert_ne!(query.query_type(), RecordType::ANY);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        let builder = MessageResponseBuilder::from_message_request(request);
        out.send_response(builder.build(metadata, &records, [], [], []))
            .await
            .unwrap()
    }
}

impl RequestHandler for Handler {
    // The signature that the trait's macro makes.
    fn handle_request<'s, 'r, 'f, R: ResponseHandler + 'f, T: Time + 'f>(
        &'s self,
        request: &'r Request,
        out: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'f>>
    where
        's: 'f,
        'r: 'f,
        Self: 'f,
    {
        Box::pin(self.handle(request, out))
    }
}
