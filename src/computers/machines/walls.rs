//! What keeps computers apart on the host, besides what an engine does: rules of this program's own in the host's
//! packet filter.
//!
//! An engine's rules get lost: Podman 4 takes those of a network down with its last container, sometimes after the
//! next one has come up, and whoever reloads a firewall takes them all. A table of one's own is left alone by
//! both engines. It is compared with what it was at every look, and set again as a whole, in one step, where it
//! differs; what was open meanwhile is said.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::seam::Net;

/// Addresses that mean something to each host itself, such as where a cloud hands out its secrets.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// Before an engine's own rules, whose "accept" is final only in their own chain.
const PRIORITY: &str = "filter - 10";
/// Where it is that no path is searched.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// The rules, as they were last set.
pub struct Walls {
    table: String,
    /// Ports of the host that computers may reach.
    open: Vec<u16>,
    set: tokio::sync::Mutex<Option<Set>>,
}

struct Set {
    script: String,
    /// How the filter shows them; `None`: there is no network, and no table.
    shown: Option<String>,
}

/// What there was to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// They are as they were.
    Stood,
    /// There are other networks than before.
    Followed,
    /// Somebody had changed or removed them.
    Mended,
}

impl Walls {
    pub fn new(install: &str, open: &[u16]) -> Walls {
        Walls {
            table: format!("workspaced_{install}"),
            open: open.to_vec(),
            set: tokio::sync::Mutex::default(),
        }
    }

    /// Sees to it that these networks are apart from each other and from the host.
    ///
    /// # Errors
    /// In a sentence: no such program, or not permitted.
    pub async fn stand(&self, networks: &[Net]) -> Result<Done, String> {
        let script = rules(&self.table, networks, &self.open);
        let mut set = self.set.lock().await;
        let shown = self.shown().await?;
        let done = match &*set {
            Some(set) if set.script == script && shown == set.shown => {
                return Ok(Done::Stood);
            }
            Some(set) if shown != set.shown => Done::Mended,
            Some(_) | None => Done::Followed,
        };
        nft(&["-f", "-"], script.clone()).await?;
        let shown = self.shown().await?;
        *set = Some(Set { script, shown });
        Ok(done)
    }

    /// The table as the filter shows it; `None`: there is none.
    async fn shown(&self) -> Result<Option<String>, String> {
        match nft(&["list", "table", "inet", &self.table], String::new()).await {
            Ok(text) => Ok(Some(text)),
            Err(why) if why.contains("No such file") => Ok(None),
            Err(why) => Err(why),
        }
    }
}

/// Nothing runs without the rules, where that is wanted; why they cannot be set.
pub fn unwalled(why: &str) -> String {
    format!(
        "the rules that keep computers apart cannot be set: {why}; mend that, or go on with the engine's own: [engine] firewall = \"auto\""
    )
}

/// Everything in one transaction: there is no instant without.
fn rules(table: &str, networks: &[Net], open: &[u16]) -> String {
    let mut subnets: Vec<(Ipv4Addr, u8)> = networks
        .iter()
        .flat_map(|net| net.subnets.clone())
        .collect();
    subnets.sort_unstable();
    subnets.dedup();
    // An engine gives a computer no address of IPv6, and the kernel one all the same that reaches the host's end of the
    // bridge: nothing of it is needed but between computers of one workspace.
    let bridges: Vec<String> = networks
        .iter()
        .map(|net| format!("\"{}\"", net.bridge))
        .collect();
    let from_all = format!("meta nfproto ipv6 iifname {{ {} }}", bridges.join(", "));
    let mut text = format!("table inet {table} {{}}\ndelete table inet {table}\n");
    if subnets.is_empty() {
        return text;
    }
    let all: Vec<String> = subnets
        .iter()
        .map(|(at, bits)| format!("{at}/{bits}"))
        .collect();
    let (mut within, mut resolver) = (String::new(), String::new());
    for own in &all {
        let _ = writeln!(within, "  ip saddr {own} ip daddr {own} accept");
        for kind in ["udp", "tcp"] {
            let _ = writeln!(
                resolver,
                "  ip saddr {own} ip daddr {own} {kind} dport 53 accept"
            );
        }
    }
    for own in &bridges {
        let _ = writeln!(
            within,
            "  meta nfproto ipv6 iifname {own} oifname {own} accept"
        );
    }
    let ports: Vec<String> = open.iter().map(ToString::to_string).collect();
    let allowed = match ports.is_empty() {
        true => String::new(),
        false => format!(
            "  ip saddr @computers tcp dport {{ {} }} accept\n",
            ports.join(", ")
        ),
    };
    let _ = write!(
        text,
        "table inet {table} {{
 set computers {{ type ipv4_addr; flags interval; elements = {{ {} }} }}
 chain forward {{
  type filter hook forward priority {PRIORITY}; policy accept;
{within}  ip saddr @computers ip daddr @computers drop
  ip saddr @computers ip daddr {LINK_LOCAL} drop
  {from_all} drop
 }}
 chain input {{
  type filter hook input priority {PRIORITY}; policy accept;
  iif lo accept
  ip saddr @computers ct state established,related accept
{resolver}{allowed}  ip saddr @computers drop
  {from_all} drop
 }}
}}
",
        all.join(", ")
    );
    text
}

