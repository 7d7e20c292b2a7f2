//! The RFB protocol (RFC 6143), as far as this server takes part in it: it begins both conversations, and knows where
//! each message of a viewer ends and whether it would change something. What the screen says goes by unread.

use tokio::sync::mpsc;

use super::super::seam::{Output, Running};

/// How both sides begin.
pub const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// No password: who may come was decided before.
const NONE: u8 = 1;
/// To a viewer: one kind of security, which is none.
pub const SECURITY: [u8; 2] = [1, NONE];
pub const WELCOME: [u8; 4] = [0; 4];
/// Nobody else is thrown out.
const SHARED: u8 = 1;
/// Bytes of a text that a viewer puts into the clipboard, and encodings that it may name.
const LONGEST_TEXT: usize = 256 << 10;
const ENCODINGS: usize = 1024;

/// What a message of a viewer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It asks for the picture, or says how it wants it.
    Looks,
    /// It is the pointer, a key, a text, another size.
    Acts,
}

/// What stands at the beginning of what a viewer has sent.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    Message(usize, Kind),
    /// Not all of it is there.
    More,
    /// No message of the protocol.
    Wrong,
}

/// The first message in what a viewer has sent.
pub fn next(bytes: &[u8]) -> Next {
    use Kind::{Acts, Looks};
    let short = |at: usize| {
        let two = bytes.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([two[0], two[1]])))
    };
    let Some(first) = bytes.first() else {
        return Next::More;
    };
    let found = match first {
        0 => Some((20, Looks)),
        2 => short(2).map(|n| (4 + 4 * n, Looks)),
        3 => Some((10, Looks)),
        4 => Some((8, Acts)),
        5 => Some((6, Acts)),
        6 => bytes.get(4..8).map(|length| {
            // Below zero it is the extended form, as long as that says.
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            let length = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
            (length.saturating_add(8), Acts)
        }),
        150 => Some((10, Looks)),
        248 => bytes.get(8).map(|length| (9 + usize::from(*length), Looks)),
        250 => Some((4, Acts)),
        251 => bytes
            .get(6)
            .map(|screens| (8 + 16 * usize::from(*screens), Acts)),
        // Keys by where they are.
        255 => match bytes.get(1) {
            Some(0) => Some((12, Acts)),
            Some(_) => return Next::Wrong,
            None => None,
        },
        _ => return Next::Wrong,
    };
    match found {
        Some((length, kind)) => {
            let most = if *first == 2 {
                4 + 4 * ENCODINGS
            } else {
                LONGEST_TEXT + 8
            };
            if length > most {
                Next::Wrong
            } else if length > bytes.len() {
                Next::More
            } else {
                Next::Message(length, kind)
            }
        }
        None => Next::More,
    }
}

/// Why a screen did not begin.
pub enum Failed {
    /// It ended, with this code and text.
    Ended(Option<i64>, String),
    /// It speaks something else, or wants a password.
    Strange(String),
}

/// Bytes of a program, as many as are asked for.
struct Reader<'a> {
    from: &'a mut mpsc::Receiver<Output>,
    kept: Vec<u8>,
    errors: Vec<u8>,
}

impl Reader<'_> {
    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Failed> {
        while self.kept.len() < length {
            match self.from.recv().await {
                Some(Output::Out(bytes)) => self.kept.extend(bytes),
                Some(Output::Err(bytes)) if self.errors.len() < 1000 => self.errors.extend(bytes),
                Some(Output::Err(_)) => {}
                ended => {
                    let code = match ended {
                        Some(Output::Exit(code)) => Some(code),
                        _ => None,
                    };
                    let text = String::from_utf8_lossy(&self.errors).into_owned();
                    return Err(Failed::Ended(code, text));
                }
            }
        }
        let rest = self.kept.split_off(length);
        Ok(std::mem::replace(&mut self.kept, rest))
    }
}

/// Begins the conversation with a screen; returns what it has said already of what comes after.
///
/// # Errors
/// When it ends, or is none that lets everybody in.
pub async fn begin(running: &mut Running) -> Result<Vec<u8>, Failed> {
    let to = running.input.clone();
    let say = |bytes: Vec<u8>| {
        let to = to.clone();
        async move {
            if let Some(to) = to {
                let _ = to.send(bytes).await;
            }
        }
    };
    let mut reader = Reader {
        from: &mut running.output,
        kept: Vec::new(),
        errors: Vec::new(),
    };
    let version = reader.take(12).await?;
    if !version.starts_with(b"RFB 003.008") {
        let text = String::from_utf8_lossy(&version).into_owned();
        return Err(Failed::Strange(format!("it says {text:?}")));
    }
    say(VERSION.to_vec()).await;
    let count = reader.take(1).await?[0];
    let kinds = reader.take(usize::from(count)).await?;
    if !kinds.contains(&NONE) {
        return Err(Failed::Strange("it wants a password of its own".into()));
    }
    say(vec![NONE]).await;
    if reader.take(4).await? != WELCOME {
        return Err(Failed::Strange("it lets nobody in".into()));
    }
    say(vec![SHARED]).await;
    Ok(reader.kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_viewer_end_where_they_end() {
        let all: [(&[u8], usize, Kind); 9] = [
            (&[0; 20], 20, Kind::Looks),
            (&[2, 0, 0, 1, 0, 0, 0, 0], 8, Kind::Looks),
            (&[3, 0, 0, 0, 0, 0, 0, 9, 0, 9], 10, Kind::Looks),
            (&[4, 1, 0, 0, 0, 0, 0, 65], 8, Kind::Acts),
            (&[5, 1, 0, 9, 0, 9], 6, Kind::Acts),
            (&[6, 0, 0, 0, 0, 0, 0, 2, 65, 66], 10, Kind::Acts),
            (
                &[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 1, 2, 3, 4],
                12,
                Kind::Acts,
            ),
            (&[248, 0, 0, 0, 0, 0, 0, 0, 1, 7], 10, Kind::Looks),
            (&[255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30], 12, Kind::Acts),
        ];
        for (bytes, length, kind) in all {
            for cut in 0..length {
                assert_eq!(next(&bytes[..cut]), Next::More, "{bytes:?} {cut}");
            }
            let longer = [bytes, &[5, 0, 0, 0, 0, 0]].concat();
            assert_eq!(next(&longer), Next::Message(length, kind), "{bytes:?}");
        }
        assert_eq!(next(&[251, 0, 0, 9, 0, 9, 2, 0]), Next::More);
        for wrong in [
            &[1][..],
            &[7],
            &[255, 1],
            &[6, 0, 0, 0, 0x7f, 0, 0, 0],
            &[2, 0, 0xff, 0xff],
            b"GET ",
        ] {
            assert_eq!(next(wrong), Next::Wrong, "{wrong:?}");
        }
    }
}
