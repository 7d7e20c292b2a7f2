//! Files that somebody has damaged or made up: refused whole, or at least nobody else's business.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::capsule::{export, furnished, import, import_bytes, state};
use crate::harness::Service;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// The lines with a new checksum, as somebody would send them who wants to be believed.
fn sealed(mut lines: Vec<Value>) -> String {
    let mut end = lines.pop().unwrap();
    let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let hash = Sha256::digest(&text);
    end["end"]["sha256"] = hash
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>()
        .into();
    text += &format!("{end}\n");
    text
}

fn parsed(file: &str) -> Vec<Value> {
    file.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// An empty installation at the instant of another one.
fn empty(a: &Service) -> Service {
    let b = Service::new();
    b.clock.set(a.app.store.now());
    b
}

#[test]
fn any_changed_byte_line_or_end_is_found() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    let b = empty(&a);
    let before = state(&b);
    let refused = |bytes: Vec<u8>, what: &str| {
        let answer = import_bytes(&b, &b.key, bytes, "");
        assert!(
            matches!(answer.status.as_u16(), 400 | 422),
            "{what}: {} {}",
            answer.status,
            answer.text
        );
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert!(code.starts_with("CAPSULE_"), "{what}: {code}");
    };
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    for n in 0..lines.len() {
        let with = |line: &[&str]| {
            let mut changed = lines.clone();
            changed.splice(n..=n, line.iter().copied());
            changed.concat().into_bytes()
        };
        refused(with(&[]), &format!("without line {n}"));
        refused(with(&[lines[n], lines[n]]), &format!("line {n} twice"));
        refused(
            lines[..n].concat().into_bytes(),
            &format!("cut before line {n}"),
        );
        // Every digit and letter of a line counts.
        let at = |nth: usize| lines[n].len() * nth / 7;
        for (place, byte) in (1..7).map(|nth| (at(nth), lines[n].as_bytes()[at(nth)])) {
            let mut line = lines[n].as_bytes().to_vec();
            line[place] = if byte == b'1' { b'2' } else { b'1' };
            let mut changed = lines[..n].concat().into_bytes();
            changed.extend(&line);
            changed.extend(lines[n + 1..].concat().bytes());
            refused(changed, &format!("line {n}, byte {place}"));
        }
    }
    for n in 1..lines.len() - 2 {
        let mut swapped = lines.clone();
        swapped.swap(n, n + 1);
        refused(
            swapped.concat().into_bytes(),
            &format!("lines {n} and {} swapped", n + 1),
        );
    }
    let packed = gzip(file.as_bytes());
    for cut in [1, 2, 10, packed.len() / 2, packed.len() - 1] {
        refused(packed[..cut].to_vec(), "a packed file, cut");
    }
    refused([&packed[..], b"more"].concat(), "a packed file and more");
    refused([&packed[..], &packed[..]].concat(), "a packed file twice");
    refused(format!("{file}{file}").into_bytes(), "a file twice");
    refused(Vec::new(), "nothing");
    refused(b"{}\n".to_vec(), "an object");
    refused(vec![0xff; 1000], "bytes");
    assert_eq!(state(&b), before);
    assert_eq!(
        import_bytes(&b, &b.key, packed, "").expect(201)["imported"],
        true
    );
    state(&b);
}

#[test]
fn what_is_newer_or_too_much_is_refused_before_it_is_read() {
    let (a, id) = furnished();
    let file = export(&a, &a.key, &id);
    let b = empty(&a);
    let before = state(&b);
    let mut lines = parsed(&file);
    lines[0]["capsule"]["format"] = 3.into();
    lines[0]["capsule"]["new"] = true.into();
    let text = import(&b, &sealed(lines), "").refused(422, "CAPSULE_TOO_NEW");
    assert!(text.contains("upgrade"), "{text}");

    // A bomb: a gigabyte in a megabyte, in one line and in many.
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(file.lines().next().unwrap().as_bytes())
        .unwrap();
    out.write_all(b"\n").unwrap();
    (0..1024).for_each(|_| out.write_all(&[b' '; 1 << 20]).unwrap());
    let bomb = out.finish().unwrap();
    assert!(bomb.len() < 2 << 20);
    let text = import_bytes(&b, &b.key, bomb, "").refused(400, "CAPSULE_DAMAGED");
    assert!(text.contains("longer than"), "{text}");
    let mut row = parsed(&file)
        .into_iter()
        .find(|line| line.get("audit").is_some())
        .unwrap();
    row["audit"]["before"] = json!({ "x": "a".repeat(3 << 20) });
    let head: String = file.split_inclusive('\n').take(2).collect();
    let many = format!("{head}{}", format!("{row}\n").repeat(43));
    let text = import_bytes(&b, &b.key, gzip(many.as_bytes()), "").refused(422, "CAPSULE_INVALID");
    assert!(text.contains("at most"), "{text}");
    import_bytes(&b, &b.key, vec![b' '; (16 << 20) + 1], "").refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(state(&b), before);
}

