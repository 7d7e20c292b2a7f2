//! Random calls against a small model: the life of computers, limits, counts and moves.
//!
//! The model shares no code with the product. It keeps three workspaces and their computers in
//! plain vectors and says, for each call, which status must come back; afterwards every count that
//! the API shows must be the model's.

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};

use crate::harness::Service;
use workspaced::testing::verify;

const SIZES: [&str; 5] = ["xs", "small", "medium", "large", "xl"];

#[derive(Debug, Clone)]
enum Call {
    Create {
        workspace: usize,
        size: usize,
    },
    Act {
        computer: usize,
        verb: &'static str,
    },
    Resize {
        computer: usize,
        size: usize,
    },
    Clone {
        computer: usize,
    },
    Move {
        computer: usize,
        workspace: usize,
    },
    Delete {
        computer: usize,
    },
    Restore {
        computer: usize,
    },
    Cap {
        workspace: usize,
        max: Option<i64>,
        size: Option<usize>,
    },
    Wait {
        seconds: i64,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let verb = prop_oneof![Just("start"), Just("stop"), Just("restart")];
    prop_oneof![
        4 => (0..3_usize, 0..5_usize).prop_map(|(workspace, size)| Call::Create { workspace, size }),
        6 => (0..9_usize, verb).prop_map(|(computer, verb)| Call::Act { computer, verb }),
        2 => (0..9_usize, 0..5_usize).prop_map(|(computer, size)| Call::Resize { computer, size }),
        1 => (0..9_usize).prop_map(|computer| Call::Clone { computer }),
        3 => (0..9_usize, 0..3_usize).prop_map(|(computer, workspace)| Call::Move { computer, workspace }),
        2 => (0..9_usize).prop_map(|computer| Call::Delete { computer }),
        2 => (0..9_usize).prop_map(|computer| Call::Restore { computer }),
        2 => (0..3_usize, prop::option::of(0..4_i64), prop::option::of(1..4_usize))
            .prop_map(|(workspace, max, size)| Call::Cap { workspace, max, size }),
        4 => (0..3_i64).prop_map(|seconds| Call::Wait { seconds }),
    ]
}

struct Machine {
    id: String,
    workspace: usize,
    size: usize,
    status: &'static str,
    /// Seconds until it gets where it is going.
    left: i64,
}

struct Place {
    id: String,
    max: Option<i64>,
    size: Option<usize>,
}

struct Model<'a> {
    service: &'a Service,
    places: Vec<Place>,
    machines: Vec<Machine>,
    deleted: Vec<Machine>,
}