/// Runs the host's tool for its packet filter.
async fn nft(arguments: &[&str], script: String) -> Result<String, String> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let ran = tokio::task::spawn_blocking(move || {
        for program in PROGRAMS {
            match run(program, &arguments, &script) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(format!("{program}: {e}")),
                Ok(said) => return said,
            }
        }
        Err("nft is not installed: apt install nftables".to_owned())
    });
    ran.await.unwrap_or_else(|e| Err(e.to_string()))
}

/// What it says; the inner error is what it says against it.
fn run(
    program: &str,
    arguments: &[String],
    script: &str,
) -> std::io::Result<Result<String, String>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // Where it ends before it has read all, it says why.
        let _ = input.write_all(script.as_bytes());
    }
    let said = child.wait_with_output()?;
    if said.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&said.stdout).into_owned()));
    }
    let why = String::from_utf8_lossy(&said.stderr);
    let why = why.lines().next().unwrap_or("it failed").trim();
    let hint = match why.contains("not permitted") || why.contains("Permission denied") {
        true => "; the service needs the capability CAP_NET_ADMIN for it",
        false => "",
    };
    Ok(Err(format!("nft: {why}{hint}")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Net, rules};

    #[test]
    fn each_network_reaches_itself_and_the_world_and_nothing_of_the_host() {
        let net = |third: u8| Net {
            name: format!("ws-net-{third}"),
            subnets: vec![(Ipv4Addr::new(10, 200, third, 0), 24)],
            bridge: format!("wsb{third}"),
        };
        let text = rules("workspaced_1", &[net(2), net(1)], &[443]);
        let at = |what: &str| {
            text.find(what)
                .unwrap_or_else(|| panic!("{what} is not in {text}"))
        };
        assert!(text.starts_with("table inet workspaced_1 {}\ndelete table inet workspaced_1\n"));
        assert!(at("10.200.1.0/24, 10.200.2.0/24") < at("chain forward"));
        let own = at("ip saddr 10.200.1.0/24 ip daddr 10.200.1.0/24 accept");
        assert!(own < at("ip saddr @computers ip daddr @computers drop"));
        at("ip saddr @computers ip daddr 169.254.0.0/16 drop");
        let own = at("meta nfproto ipv6 iifname \"wsb1\" oifname \"wsb1\" accept");
        let all = "meta nfproto ipv6 iifname { \"wsb2\", \"wsb1\" } drop";
        assert!(own < at(all) && text.matches(all).count() == 2, "{text}");
        // The host reaches its own addresses in these networks.
        assert!(at("iif lo accept") < at("  ip saddr @computers drop"));
        assert!(at("tcp dport { 443 } accept") < at("  ip saddr @computers drop"));
        assert!(!rules("workspaced_1", &[net(1)], &[]).contains("{ 443 }"));
        // Where there are none, there is nothing to keep apart.
        assert!(!rules("workspaced_1", &[], &[443]).contains("chain"));
    }
}
