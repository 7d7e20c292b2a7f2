//! Until when a machine was certainly alive: what a loss of power has ended is billed until its last sign of life.

use std::process::{Child, Command};

use super::{House, forget_boot, pause};

/// A process of this machine that stands for a container's.
struct Stand(Child);

impl Stand {
    fn new() -> Stand {
        Stand(Command::new("sleep").arg("600").spawn().unwrap())
    }

    /// As it is written down: its number, when it began, and in which boot of the host.
    fn text(&self) -> String {
        let pid = self.0.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let began = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        format!("{pid} {} {}", began.unwrap(), boot.trim())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn write(h: &House, sql: &'static str, text: String) {
    let done = h.s.app.store.write_blocking(move |tx| {
        tx.execute(sql, [text])?;
        Ok(())
    });
    done.unwrap();
}

/// The last sign of life that is written down.
fn sign(h: &House) -> i64 {
    h.s.count("SELECT coalesce(max(seen_at), 0) FROM machines")
}

/// Signs of life come for a while, which are of the time by the clock of the test.
fn beats(h: &House) {
    let now = h.s.app.store.now().0;
    h.until("a sign of life", || (sign(h) >= now).then_some(()));
}

/// The engine answers nothing while a service watches one computer by its process.
fn watched() -> (House, String, Stand) {
    let mut h = House::new();
    let id = h.computer();
    h.looked();
    h.sleep();
    let stand = Stand::new();
    write(&h, "UPDATE machines SET process = ?1", stand.text());
    for verb in ["list", "inspect", "version"] {
        h.fake.inside(|i| i.hangs.insert(verb.into()));
    }
    h.restart();
    (h, id, stand)
}

/// The host comes back an hour after it lost its power, and everything was made anew.
fn comes_back(h: &mut House, id: &str) {
    h.sleep();
    let starts = h.fake.inside(|i| i.count("start"));
    h.s.clock.set(h.s.app.store.now().plus_seconds(3600));
    h.fake.ends(id, 255, false);
    forget_boot(h);
    h.fake.inside(|i| i.hangs.clear());
    h.restart();
    h.until("another start", || {
        (h.fake.inside(|i| i.count("start")) > starts).then_some(())
    });
    h.becomes(id, "running");
}

#[test]
fn what_lives_while_the_engine_does_not_answer_is_billed() {
    let (mut h, id, stand) = watched();
    for _ in 0..10 {
        h.s.clock.set(h.s.app.store.now().plus_seconds(10));
        beats(&h);
    }
    drop(stand);
    comes_back(&mut h, &id);
    assert_eq!(h.billed(), 100);
}

#[test]
fn what_is_dead_gives_no_sign() {
    let (mut h, id, stand) = watched();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    beats(&h);
    drop(stand);
    let last = sign(&h);
    h.s.clock.set(h.s.app.store.now().plus_seconds(30));
    pause(200);
    assert_eq!(sign(&h), last);
    comes_back(&mut h, &id);
    assert_eq!(h.billed(), 40);
}

#[test]
fn a_process_of_another_boot_gives_no_sign() {
    let (mut h, id, stand) = watched();
    h.sleep();
    let other = format!("{} {}", stand.text().rsplit_once(' ').unwrap().0, "another");
    write(&h, "UPDATE machines SET process = ?1", other);
    h.restart();
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    pause(200);
    comes_back(&mut h, &id);
    assert_eq!(h.billed(), 0);
}

#[test]
fn one_that_takes_long_to_look_at_does_not_hide_that_another_lives() {
    let mut h = House::new();
    let (slow, lives) = (h.computer(), h.computer());
    h.looked();
    // The end of one is told by nobody, and the engine does not say how it was.
    h.s.clock.set(h.s.app.store.now().plus_seconds(40));
    let name = format!("ws-{slow}");
    let now = h.s.app.store.now();
    h.fake.inside(|i| {
        let c = i.containers.get_mut(&name).unwrap();
        (c.state, c.finished, c.alive) = ("exited".into(), Some(now), false);
        i.hangs.insert("inspect".into());
    });
    beats(&h);
    comes_back(&mut h, &lives);
    assert_eq!(h.billed(), 80);
}

/// Whatever happens in between, and whichever service looks: never after the end, and at most one look before it.
#[test]
fn a_loss_of_power_costs_at_most_the_time_between_two_signs() {
    for seed in 0..6_u64 {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = move |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        let (mut h, id, stand) = watched();
        let (mut lived, mut unseen) = (0, 0);
        for _ in 0..8 {
            let step = 1 + i64::try_from(roll(5)).unwrap();
            h.s.clock.set(h.s.app.store.now().plus_seconds(step));
            lived += step;
            unseen += step;
            match roll(4) {
                // Nobody looks in time.
                0 => {}
                1 => {
                    h.sleep();
                    h.restart();
                    beats(&h);
                    unseen = 0;
                }
                _ => {
                    beats(&h);
                    unseen = 0;
                }
            }
        }
        drop(stand);
        // One that came of itself after all is as good.
        comes_back(&mut h, &id);
        let billed = h.billed();
        let what = format!("seed {seed}: {billed} of {lived} s, {unseen} unseen");
        assert!(billed <= lived && billed >= lived - unseen, "{what}");
    }
}
