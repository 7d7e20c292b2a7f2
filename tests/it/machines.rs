//! Computers that a container engine runs, over an engine that can lie, hang, lose events and die.

mod desktop;
mod disk;
mod fake;
mod previews;
mod pulse;
mod snapshots;
mod terminal;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use workspaced::testing::machines::{
    EngineSettings, Firewall, Host, Image, Network, OnBoot, Reserve, Snapshots, online_cpus, run,
};
use workspaced::testing::{Config, forget_deleted, verify};

use crate::harness::{Answer, Service, runtime};
use fake::Fake;

/// A service with an engine, and the task between them.
struct House {
    s: Service,
    fake: Fake,
    task: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

fn settings(socket: std::path::PathBuf) -> EngineSettings {
    let image = Image {
        image: "localhost/box:1".into(),
        command: vec!["sleep".into()],
        home: "/home".into(),
        read_only: false,
        user: None,
    };
    EngineSettings {
        sockets: vec![socket],
        network: Network::Workspace,
        runtime: None,
        on_boot: OnBoot::Restore,
        allow_unlimited: false,
        pin_cpus: true,
        terminal_idle: Duration::from_secs(60),
        probe: false,
        reserve: Reserve::default(),
        firewall: Firewall::Off,
        host_ports: Vec::new(),
        snapshots: Snapshots::default(),
        look_every: Duration::from_millis(30),
        pulse_every: Duration::from_millis(20),
        sample_every: Duration::from_millis(30),
        images: BTreeMap::from([("miosa-desktop".to_owned(), image)]),
    }
}

impl House {
    fn new() -> House {
        House::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut EngineSettings)) -> House {
        House::keeping(0, change)
    }

    /// What is deleted is kept for so long.
    fn keeping(keep_deleted_ms: i64, change: impl FnOnce(&mut EngineSettings)) -> House {
        let dir = tempfile::TempDir::new().unwrap().keep();
        let mut settings = settings(dir.join("engine.sock"));
        change(&mut settings);
        let config = Config {
            engine: Some(settings),
            keep_deleted_ms,
            ..Config::default()
        };
        let s = Service::with(config);
        // Whatever the machine of the test has left.
        *s.app.fleet.engine.pretended.lock() = Some(Host::default());
        let fake = Fake::start(&dir, &s.clock);
        let mut house = House {
            s,
            fake,
            task: None,
        };
        house.wake();
        house
    }

    /// The service begins to work with the engine.
    fn wake(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let (store, fleet) = (self.s.app.store.clone(), self.s.app.fleet.clone());
        let task = runtime().spawn(run(store, fleet, stopped));
        self.task = Some((stop, task));
    }

    /// It is killed: nothing that was under way is finished.
    fn sleep(&mut self) {
        if let Some((_, task)) = self.task.take() {
            task.abort();
            let _ = runtime().block_on(task);
        }
    }

    fn restart(&mut self) {
        self.sleep();
        self.s.restart();
        self.wake();
    }

    /// The engine is there, as far as the service knows.
    fn ready(&self) {
        self.until("the engine to be found", || {
            self.s.app.fleet.engine.ready().is_ok().then_some(())
        });
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = check() {
                return found;
            }
            pause(10);
        }
        panic!("waited for {what}");
    }

    fn computer(&self) -> String {
        self.ready();
        let id = self.s.computer(&self.s.default_workspace, "small");
        self.becomes(&id, "running");
        id
    }

    fn show(&self, id: &str) -> Value {
        self.s.get(&format!("/computers/{id}")).expect(200)
    }

    #[track_caller]
    fn becomes(&self, id: &str, status: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..1000 {
            last = self.show(id);
            if last["status"] == status {
                return last;
            }
            pause(10);
        }
        panic!("waited for {status}: {last}, {:?}", self.fake.of(id));
    }

    fn act(&self, id: &str, verb: &str) -> Value {
        self.s
            .post(&format!("/computers/{id}/{verb}"), json!({}))
            .expect(200)
    }

    /// Seconds that are billed, and the proof of them.
    fn billed(&self) -> i64 {
        let found = self.s.app.store.read_blocking(verify).unwrap();
        assert!(found.ok, "{found}");
        let usage = self.s.get("/usage/summary").expect(200);
        usage["compute_ms"].as_i64().unwrap() / 1000
    }

    /// Everything was looked at once more.
    fn looked(&self) {
        let lists = self.fake.inside(|inside| inside.count("list"));
        self.until("two looks", || {
            (self.fake.inside(|inside| inside.count("list")) > lists + 2).then_some(())
        });
    }
}

/// What is not of the API.
fn plain(h: &House, path: &str) -> Answer {
    let request = Request::builder()
        .uri(path)
        .header("authorization", format!("Bearer {}", h.s.key));
    h.s.send(request.body(Body::empty()).unwrap())
}

/// Lets everything else go on for a while.
fn pause(ms: u64) {
    runtime().block_on(async { tokio::time::sleep(Duration::from_millis(ms)).await });
}

impl Drop for House {
    fn drop(&mut self) {
        self.sleep();
    }
}

