//! On which ports programs in a computer listen, as the kernel counts: no activity, and no program of the engine's
//! where this machine sees the computer's processes itself.

use std::collections::BTreeMap;

use super::inside::Said;
use super::reconcile::{LOOK, bounded};
use super::seam::{Engine, Fault, Output, Program};

/// State `LISTEN` in the kernel's table.
const LISTEN: &str = "0A";

/// The ports on which something listens; true: only for the computer itself.
///
/// # Errors
/// When the engine is silent or the container does not run.
pub async fn ports(engine: &dyn Engine, name: &str) -> Result<BTreeMap<u16, bool>, Fault> {
    let seen = bounded(LOOK, engine.inspect(name)).await?;
    let table = |which: &str| {
        let pid = seen.pid?;
        std::fs::read_to_string(format!("/proc/{pid}/net/{which}")).ok()
    };
    if let Some(first) = table("tcp") {
        return Ok(read(&(first + &table("tcp6").unwrap_or_default())));
    }
    let program = Program {
        command: ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
            .map(String::from)
            .into(),
        ..Program::default()
    };
    let mut running = bounded(LOOK, engine.exec(name, program)).await?;
    let mut said = Said::default();
    let all = async {
        while let Some(piece) = running.output.recv().await {
            if let Output::Out(bytes) = piece {
                said.out.extend(bytes);
            }
        }
    };
    let _ = tokio::time::timeout(LOOK, all).await;
    Ok(read(&String::from_utf8_lossy(&said.out)))
}

/// Rows of `/proc/net/tcp` and `tcp6` that listen.
fn read(table: &str) -> BTreeMap<u16, bool> {
    let mut found = BTreeMap::new();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(_), Some(local), Some(_), Some(LISTEN)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some((address, port)) = local.split_once(':') else {
            continue;
        };
        let Ok(port) = u16::from_str_radix(port, 16) else {
            continue;
        };
        // 127.0.0.0/8 and ::1, in the byte order of the machine.
        let inside = match address.len() {
            8 => address.ends_with("7F"),
            _ => {
                address == "00000000000000000000000001000000"
                    || address.ends_with("FFFF00000100007F")
            }
        };
        found
            .entry(port)
            .and_modify(|only| *only &= inside)
            .or_insert(inside);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_listens_is_told_from_what_is_connected() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
             0: 00000000:0BB8 00000000:0000 0A 00000000:00000000\n   \
             1: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
             2: 0200A8C0:0BB9 0300A8C0:D431 01 00000000:00000000\n   \
             3: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 0\n   \
             4: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0\n";
        let found: Vec<(u16, bool)> = read(table).into_iter().collect();
        assert_eq!(found, [(3000, false), (8080, false), (8081, true)]);
    }
}