#[test]
fn totals_that_differ_are_refused() {
    let (a, id) = furnished();
    let lines = parsed(&export(&a, &a.key, &id));
    let b = empty(&a);
    let before = state(&b);
    let refused = |change: &dyn Fn(&mut Value) -> bool, code: &str| {
        let mut lines = lines.clone();
        let changed = lines
            .iter_mut()
            .filter_map(|line| change(line).then_some(()))
            .count();
        assert!(changed > 0, "nothing was changed");
        import(&b, &sealed(lines), "").refused(422, code);
        assert_eq!(state(&b), before);
    };
    let add = |value: &mut Value| {
        *value = value.as_i64().map_or(Value::Null, |n| (n + 1).into());
        true
    };
    for field in ["compute_ms", "credit_ms", "credits_micros"] {
        refused(
            &|line| line.get("end").is_some() && add(&mut line["end"]["usage"][field]),
            "CAPSULE_TOTALS",
        );
        refused(
            &|line| line.get("computer").is_some() && add(&mut line["computer"]["usage"][field]),
            "CAPSULE_INVALID",
        );
    }
    refused(
        &|line| line.get("end").is_some() && add(&mut line["end"]["corrections_micros"]),
        "CAPSULE_TOTALS",
    );
    // Cheaper, later or never: the events say what the usage does not.
    let running = |line: &Value| line["event"]["status"] == "running";
    refused(
        &|line| running(line) && add(&mut line["event"]["rate"]),
        "CAPSULE_INVALID",
    );
    refused(
        &|line| running(line) && add(&mut line["event"]["at"]),
        "CAPSULE_INVALID",
    );
    refused(
        &|line| {
            let is = running(line);
            if is {
                line["event"]["status"] = "starting".into();
            }
            is
        },
        "CAPSULE_INVALID",
    );
}

/// All rows of an organization that stand for something.
fn rows(s: &Service, tenant: &str) -> String {
    let tenant = uuid::Uuid::parse_str(tenant).unwrap().into_bytes();
    let read = s.app.store.read_blocking(move |tx| {
        let mut all = String::new();
        for table in [
            "workspaces",
            "projects",
            "computers",
            "compute_events",
            "preview_domains",
            "audit_log",
        ] {
            let columns: String = tx.query_row(
                "SELECT group_concat('quote(' || name || ')', '||') FROM pragma_table_info(?1)",
                [table],
                |row| row.get(0),
            )?;
            let sql = format!(
                "SELECT coalesce(group_concat({columns}), '') FROM {table} WHERE tenant_id = ?1"
            );
            all += &tx.query_row(&sql, [tenant.as_slice()], |row| row.get::<_, String>(0))?;
        }
        Ok(all)
    });
    read.unwrap()
}

/// The values of a line that are no objects, by path.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| leaves(value, found)),
        leaf => found.push(leaf),
    }
}

#[test]
fn made_up_files_break_no_books_and_touch_nobody_else() {
    let (a, id) = furnished();
    let lines = parsed(&export(&a, &a.key, &id));
    let b = empty(&a);
    let (victim, victim_tenant, workspace) =
        b.tenant("victim", workspaced::testing::NewKey::operator());
    let body = json!({ "name": "theirs", "workspace_id": workspace });
    let computer = b
        .call_as(&victim, "POST".parse().unwrap(), "/computers", Some(body))
        .expect(201);
    b.advance(60);
    let theirs: Vec<Value> = ["id", "project_id", "workspace_id", "tenant_id", "slug"]
        .map(|field| computer[field].clone())
        .into();
    let own: Vec<Value> = ["workspace", "project", "computer"]
        .iter()
        .flat_map(|kind| {
            lines
                .iter()
                .filter_map(move |line| line.get(kind)?.get("id").cloned())
        })
        .collect();
    let values = |kind: u8, n: i64, text: &str| match kind % 8 {
        0 => theirs[n.unsigned_abs() as usize % theirs.len()].clone(),
        1 => own[n.unsigned_abs() as usize % own.len()].clone(),
        2 => n.into(),
        3 => Value::Null,
        4 => text.into(),
        5 => json!([n, text]),
        6 => json!({ text: n }),
        _ => i64::MAX.into(),
    };
    let before = rows(&b, &victim_tenant);
    let change = (
        any::<u16>(),
        any::<u16>(),
        any::<u8>(),
        any::<i64>(),
        "\\PC{0,12}",
    );
    let mut runner = TestRunner::new(Cases {
        source_file: Some(file!()),
        ..Cases::default()
    });
    let seen = std::cell::Cell::new((0usize, 0usize));
    let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let outcome = runner.run(&vec(change, 1..4), |changes| {
        let (taken, refused) = seen.get();
        // Ids of its own, so that it is not refused for being here already.
        let number = (taken + refused + 1) as u128;
        let id = |n: usize| uuid::Uuid::from_u128((number << 64) + n as u128).to_string();
        let text = own.iter().enumerate().fold(whole.clone(), |text, (n, own)| {
            text.replace(own.as_str().unwrap(), &id(n))
        });
        let mut lines = parsed(&text);
        for (line, leaf, kind, n, text) in changes {
            let line = usize::from(line) % lines.len();
            let mut found = Vec::new();
            leaves(&mut lines[line], &mut found);
            let leaf = usize::from(leaf) % found.len();
            let nth = usize::from(text.len() as u8);
            // A neighbour of what was there is the most plausible lie.
            *found[leaf] = match (kind % 3, found[leaf].as_i64()) {
                (0, Some(was)) => was.wrapping_add(n % 1_000).into(),
                (1, None) => id(nth % own.len()).into(),
                _ => values(kind, n, &text),
            };
        }
        let query = format!(
            "?slug=case-{number}&external_workspace_id=&rename_computers=true&without_domains=true{}",
            if taken % 2 == 0 { "&keep_running=true" } else { "" }
        );
        let answer = import(&b, &sealed(lines), &query);
        let status = answer.status.as_u16();
        prop_assert!(status < 500, "{}", answer.text);
        seen.set(if status < 300 {
            (taken + 1, refused)
        } else {
            (taken, refused + 1)
        });
        Ok(())
    });
    if let Err(e) = outcome {
        panic!("{e}");
    }
    let (taken, refused) = seen.get();
    assert!(taken + refused < 20 || taken > 0 && refused > 0);
    assert_eq!(rows(&b, &victim_tenant), before);
    state(&b);
    println!("{taken} taken, {refused} refused");
}