#[test]
fn a_computer_is_a_container_and_is_billed_for_what_it_ran() {
    let h = House::new();
    h.ready();
    let made =
        h.s.post("/computers", json!({ "name": "Real", "size": "medium" }))
            .expect(201);
    assert_eq!(made["driver"], "docker");
    assert_eq!(made["status"], "provisioning");
    assert_eq!(made["disk_limit"], "advisory");
    let id = made["id"].as_str().unwrap();
    let shown = h.becomes(id, "running");
    let container = h.fake.of(id).unwrap();
    assert_eq!(shown["vm_id"], json!(container.id));
    let host = &container.body["HostConfig"];
    assert_eq!(host["NanoCpus"], 2_000_000_000_i64);
    assert_eq!(host["CpuShares"], 256, "the host's own services come first");
    assert_eq!(host["Memory"], 8_192_i64 << 20);
    assert_eq!(host["MemorySwap"], host["Memory"]);
    assert_eq!(host["PidsLimit"], 1024);
    assert_eq!(host["Init"], true);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], json!(["NET_RAW", "MKNOD", "AUDIT_WRITE"]));
    assert!(host["Tmpfs"]["/tmp"].is_string());
    assert!(host["Binds"].is_null() && host["PortBindings"].is_null() && host["Devices"].is_null());
    assert_eq!(host["Mounts"][0]["Type"], "volume");
    let network = format!("ws-net-{}", h.s.default_workspace);
    assert_eq!(host["NetworkMode"], json!(network));

    h.s.clock.set(h.s.app.store.now().plus_seconds(100));
    assert_eq!(h.act(id, "stop")["status"], "stopping");
    h.becomes(id, "stopped");
    h.s.clock.set(h.s.app.store.now().plus_seconds(1000));
    assert_eq!(h.billed(), 100);
    h.act(id, "start");
    h.becomes(id, "running");
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("the container to go", || {
        h.fake.of(id).is_none().then_some(())
    });
    h.until("its volume to go", || {
        h.fake.inside(|i| i.volumes.is_empty()).then_some(())
    });
    assert_eq!(h.billed(), 110);
    h.until("nothing to be left", || {
        (h.s.count("SELECT count(*) FROM machines") == 0).then_some(())
    });
    assert_eq!(
        h.fake.inside(|i| (i.count("create"), i.count("start"))),
        (1, 2)
    );
}

#[test]
fn computers_run_on_the_cpus_that_fewest_others_have() {
    let mut h = House::new();
    h.fake.inside(|i| i.pins = true);
    h.restart();
    let all = online_cpus();
    let made = |h: &House, size: &str| {
        h.ready();
        let body = json!({ "name": "One", "size": size });
        let id = h.s.post("/computers", body).expect(201)["id"].clone();
        let id = id.as_str().unwrap().to_owned();
        h.becomes(&id, "running");
        id
    };
    let held = |h: &House, id: &str| {
        let container = h.fake.of(id).unwrap();
        container.body["HostConfig"]["CpusetCpus"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let nth = |n: usize| all[all.len() - 1 - n % all.len()].to_string();
    let mut ids: Vec<String> = (0..3).map(|_| made(&h, "xs")).collect();
    // Who has which is read from the engine.
    h.restart();
    h.until("all to be looked at", || {
        h.s.app.fleet.engine.standing.lock().looked_at
    });
    ids.push(made(&h, "xs"));
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(held(&h, id), nth(n), "of {all:?}");
    }
    h.s.delete(&format!("/computers/{}", ids[3])).expect(200);
    h.until("the container to go", || {
        h.fake.of(&ids[3]).is_none().then_some(())
    });
    for id in &ids[..2] {
        h.act(id, "stop");
        h.becomes(id, "stopped");
    }
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    h.act(&ids[0], "start");
    h.becomes(&ids[0], "running");
    assert!(
        all.len() == 1 || held(&h, &ids[0]) != held(&h, &ids[2]),
        "another one has nobody on it"
    );
    let large = made(&h, "medium");
    assert_eq!(held(&h, &large).split(',').count(), all.len().min(2));
}

#[test]
fn on_any_cpu_where_the_engine_cannot_hold_them_or_is_not_to() {
    let mut h = House::with(|settings| settings.pin_cpus = false);
    h.fake.inside(|i| i.pins = true);
    h.restart();
    h.ready();
    let id = h.computer();
    assert_eq!(h.fake.of(&id).unwrap().body["HostConfig"]["CpusetCpus"], "");
    let h = House::new();
    let id = h.computer();
    assert_eq!(h.fake.of(&id).unwrap().body["HostConfig"]["CpusetCpus"], "");
}

#[test]
fn it_is_billed_until_it_has_stopped_and_not_until_somebody_asked() {
    let h = House::new();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(50));
    h.fake.inside(|i| i.hangs.insert("stop".into()));
    assert_eq!(h.act(&id, "stop")["status"], "stopping");
    h.s.clock.set(h.s.app.store.now().plus_seconds(7));
    assert_eq!(h.show(&id)["status"], "stopping");
    assert_eq!(h.billed(), 57);
    h.fake.inside(|i| i.hangs.clear());
    h.becomes(&id, "stopped");
    h.s.clock.set(h.s.app.store.now().plus_seconds(500));
    assert_eq!(h.billed(), 57);
}

