//! Asking the provider: bounded in time, in bytes, and in how many wait for it at once.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use ureq::{Agent, Body, Error};

use super::fault::Fault;

const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take as a whole.
const WHOLE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MOST: u64 = 256 << 10;
/// Questions at once: each holds a thread while the provider thinks.
const AT_ONCE: usize = 8;

/// What is asked for.
pub enum Ask {
    Get {
        url: String,
        bearer: Option<String>,
    },
    Form {
        url: String,
        /// The value of `Authorization`, if the client has a secret to show.
        basic: Option<String>,
        fields: Vec<(&'static str, String)>,
    },
}

/// Asks. Nothing is carried over from one question to the next.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    places: Arc<Semaphore>,
}

impl Default for Http {
    fn default() -> Self {
        let settings = Agent::config_builder()
            // Neither a proxy of the environment nor a redirect leads elsewhere than configured.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(WHOLE))
            .user_agent(concat!("workspaced/", env!("CARGO_PKG_VERSION")))
            .build();
        Http {
            agent: Agent::new_with_config(settings),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Http {
    /// The status and the JSON of the answer.
    ///
    /// # Errors
    /// [`Fault::Provider`] where there is none, [`Fault::Busy`].
    pub async fn ask(&self, ask: Ask) -> Result<(u16, Value), Fault> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Fault::Busy)?;
        let agent = self.agent.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            send(&agent, ask)
        });
        asked
            .await
            .unwrap_or_else(|_| Err(Fault::Provider("asking it failed here".into())))
    }

    /// The JSON of an answer that has to be good.
    ///
    /// # Errors
    /// As [`Http::ask`].
    pub async fn get(&self, url: String, bearer: Option<String>) -> Result<Value, Fault> {
        match self.ask(Ask::Get { url, bearer }).await? {
            (200, value) => Ok(value),
            (status, _) => Err(Fault::Provider(format!("it answered {status}"))),
        }
    }
}

fn send(agent: &Agent, ask: Ask) -> Result<(u16, Value), Fault> {
    let sent = match ask {
        Ask::Get { url, bearer } => {
            let request = agent.get(url).header("accept", "application/json");
            match bearer {
                Some(token) => request.header("authorization", format!("Bearer {token}")),
                None => request,
            }
            .call()
        }
        Ask::Form { url, basic, fields } => {
            let request = agent.post(url).header("accept", "application/json");
            match basic {
                Some(basic) => request.header("authorization", basic),
                None => request,
            }
            .send_form(fields)
        }
    };
    let response = sent.map_err(|e| Fault::Provider(why(&e)))?;
    let status = response.status().as_u16();
    Ok((status, json(response.into_body())?))
}

fn json(body: Body) -> Result<Value, Fault> {
    let mut bytes = Vec::new();
    body.into_reader()
        .take(MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Fault::Provider("its answer broke off".into()))?;
    if bytes.len() as u64 > MOST {
        return Err(Fault::Provider(format!(
            "its answer has more than {MOST} bytes"
        )));
    }
    serde_json::from_slice(&bytes).map_err(|_| Fault::Provider("its answer is not JSON".into()))
}

fn why(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", WHOLE.as_secs()),
        Error::HostNotFound => "its host name leads to no address".into(),
        Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            "it refused the connection".into()
        }
        other => other.to_string(),
    }
}