impl Model<'_> {
    fn room(&self, workspace: usize) -> bool {
        let used = self
            .machines
            .iter()
            .filter(|m| m.workspace == workspace)
            .count();
        self.places[workspace]
            .max
            .is_none_or(|max| i64::try_from(used).unwrap() < max)
    }

    fn fits(&self, workspace: usize, size: usize) -> bool {
        self.places[workspace].size.is_none_or(|cap| size <= cap)
    }

    fn admits(&self, workspace: usize, size: usize) -> u16 {
        if self.fits(workspace, size) && self.room(workspace) {
            201
        } else {
            422
        }
    }

    fn expect(&self, path: &str, body: Value, status: u16, call: &Call) -> Value {
        let answer = self.service.post(path, body);
        assert_eq!(answer.status.as_u16(), status, "{call:?}: {}", answer.text);
        answer.json()
    }

    fn add(&mut self, body: &Value, workspace: usize, size: usize) {
        let id = body["id"].as_str().unwrap().to_owned();
        self.machines.push(Machine {
            id,
            workspace,
            size,
            status: "provisioning",
            left: 1,
        });
    }

    fn run(&mut self, call: &Call) {
        let pick = |n: usize| (!self.machines.is_empty()).then(|| n % self.machines.len());
        match call {
            Call::Create { workspace, size } => {
                let status = self.admits(*workspace, *size);
                let body = json!({ "name": "pc", "workspace_id": self.places[*workspace].id, "size": SIZES[*size] });
                let body = self.expect("/computers", body, status, call);
                if status == 201 {
                    self.add(&body, *workspace, *size);
                }
            }
            Call::Clone { computer } => {
                let Some(n) = pick(*computer) else { return };
                let (workspace, size) = (self.machines[n].workspace, self.machines[n].size);
                let status = self.admits(workspace, size);
                let body = self.expect(
                    &format!("/computers/{}/clone", self.machines[n].id),
                    json!({}),
                    status,
                    call,
                );
                if status == 201 {
                    self.add(&body, workspace, size);
                }
            }
            Call::Act { computer, verb } => {
                let Some(n) = pick(*computer) else { return };
                let to = match (*verb, self.machines[n].status) {
                    ("start", "provisioning" | "starting" | "running")
                    | ("stop", "stopping" | "stopped") => None,
                    ("start", "stopped") | ("restart", "running") => Some(("starting", 1)),
                    ("stop", "running") => Some(("stopping", 1)),
                    _ => {
                        self.expect(
                            &format!("/computers/{}/{verb}", self.machines[n].id),
                            json!({}),
                            409,
                            call,
                        );
                        return;
                    }
                };
                let body = self.expect(
                    &format!("/computers/{}/{verb}", self.machines[n].id),
                    json!({}),
                    200,
                    call,
                );
                if let Some((status, left)) = to {
                    (self.machines[n].status, self.machines[n].left) = (status, left);
                }
                assert_eq!(body["status"], self.machines[n].status, "{call:?}");
            }
            Call::Resize { computer, size } => {
                let Some(n) = pick(*computer) else { return };
                let grows = *size > self.machines[n].size;
                let status = if grows && !self.fits(self.machines[n].workspace, *size) {
                    422
                } else {
                    200
                };
                let path = format!("/computers/{}/resize", self.machines[n].id);
                self.expect(&path, json!({ "size": SIZES[*size] }), status, call);
                if status == 200 {
                    self.machines[n].size = *size;
                }
            }
            Call::Move {
                computer,
                workspace,
            } => {
                let Some(n) = pick(*computer) else { return };
                let stays = self.machines[n].workspace == *workspace;
                let fits = self.fits(*workspace, self.machines[n].size) && self.room(*workspace);
                let status = if stays || fits { 200 } else { 422 };
                let body = json!({ "workspace_id": self.places[*workspace].id });
                self.expect(
                    &format!("/computers/{}/move", self.machines[n].id),
                    body,
                    status,
                    call,
                );
                if status == 200 {
                    self.machines[n].workspace = *workspace;
                }
            }
            Call::Delete { computer } => {
                let Some(n) = pick(*computer) else { return };
                self.service
                    .delete(&format!("/computers/{}", self.machines[n].id))
                    .expect(200);
                let machine = self.machines.remove(n);
                self.deleted.push(machine);
            }
            Call::Restore { computer } => {
                if self.deleted.is_empty() {
                    return;
                }
                let n = computer % self.deleted.len();
                let (workspace, size) = (self.deleted[n].workspace, self.deleted[n].size);
                let status = if self.admits(workspace, size) == 201 {
                    200
                } else {
                    422
                };
                let path = format!("/computers/{}/restore", self.deleted[n].id);
                self.expect(&path, json!({}), status, call);
                if status == 200 {
                    let mut machine = self.deleted.remove(n);
                    machine.status = "stopped";
                    self.machines.push(machine);
                }
            }
            Call::Cap {
                workspace,
                max,
                size,
            } => {
                let body = json!({
                    "max_computers": max, "max_computer_size": size.map(|s| SIZES[s]),
                    "default_computer_size": "xs",
                });
                self.service
                    .put(
                        &format!("/workspaces/{}/settings", self.places[*workspace].id),
                        body,
                    )
                    .expect(200);
                (self.places[*workspace].max, self.places[*workspace].size) = (*max, *size);
            }
            Call::Wait { seconds } => {
                self.service.advance(*seconds);
                for m in &mut self.machines {
                    m.left -= seconds;
                    if m.left <= 0 {
                        m.status = match m.status {
                            "provisioning" | "starting" => "running",
                            "stopping" => "stopped",
                            other => other,
                        };
                    }
                }
            }
        }
    }

    fn compare(&self) {
        for (n, place) in self.places.iter().enumerate() {
            let here: Vec<_> = self.machines.iter().filter(|m| m.workspace == n).collect();
            let stats = self
                .service
                .get(&format!("/workspaces/{}/stats", place.id))
                .expect(200);
            assert_eq!(stats["computers"]["total"], here.len());
            for (status, count) in stats["computers"]["by_status"].as_object().unwrap() {
                assert_eq!(
                    count,
                    here.iter().filter(|m| m.status == status).count(),
                    "{status}"
                );
            }
            let workspace = self
                .service
                .get(&format!("/workspaces/{}", place.id))
                .expect(200);
            assert_eq!(workspace["computer_count"], here.len());
            let list = self
                .service
                .get(&format!("/workspaces/{}/computers", place.id))
                .expect(200);
            assert_eq!(list["total"], here.len());
            for m in here {
                let row = list["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|r| r["id"] == m.id)
                    .unwrap();
                assert_eq!(
                    (&row["status"], &row["size"]),
                    (&json!(m.status), &json!(SIZES[m.size]))
                );
            }
        }
        // What the history says last is what the row says, and only `running` is billed.
        let wrong = "SELECT count(*) FROM computers c JOIN compute_events e ON e.computer_id = c.id
            WHERE e.seq = (SELECT seq FROM compute_events WHERE computer_id = c.id ORDER BY at DESC, seq DESC LIMIT 1)
              AND (e.status <> c.status OR e.size <> c.size OR e.workspace_id <> c.workspace_id
                   OR e.project_id <> c.project_id OR e.billable <> (c.status = 'running'))";
        assert_eq!(self.service.count(wrong), 0);
        let counts = "SELECT count(*) FROM tenants t WHERE computer_count <>
            (SELECT count(*) FROM computers c WHERE c.tenant_id = t.id AND c.deleted_at IS NULL)
            OR workspace_count <>
            (SELECT count(*) FROM workspaces w WHERE w.tenant_id = t.id AND w.deleted_at IS NULL)";
        assert_eq!(self.service.count(counts), 0);
        let deleted = self.service.get("/deleted").expect(200);
        assert_eq!(deleted["total"], self.deleted.len());
        let proof = self.service.app.store.read_blocking(verify);
        assert!(proof.unwrap().ok);
    }
}

#[test]
fn random_calls_agree_with_the_model() {
    let mut runner = TestRunner::new(Cases {
        cases: 60,
        failure_persistence: None,
        ..Cases::default()
    });
    runner
        .run(&prop::collection::vec(call(), 1..60), |calls| {
            let service = Service::new();
            let places = ["A", "B", "C"].map(|name| Place {
                id: service.workspace(name),
                max: None,
                size: None,
            });
            let mut model = Model {
                service: &service,
                places: places.into(),
                machines: Vec::new(),
                deleted: Vec::new(),
            };
            for call in &calls {
                model.run(call);
            }
            model.compare();
            Ok(())
        })
        .unwrap();
}