#[test]
fn a_program_that_ends_says_why() {
    let h = House::new();
    let (good, bad, fat) = (h.computer(), h.computer(), h.computer());
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    h.fake.ends(&good, 0, false);
    h.fake.ends(&bad, 3, false);
    h.fake.ends(&fat, 137, true);
    assert!(h.becomes(&good, "stopped").get("fault").is_none());
    let fault = h.becomes(&bad, "error")["fault"].clone();
    assert!(fault.as_str().unwrap().starts_with("exited 3"), "{fault}");
    let fault = h.becomes(&fat, "error")["fault"].clone();
    assert!(fault.as_str().unwrap().contains("out of memory"), "{fault}");
    h.s.clock.set(h.s.app.store.now().plus_seconds(1000));
    assert_eq!(h.billed(), 30);
    // Nobody starts them but who owns them.
    h.looked();
    assert_eq!(h.fake.inside(|i| i.count("start")), 3);
    let started = h.act(&bad, "start");
    assert_eq!(started["status"], "starting");
    assert!(started.get("fault").is_none());
    h.becomes(&bad, "running");
}

#[test]
fn events_that_get_lost_are_found_by_looking() {
    let h = House::new();
    let id = h.computer();
    h.fake.inside(|i| i.mute = true);
    h.s.clock.set(h.s.app.store.now().plus_seconds(20));
    h.fake.ends(&id, 1, false);
    h.s.clock.set(h.s.app.store.now().plus_seconds(3));
    h.becomes(&id, "error");
    assert_eq!(h.billed(), 20);
}

#[test]
fn what_happened_while_the_service_was_down_is_caught_up() {
    let mut h = House::new();
    let (stays, ends, asked) = (h.computer(), h.computer(), h.computer());
    h.looked();
    h.sleep();
    h.s.clock.set(h.s.app.store.now().plus_seconds(100));
    h.fake.ends(&ends, 2, false);
    h.act(&asked, "stop");
    h.s.clock.set(h.s.app.store.now().plus_seconds(100));
    h.restart();
    h.becomes(&ends, "error");
    h.becomes(&asked, "stopped");
    assert_eq!(h.show(&stays)["status"], "running");
    assert_eq!(h.billed(), 200 + 100 + 200);
    h.looked();
    assert_eq!(
        h.fake.inside(|i| (i.count("create"), i.count("start"))),
        (3, 3)
    );
}

#[test]
fn a_kill_between_any_two_steps_makes_nothing_twice() {
    for step in ["create", "start", "inspect", "images", "create network"] {
        let mut h = House::new();
        h.ready();
        h.fake.inside(|i| i.hangs.insert(step.into()));
        let id = h.s.computer(&h.s.default_workspace, "small");
        pause(100);
        h.sleep();
        // What had been sent arrives all the same.
        h.fake.inside(|i| i.hangs.clear());
        pause(30);
        h.restart();
        h.becomes(&id, "running");
        h.looked();
        let (made, runs) = h.fake.inside(|i| (i.count("create"), i.containers.len()));
        assert_eq!((made, runs), (1, 1), "{step}");
        h.s.clock.set(h.s.app.store.now().plus_seconds(10));
        assert_eq!(h.billed(), 10, "{step}");
    }
}

#[test]
fn without_an_engine_it_serves_and_says_what_is_missing() {
    let mut h = House::new();
    let id = h.computer();
    h.fake.die();
    h.until("the loss to be noticed", || {
        h.s.app.fleet.engine.ready().is_err().then_some(())
    });
    let refused = h.s.post("/computers", json!({ "name": "No" }));
    let text = refused.refused(503, "ENGINE_UNAVAILABLE");
    assert!(text.contains("engine"), "{text}");
    assert_eq!(h.s.count("SELECT count(*) FROM computers"), 1);
    h.until("the reason", || {
        let text = h.s.post("/computers", json!({ "name": "No" })).text;
        text.contains("apt install docker.io").then_some(())
    });
    // What ends something is taken as a wish.
    h.s.clock.set(h.s.app.store.now().plus_seconds(5));
    assert_eq!(h.act(&id, "stop")["status"], "stopping");
    h.s.clock.set(h.s.app.store.now().plus_seconds(61));
    let shown = h.becomes(&id, "error");
    assert!(
        shown["fault"].as_str().unwrap().contains("does not answer"),
        "{shown}"
    );
    assert_eq!(h.billed(), 66);
    h.fake.come_back();
    h.until("another attempt", || {
        h.s.clock.set(h.s.app.store.now().plus_seconds(1));
        (h.show(&id)["status"] == "stopped").then_some(())
    });
}

#[test]
fn a_start_that_hangs_or_fails_ends_in_a_fault_and_can_be_tried_again() {
    let h = House::new();
    h.ready();
    h.fake.inside(|i| i.hangs.insert("start".into()));
    let id = h.s.computer(&h.s.default_workspace, "small");
    h.until("the start", || (h.fake.of(&id).is_some()).then_some(()));
    h.s.clock.set(h.s.app.store.now().plus_seconds(121));
    let shown = h.becomes(&id, "error");
    assert!(
        shown["fault"].as_str().unwrap().contains("in time"),
        "{shown}"
    );
    assert_eq!(h.billed(), 0);
    // It comes up after all: nobody wants it any more.
    h.fake.inside(|i| i.hangs.clear());
    h.until("it to be stopped", || {
        (h.fake.of(&id)?.state == "exited").then_some(())
    });
    h.becomes(&id, "error");

    h.s.clock.set(h.s.app.store.now().plus_seconds(1));
    h.fake.inside(|i| {
        i.fails
            .insert("start".into(), (500, "no such program: sleep".into(), 100))
    });
    h.act(&id, "start");
    let shown = h.until("the start to be given up", || {
        h.s.clock.set(h.s.app.store.now().plus_seconds(2));
        let shown = h.show(&id);
        (shown["status"] == "error").then_some(shown)
    });
    assert!(
        shown["fault"].as_str().unwrap().contains("no such program"),
        "{shown}"
    );
    h.fake.inside(|i| i.fails.clear());
    h.act(&id, "start");
    h.becomes(&id, "running");
}

#[test]
fn a_template_without_its_image_is_a_fault_that_says_so() {
    let h = House::new();
    h.ready();
    h.fake.inside(|i| i.images.clear());
    let id = h.s.computer(&h.s.default_workspace, "small");
    let shown = h.until("the start to be given up", || {
        h.s.clock.set(h.s.app.store.now().plus_seconds(2));
        let shown = h.show(&id);
        (shown["status"] == "error").then_some(shown)
    });
    assert!(
        shown["fault"].as_str().unwrap().contains("localhost/box:1"),
        "{shown}"
    );
    let refused =
        h.s.post("/computers", json!({ "name": "x", "driver": "machine" }));
    refused.invalid(&["driver"]);
}

#[test]
fn a_power_loss_bills_nothing_after_the_last_look() {
    let mut h = House::new();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(100));
    h.looked();
    h.sleep();
    // The host is off for an hour; Docker dates the end to its own return.
    h.s.clock.set(h.s.app.store.now().plus_seconds(3600));
    h.fake.ends(&id, 255, false);
    forget_boot(&h);
    h.restart();
    // It is started again, since it ran.
    h.until("the second start", || {
        (h.fake.inside(|i| i.count("start")) == 2).then_some(())
    });
    h.becomes(&id, "running");
    assert_eq!(h.billed(), 100);
    h.s.clock.set(h.s.app.store.now().plus_seconds(5));
    assert_eq!(h.billed(), 105);
}

/// What was seen last was in another boot of the host.
fn forget_boot(h: &House) {
    h.s.app
        .store
        .write_blocking(|tx| {
            tx.execute("UPDATE engine_seen SET boot_id = 'another'", [])?;
            Ok(())
        })
        .unwrap();
}

#[test]
fn machines_stay_down_after_a_power_loss_where_that_is_wanted() {
    let mut h = House::with(|engine| engine.on_boot = OnBoot::Stay);
    let id = h.computer();
    h.looked();
    h.sleep();
    h.s.clock.set(h.s.app.store.now().plus_seconds(3600));
    h.fake.ends(&id, 255, false);
    forget_boot(&h);
    h.restart();
    let shown = h.becomes(&id, "stopped");
    assert!(shown.get("fault").is_none(), "{shown}");
    assert_eq!(h.billed(), 0);
}

#[test]
fn a_container_that_is_said_to_run_and_does_not_is_made_anew() {
    let mut h = House::new();
    h.fake.inside(|i| i.podman = true);
    h.restart();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    h.looked();
    // Its processes are gone; the state says that it runs, for ever.
    let name = format!("ws-{id}");
    h.fake
        .inside(|i| i.containers.get_mut(&name).unwrap().alive = false);
    h.until("another container", || {
        let container = h.fake.of(&id)?;
        (container.id == "c2" && container.state == "running").then_some(())
    });
    h.becomes(&id, "running");
    assert_eq!(h.billed(), 40);
    assert!(
        h.fake
            .inside(|i| i.volumes.contains(&format!("ws-{id}-home")))
    );
    h.s.clock.set(h.s.app.store.now().plus_seconds(2));
    assert_eq!(h.billed(), 42);
}

#[test]
fn an_end_that_is_being_found_out_is_not_dated_to_a_look_in_between() {
    let mut h = House::new();
    h.fake.inside(|i| i.podman = true);
    h.restart();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    h.looked();
    let name = format!("ws-{id}");
    let inspected = h.fake.inside(|i| {
        i.containers.get_mut(&name).unwrap().alive = false;
        i.count("inspect")
    });
    // Somebody is on it before a look is, and takes a while to be certain.
    h.fake.whispers(&id);
    h.until("somebody to be on it", || {
        (h.fake.inside(|i| i.count("inspect")) > inspected).then_some(())
    });
    h.s.clock.set(h.s.app.store.now().plus_seconds(30));
    h.until("another container", || {
        let container = h.fake.of(&id)?;
        (container.id == "c2" && container.state == "running").then_some(())
    });
    h.becomes(&id, "running");
    assert_eq!(h.billed(), 40);
}

#[test]
fn what_else_clients_ask_of_a_computer_is_answered_or_says_what_to_use_instead() {
    let h = House::new();
    let id = h.computer();
    let ask = |what: &str| h.s.get(&format!("/computers/{id}/{what}")).expect(200);
    assert_eq!(ask("volumes")["data"][0]["mount_path"], "/home");
    assert_eq!(ask("network-policy")["default_effect"], "allow");
    assert_eq!(ask("apps")["data"], json!([]));
    for (what, instead) in [
        ("services", "nohup PROGRAM"),
        ("volumes", "one volume"),
        ("network-policy", "[engine] network"),
        ("control/sessions", "run one of yours"),
    ] {
        let answer = h.s.post(&format!("/computers/{id}/{what}"), json!({}));
        let text = answer.refused(404, "NOT_FOUND");
        assert!(
            text.contains("not part of this server; instead: ") && text.contains(instead),
            "{text}"
        );
    }
}

#[test]
fn a_look_that_breaks_off_has_not_seen_that_all_run() {
    let mut h = House::new();
    h.fake.inside(|i| i.podman = true);
    h.restart();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    h.looked();
    h.sleep();
    let name = format!("ws-{id}");
    let inspected = h.fake.inside(|i| {
        i.containers.get_mut(&name).unwrap().alive = false;
        i.count("inspect")
    });
    h.s.clock.set(h.s.app.store.now().plus_seconds(30));
    h.wake();
    // The first look finds a dead container, waits for what the engine says of it, and is told nothing.
    h.until("the first look", || {
        (h.fake.inside(|i| i.count("inspect")) > inspected).then_some(())
    });
    let broken = (500, "broken off".to_owned(), 1);
    h.fake.inside(|i| i.fails.insert("inspect".into(), broken));
    h.until("another container", || {
        let container = h.fake.of(&id)?;
        (container.id == "c2" && container.state == "running").then_some(())
    });
    h.becomes(&id, "running");
    assert_eq!(h.billed(), 40);
}

#[test]
fn a_container_that_somebody_removed_is_a_fault() {
    let h = House::new();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    h.looked();
    h.fake.inside(|i| i.containers.clear());
    let shown = h.becomes(&id, "error");
    assert!(
        shown["fault"].as_str().unwrap().contains("removed"),
        "{shown}"
    );
    assert_eq!(h.billed(), 10);
    h.act(&id, "start");
    h.becomes(&id, "running");
}

#[test]
fn another_size_is_billed_when_the_engine_holds_it() {
    let h = House::new();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(3600));
    let resized =
        h.s.post(
            &format!("/computers/{id}/resize"),
            json!({ "size": "large" }),
        )
        .expect(200);
    assert_eq!(resized["size"], "large");
    h.until("the engine to follow", || {
        (h.fake.of(&id)?.memory == 16_384_i64 << 20).then_some(())
    });
    h.until("the size to be billed", || {
        (h.s.count("SELECT count(*) FROM compute_events WHERE size = 'large'") == 1).then_some(())
    });
    assert!(h.show(&id).get("resize_pending").is_none());

    // Podman 4 cannot: the old size is billed until the next start.
    let mut h = House::new();
    h.fake.inside(|i| i.podman = true);
    h.restart();
    let id = h.computer();
    let path = format!("/computers/{id}/resize");
    h.s.post(&path, json!({ "size": "large" })).expect(200);
    h.looked();
    let shown = h.show(&id);
    assert_eq!(
        (&shown["size"], &shown["resize_pending"]),
        (&json!("large"), &json!(true))
    );
    assert_eq!(
        h.s.count("SELECT count(*) FROM compute_events WHERE size = 'large'"),
        0
    );
    h.s.clock.set(h.s.app.store.now().plus_seconds(1));
    h.act(&id, "restart");
    h.until("the larger container", || {
        let container = h.fake.of(&id)?;
        (container.memory == 16_384_i64 << 20 && container.state == "running").then_some(())
    });
    h.becomes(&id, "running");
    let large = "SELECT count(*) FROM compute_events WHERE size = 'large' AND status = 'running'";
    h.until("the size to be billed", || {
        (h.s.count(large) >= 1).then_some(())
    });
    h.billed();
}

#[test]
fn a_restart_is_another_run_once() {
    let mut h = House::new();
    let id = h.computer();
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    assert_eq!(h.act(&id, "restart")["status"], "starting");
    h.until("the second run", || {
        (h.fake.inside(|i| i.count("start")) == 2).then_some(())
    });
    h.becomes(&id, "running");
    h.restart();
    h.ready();
    h.looked();
    assert_eq!(h.fake.inside(|i| i.count("start")), 2);
    h.s.clock.set(h.s.app.store.now().plus_seconds(10));
    assert_eq!(h.billed(), 20);
}

#[test]
fn a_computer_that_moves_changes_its_network() {
    let h = House::new();
    let id = h.computer();
    let other = h.s.workspace("Other");
    h.s.post(
        &format!("/computers/{id}/move"),
        json!({ "workspace_id": other }),
    )
    .expect(200);
    h.until("the other network", || {
        let networks = h.fake.of(&id)?.networks;
        (networks == [format!("ws-net-{other}")].into()).then_some(())
    });
    assert_eq!(h.show(&id)["status"], "running");
}

#[test]
fn an_idle_machine_stops_and_is_billed_until_then() {
    let h = House::new();
    h.ready();
    let body = json!({ "name": "idle", "auto_stop_seconds": 60 });
    let made = h.s.post("/computers", body).expect(201);
    let id = made["id"].as_str().unwrap();
    let shown = h.becomes(id, "running");
    assert!(shown["auto_stop_at"].is_string());
    h.s.advance(60);
    h.becomes(id, "stopped");
    assert_eq!(h.billed(), 60);
}

#[test]
fn what_a_computer_uses_is_measured_and_keeps_it_awake() {
    let h = House::new();
    h.ready();
    let body = json!({ "name": "busy", "size": "small", "auto_stop_seconds": 60 });
    let made = h.s.post("/computers", body).expect(201);
    let id = made["id"].as_str().unwrap();
    h.becomes(id, "running");
    let name = format!("ws-{id}");
    let uses = |cpu_s: f64, memory_mb: u64| {
        h.fake.inside(|i| {
            let used = &mut i.containers.get_mut(&name).unwrap().used;
            *used = ((cpu_s * 1e9) as u64, memory_mb << 20);
        });
    };
    let sampled = || {
        let looks = h.fake.inside(|i| i.count("stats"));
        h.until("two samples", || {
            (h.fake.inside(|i| i.count("stats")) > looks + 2).then_some(())
        });
    };
    uses(1.0, 100);
    sampled();
    let measured = |metrics: &Value| {
        let points = metrics["series"].as_array().unwrap();
        points
            .iter()
            .map(|p| p["cpu_percent"].as_f64().unwrap())
            .fold(0.0, f64::max)
    };
    // Half a CPU, ten seconds after ten seconds: a sample may fall between the clock and what is used, and that
    // minute then shows less.
    let mut used = 1.0;
    let metrics = h.until("half a CPU", || {
        h.s.clock.set(h.s.app.store.now().plus_seconds(10));
        used += 5.0;
        uses(used, 200);
        sampled();
        let metrics = h.s.get(&format!("/computers/{id}/metrics")).expect(200);
        ((measured(&metrics) - 50.0).abs() < 0.1).then_some(metrics)
    });
    assert_eq!(metrics["source"], "engine");
    let present = &metrics["present"];
    assert_eq!(
        (
            &present["memory_mb"],
            &present["processes"],
            &present["received_bytes"]
        ),
        (&json!(200), &json!(3), &json!(5))
    );
    assert_eq!(h.show(id)["last_activity"]["by"], "cpu");
    // Busy all the time, it does not stop.
    for n in 1..=8_u32 {
        h.s.clock.set(h.s.app.store.now().plus_seconds(10));
        used += 1.0;
        uses(used, 200);
        sampled();
        h.s.run_due();
        assert_eq!(h.show(id)["status"], "running", "{n}");
    }
    // Looking at it is no activity.
    let stops = h.show(id)["auto_stop_at"].clone();
    h.s.clock.set(h.s.app.store.now().plus_seconds(20));
    sampled();
    for path in ["", "/metrics", "/ports", "/urls", "/logs", "/auto-stop"] {
        h.s.get(&format!("/computers/{id}{path}"));
    }
    assert_eq!(h.show(id)["auto_stop_at"], stops);
    h.s.advance(60);
    h.becomes(id, "stopped");
    let s = Service::new();
    let simulated = s.running(&s.default_workspace, "small");
    let metrics = s
        .get(&format!("/computers/{simulated}/metrics"))
        .expect(200);
    assert_eq!(
        (&metrics["source"], metrics.get("present")),
        (&json!("size"), None)
    );
}

#[test]
fn an_activity_that_is_not_written_down_yet_counts_when_it_is_to_stop() {
    let h = House::new();
    h.ready();
    let body = json!({ "name": "short", "auto_stop_seconds": 20 });
    let made = h.s.post("/computers", body).expect(201);
    let id = made["id"].as_str().unwrap();
    h.becomes(id, "running");
    let exec = || {
        let path = format!("/computers/{id}/exec");
        h.s.post(&path, json!({ "command": "true" })).expect(200);
    };
    exec();
    // Too soon after the one before to be written.
    h.s.clock.set(h.s.app.store.now().plus_seconds(9));
    exec();
    h.s.advance(15);
    assert_eq!(h.show(id)["status"], "running");
    h.s.advance(20);
    h.becomes(id, "stopped");
}

#[test]
fn nothing_is_started_that_would_take_what_is_kept_for_the_host() {
    let h = House::with(|engine| {
        engine.reserve = Reserve {
            memory_mb: 1000,
            disk_mb: 2000,
            memory_ratio: 1.0,
            cpu_ratio: 1.75,
        };
    });
    let host = |available_mb, disk_left_mb| {
        *h.s.app.fleet.engine.pretended.lock() = Some(Host {
            memory_mb: Some(40_000),
            available_mb: Some(available_mb),
            disk_mb: Some(20_000),
            disk_left_mb: Some(disk_left_mb),
            cpus: Some(4),
        });
    };
    host(10_000, 10_000);
    let id = h.computer();
    let create = |size: &str| {
        let body = json!({ "name": "x", "size": size });
        let dry = h.s.post("/computers?dry_run=true", body.clone());
        let real = h.s.post("/computers", body);
        assert_eq!(dry.status, real.status, "{}", dry.text);
        real
    };
    // 4 GB are promised; 16 more are allowed, then virtual CPUs are the next to run out.
    assert_eq!(create("large").status, 201);
    let text = create("xl").refused(503, "HOST_FULL");
    assert!(text.contains("memory_ratio"), "{text}");
    assert_eq!(create("medium").status, 201);
    let refused = create("small");
    let text = refused.refused(503, "HOST_FULL");
    assert!(text.contains("virtual CPUs"), "{text}");
    assert_eq!(refused.json()["error"]["details"]["resource"], "cpu");
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    host(1_100, 10_000);
    let start = |id: &str| h.s.post(&format!("/computers/{id}/start"), json!({}));
    let text = start(&id).refused(503, "HOST_FULL");
    assert!(text.contains("1000 MB are kept"), "{text}");
    assert_eq!(h.show(&id)["status"], "stopped");
    host(10_000, 1_900);
    let text = start(&id).refused(507, "STORAGE_FULL");
    assert!(text.contains("1900 MB left"), "{text}");
    let ready = plain(&h, "/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text.contains("disk of containers"), "{}", ready.text);
    // A clone is a new one, a restart is not.
    host(100, 100);
    let running = h.s.get("/computers?status=running").expect(200)["data"][0]["id"].clone();
    let running = running.as_str().unwrap();
    h.s.post(&format!("/computers/{running}/clone"), json!({}))
        .refused(507, "STORAGE_FULL");
    h.act(running, "restart");
    host(10_000, 10_000);
    start(&id).expect(200);
}

#[test]
fn an_engine_that_cannot_run_a_container_is_one_sentence() {
    let mut h = House::with(|engine| engine.probe = true);
    h.sleep();
    h.fake.inside(|i| {
        let fault = (
            500,
            "crun: setrlimit RLIMIT_NOFILE: Operation not permitted".into(),
            1,
        );
        i.fails.insert("start".into(), fault);
    });
    h.wake();
    let refused = h.until("the probe", || {
        let body = json!({ "name": "x" });
        let answer = h.s.post("/computers?dry_run=true", body);
        answer.text.contains("setrlimit").then_some(answer)
    });
    let text = refused.refused(503, "ENGINE_UNAVAILABLE");
    assert!(
        text.contains("cannot run a container of template miosa-desktop"),
        "{text}"
    );
    let ready = plain(&h, "/readyz");
    assert_eq!(ready.status, 200);
    assert!(ready.text.contains("engine is broken"), "{}", ready.text);
    let system = h.s.get("/system").expect(200);
    assert_eq!(system["engine"]["state"], "broken");
    assert_eq!(
        h.fake.inside(|i| (i.containers.len(), i.volumes.len())),
        (0, 0)
    );
    // It is mended, which is found at the next start at the latest.
    h.restart();
    h.ready();
    h.until("a probe that works", || {
        (h.s.get("/system").expect(200)["engine"]["state"] == "up").then_some(())
    });
    h.computer();
}

#[test]
fn whoever_runs_it_sees_how_the_engine_is() {
    let mut h = House::new();
    let id = h.computer();
    h.looked();
    let system = h.s.get("/system").expect(200);
    let engine = &system["engine"];
    assert_eq!(
        (
            &engine["state"],
            &engine["name"],
            &engine["machines"],
            &engine["pending"],
            &engine["faults"]
        ),
        (
            &json!("up"),
            &json!("Docker 1.2.3"),
            &json!(1),
            &json!(0),
            &json!(0)
        )
    );
    assert_eq!(
        engine["limits"],
        json!(["memory", "cpu", "processes", "system calls"])
    );
    assert!(engine["looked_at"].is_string() && engine["seen_at"].is_string());
    let number = |h: &House, name: &str| -> f64 {
        let metrics = plain(h, "/metrics");
        let line = metrics
            .text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {}", metrics.text));
        line.split(' ').next_back().unwrap().parse().unwrap()
    };
    assert_eq!(number(&h, "workspaced_engine_up"), 1.0);
    h.s.clock.set(h.s.app.store.now().plus_seconds(5));
    h.fake.ends(&id, 3, false);
    h.becomes(&id, "error");
    assert_eq!(number(&h, "workspaced_machines_faults"), 1.0);
    assert_eq!(number(&h, "workspaced_machines_pending"), 0.0);
    h.fake.die();
    h.until("the loss to be noticed", || {
        (number(&h, "workspaced_engine_up") == 0.0).then_some(())
    });
    h.s.clock.set(h.s.app.store.now().plus_seconds(100));
    assert!(number(&h, "workspaced_machines_look_age_seconds") >= 100.0);
    let ready = plain(&h, "/readyz");
    assert_eq!(ready.status, 200);
    assert!(
        ready.text.contains("the container engine is down"),
        "{}",
        ready.text
    );
    assert!(Service::new().get("/system").expect(200)["engine"].is_null());
}

#[test]
fn containers_of_nobody_are_left_alone_and_those_of_the_deleted_go() {
    let mut h = House::new();
    let id = h.computer();
    let stranger = "0190a7b0-0000-7000-8000-000000000001";
    h.fake.inside(|i| {
        let mut copy = i.containers[&format!("ws-{id}")].clone();
        copy.id = "c9".into();
        copy.body["Labels"]["dev.workspaced.computer"] = json!(stranger);
        i.containers.insert(format!("ws-{stranger}"), copy);
    });
    h.looked();
    assert_eq!(h.fake.of(stranger).unwrap().state, "running");
    // A container comes to light after its computer was deleted.
    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("it to go", || {
        (h.s.count("SELECT count(*) FROM machines") == 0).then_some(())
    });
    h.fake.inside(|i| {
        let mut copy = i.containers[&format!("ws-{stranger}")].clone();
        copy.id = "c10".into();
        copy.body["Labels"]["dev.workspaced.computer"] = json!(id);
        i.containers.insert(format!("ws-{id}"), copy);
    });
    h.restart();
    h.until("the rest of the deleted one to go", || {
        h.fake.of(&id).is_none().then_some(())
    });
    assert!(h.fake.of(stranger).is_some());
}

/// What a restore gives back has to be there until it cannot be asked for any more.
#[test]
fn the_container_of_a_deleted_computer_is_kept_stopped_until_its_time_is_over() {
    const DAY_MS: i64 = 86_400_000;
    let mut h = House::keeping(30 * DAY_MS, |_| {});
    let id = h.computer();
    let before = h.fake.of(&id).unwrap().id;
    h.s.advance(60);
    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("its container to stop", || {
        (h.fake.of(&id)?.state == "exited").then_some(())
    });
    h.restart();
    h.ready();
    h.looked();
    assert_eq!(h.fake.of(&id).unwrap().state, "exited");
    assert!(h.fake.inside(|i| !i.volumes.is_empty()));

    h.s.advance(60);
    let path = format!("/computers/{id}/restore");
    assert_eq!(h.s.post(&path, json!({})).expect(200)["status"], "stopped");
    h.looked();
    assert_eq!(h.becomes(&id, "stopped")["status"], "stopped");
    assert_eq!(
        h.fake.of(&id).unwrap().state,
        "exited",
        "nobody has started it"
    );
    h.s.advance(60);
    h.act(&id, "start");
    h.becomes(&id, "running");
    assert_eq!(h.fake.of(&id).unwrap().id, before, "it is the same one");
    h.s.advance(60);

    h.s.delete(&format!("/computers/{id}")).expect(200);
    h.until("its container to stop again", || {
        (h.fake.of(&id)?.state == "exited").then_some(())
    });
    h.s.clock.set(h.s.app.store.now().plus_seconds(31 * 86_400));
    let forget = |tx: &workspaced::testing::WriteTx<'_>| forget_deleted(tx, 100);
    assert_eq!(h.s.app.store.write_blocking(forget).unwrap(), 1);
    h.until("container and volume to go", || {
        let gone = h.fake.of(&id).is_none() && h.fake.inside(|i| i.volumes.is_empty());
        gone.then_some(())
    });
    h.s.post(&path, json!({})).refused(409, "NOT_RESTORABLE");
    assert!(h.s.app.store.read_blocking(verify).unwrap().ok);
}

#[test]
fn work_in_a_computer_needs_a_machine_that_runs_and_a_key_that_may() {
    // Where nobody runs machines, there is no such route.
    let s = Service::new();
    let id = s.running(&s.default_workspace, "small");
    let text = s
        .post(
            &format!("/computers/{id}/exec"),
            json!({ "command": "true" }),
        )
        .refused(404, "NOT_FOUND");
    assert!(text.starts_with("exec is a feature"), "{text}");

    let h = House::new();
    let id = h.computer();
    let body = json!({ "name": "paper", "driver": "simulated" });
    let paper = h.s.post("/computers", body).expect(201)["id"].clone();
    let (stranger, _) = h.s.other_tenant("other");
    let keys = |scopes: Value| {
        let body = json!({ "name": "k", "scopes": scopes });
        let made = h.s.post("/api-keys", body).expect(201);
        let secret = |at: &Value| {
            at["key"]
                .as_str()
                .or(at["secret"].as_str())
                .map(str::to_owned)
        };
        secret(&made)
            .or_else(|| secret(&made["data"]))
            .unwrap_or_else(|| panic!("{made}"))
    };
    let (reader, files) = (
        keys(json!(["computers:read", "computers:exec"])),
        keys(json!(["computers:files"])),
    );
    h.act(&id, "stop");
    h.becomes(&id, "stopped");
    let routes = workspaced::testing::routes::machines().into_iter();
    for route in routes.chain(workspaced::testing::routes::desktops()) {
        let none = "7a1f0000-0000-4000-8000-00000000beef";
        let path = |id: &str| {
            let path = route.path.replace("{id}", id).replace("{port}", "3000");
            path.replace("{sid}", none).replace("{wid}", "1")
        };
        let call = |key: &str, path: &str| {
            let body = (route.method != "GET").then(|| {
                json!({ "command": "true", "code": "1", "path": "/home/x", "from": "/a", "to": "/b", "content": "",
                    "x": 1, "y": 1, "from_x": 1, "from_y": 1, "to_x": 1, "to_y": 1, "width": 1, "height": 1, "text": "x",
                    "key": "a", "keys": ["a"], "app": "xterm", "seconds": 0, "window_id": "1" })
            });
            h.s.call_as(key, route.method.clone(), path, body)
        };
        let paper = path(paper.as_str().unwrap());
        let text = call(&h.s.key, &paper).refused(404, "NOT_FOUND");
        assert!(text.contains("driver simulated"), "{text}");
        let unknown = path("7a1f0000-0000-4000-8000-00000000dead");
        call(&h.s.key, &unknown).refused(404, "NOT_FOUND");
        let own = path(&id);
        call(&stranger, &own).refused(403, "FORBIDDEN");
        call("", &own).refused(401, "invalid_token");
        let other = if route.access.scope == Some("computers:exec") {
            &files
        } else {
            &reader
        };
        call(other, &own).refused(403, "insufficient_scope");
        // The output of a program that ran is there also when it does not.
        if !route.path.contains("/logs") && !route.path.ends_with("/upload") {
            let mut query = own.clone();
            if route.path.ends_with("/download") {
                query += "?path=/home/x";
            }
            call(&h.s.key, &query).refused(409, "TARGET_NOT_RUNNING");
        }
    }
}
