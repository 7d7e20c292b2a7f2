//! What waits, for whom, and what becomes of it.

use super::*;

#[test]
fn nothing_is_told_that_did_not_happen_and_nothing_lost_that_did() {
    let s = service();
    let inbox = Inbox::new();
    let told = hook(&s, &inbox.url, &["workspace.*", "organization.updated"]);
    let waiting = || s.count("SELECT count(*) FROM webhook_deliveries");
    s.post("/workspaces", json!({ "name": "" }))
        .invalid(&["name"]);
    assert_eq!(waiting(), 0);
    // Written down and then undone.
    let tenant = workspaced::testing::TenantId(uuid::Uuid::parse_str(&s.tenant_id).unwrap());
    let entry = move |tx: &workspaced::testing::WriteTx<'_>| {
        let entry = Entry {
            actor: Actor::System,
            tenant_id: tenant,
            workspace_id: None,
            kind: "organization.updated",
            resource: tenant.0,
            before: audit::NONE,
            after: audit::NONE,
        };
        audit::record(tx, &entry)
    };
    let undone = s.app.store.write_blocking(move |tx| {
        entry(tx)?;
        let all: i64 = tx.query_row("SELECT count(*) FROM webhook_deliveries", [], |r| r.get(0))?;
        assert_eq!(all, 1);
        Err::<(), _>(Error::forbidden())
    });
    assert!(undone.is_err());
    assert_eq!(waiting(), 0);
    // A webhook's end that was undone: it is still told.
    let id = told["id"].as_str().unwrap().to_owned();
    let undone = s.app.store.write_blocking(move |tx| {
        workspaced::testing::queue::webhooks_change(tx);
        tx.execute("UPDATE webhooks SET enabled = 0", [])?;
        entry(tx)?;
        Err::<(), _>(Error::forbidden())
    });
    assert!(undone.is_err() && !id.is_empty());
    s.workspace("W");
    deliver(&s);
    assert_eq!(inbox.kinds(), ["workspace.created"]);
    // An answer that repeats an earlier one tells nothing again.
    let send = || {
        let mut again = crate::harness::request(
            &s.key,
            &Method::POST,
            "/workspaces",
            Some(json!({ "name": "X" })),
        );
        again
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        s.send(again).expect(201)
    };
    assert_eq!(send(), send());
    deliver(&s);
    assert_eq!(inbox.kinds(), ["workspace.created"]);
}

#[test]
fn what_waits_survives_a_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let db = dir.path().join("workspaced.db");
    let inbox = Inbox::answering(&["HTTP/1.1 500 No\r\n\r\n", "HTTP/1.1 200 Yes\r\n\r\n"]);
    let clock = Clock::manual(at(START));
    let start = || App::new(Store::open(&db, clock.clone(), 1).unwrap(), config());
    let app = start();
    let file = app.config.file.clone();
    let key = app
        .store
        .write_blocking(move |tx| {
            let key = workspaced::testing::NewKey::operator();
            let new = workspaced::testing::tenants::insert(
                tx,
                &file,
                Actor::Operator,
                "acme",
                "acme",
                0,
                key,
            )?;
            Ok(new.key.secret().to_owned())
        })
        .unwrap();
    let call = |app: &App, path: &str, body: Value| {
        use tower::ServiceExt;
        let request = crate::harness::request(&key, &Method::POST, path, Some(body));
        let reply = runtime()
            .block_on(router(app.clone()).oneshot(request))
            .unwrap();
        assert_eq!(reply.status(), 201);
    };
    call(
        &app,
        "/webhooks",
        json!({ "url": inbox.url, "events": ["workspace.created"] }),
    );
    // One is tried and fails, one waits behind it, and then the service is gone.
    call(&app, "/workspaces", json!({ "name": "A" }));
    runtime()
        .block_on(deliver_due(&app.outbox, PATIENCE))
        .unwrap();
    call(&app, "/workspaces", json!({ "name": "B" }));
    assert_eq!(inbox.all().len(), 1);
    app.store.close();
    drop(app);

    let app = start();
    clock.set(at(START).plus_seconds(60));
    runtime()
        .block_on(deliver_due(&app.outbox, PATIENCE))
        .unwrap();
    let mut names: Vec<Value> = inbox
        .all()
        .iter()
        .map(|got| got.json()["data"]["name"].clone())
        .collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["A", "B"]);
    app.store.close();
}

#[test]
fn a_slow_receiver_holds_up_nobody_else() {
    let s = service();
    let (slow_entered, entered) = channel::<()>();
    let (release, gate) = channel::<()>();
    let (slow_entered, gate) = (
        std::sync::Mutex::new(slow_entered),
        std::sync::Mutex::new(gate),
    );
    let slow = Inbox::with(move |_, _| {
        slow_entered.lock().unwrap().send(()).unwrap();
        let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        "HTTP/1.1 200 OK\r\n\r\n".into()
    });
    let (quick, beside) = (Inbox::new(), Inbox::new());
    let (other, _) = s.other_tenant("other");
    hook(&s, &slow.url, &["workspace.created"]);
    hook(&s, &beside.url, &["workspace.created"]);
    hook_as(&s, &other, &quick.url, &["workspace.created"]);
    s.workspace("A");
    s.workspace("B");
    for name in ["C", "D"] {
        s.call_as(
            &other,
            Method::POST,
            "/workspaces",
            Some(json!({ "name": name })),
        )
        .expect(201);
    }
    let app = s.app.clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = std::thread::spawn(move || {
        let own = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        own.block_on(workspaced::testing::deliver::run(
            app.outbox.clone(),
            stopped,
        ));
    });
    entered.recv_timeout(PATIENCE).unwrap();
    // While the first message of the slow one is under way all others come through, in order.
    let names =
        |inbox: &Inbox| [inbox.next(), inbox.next()].map(|got| got.json()["data"]["name"].clone());
    assert_eq!(names(&quick), ["C", "D"]);
    assert_eq!(names(&beside), ["A", "B"]);
    assert!(entered.try_recv().is_err(), "one at a time");
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(names(&slow), ["A", "B"]);
    stop.send(true).unwrap();
    running.join().unwrap();
    assert_eq!(
        s.count("SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'"),
        6
    );
}

#[test]
fn one_organization_does_not_take_all_threads() {
    let s = service();
    let (open, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let slow = Inbox::with(move |_, _| {
        let _ = gate.lock().unwrap().recv_timeout(PATIENCE);
        "HTTP/1.1 200 OK\r\n\r\n".into()
    });
    for _ in 0..20 {
        hook(&s, &slow.url, &["workspace.created"]);
    }
    let (other, _) = s.other_tenant("other");
    let quick = Inbox::new();
    hook_as(&s, &other, &quick.url, &["workspace.created"]);
    s.workspace("A");
    s.call_as(
        &other,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "B" })),
    )
    .expect(201);
    let all = runtime()
        .block_on(deliver_due(&s.app.outbox, Duration::from_millis(300)))
        .unwrap();
    assert!(!all, "20 receivers do not answer");
    quick.next();
    assert!(s.app.outbox.under_way() <= 5);
    for _ in 0..20 {
        open.send(()).unwrap();
    }
    deliver(&s);
    assert_eq!(slow.all().len(), 20);
}

#[test]
fn a_failing_message_holds_the_others_up_for_a_moment_only() {
    let s = service();
    let inbox = Inbox::with(|_, got| {
        let poison = got.body.contains("poison");
        format!("HTTP/1.1 {} X\r\n\r\n", if poison { 500 } else { 200 })
    });
    hook(&s, &inbox.url, &["workspace.created"]);
    for name in ["poison", "A", "B"] {
        s.workspace(name);
    }
    deliver(&s);
    assert_eq!(
        inbox.all().len(),
        1,
        "after a failure the receiver has a rest"
    );
    pass(&s, at(START).plus_seconds(1));
    let names: Vec<Value> = inbox
        .all()
        .iter()
        .map(|got| got.json()["data"]["name"].clone())
        .collect();
    assert_eq!(names, ["A", "B"]);
}

#[test]
fn a_queue_is_bounded() {
    let s = service();
    let inbox = Inbox::new();
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    let set = |n: i64| {
        let sql = "UPDATE webhooks SET pending_count = ?1";
        s.app
            .store
            .write_blocking(move |tx| Ok(tx.execute(sql, [n])?))
            .unwrap()
    };
    set(1000);
    s.workspace("W");
    let row = deliveries(&s, &hook)[0].clone();
    assert_eq!(
        (&row["state"], &row["attempt_count"]),
        (&json!("failed"), &json!(0))
    );
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("1000 deliveries were waiting")
    );
    let again = path(
        &hook,
        &format!("/deliveries/{}/replay", row["id"].as_str().unwrap()),
    );
    set(1100);
    s.post(&again, json!({}))
        .refused(429, "rate_limit_exceeded");
    set(0);
    assert_eq!(
        s.post(&again, json!({})).expect(200)["data"]["success"],
        true
    );
}

#[test]
fn disabling_gives_up_and_a_new_url_begins_anew() {
    let s = service();
    let inbox = Inbox::answering(&["HTTP/1.1 500 No\r\n\r\n"]);
    let hook = hook(&s, &inbox.url, &["workspace.created"]);
    s.workspace("A");
    deliver(&s);
    let better = Inbox::new();
    s.patch(&path(&hook, ""), json!({ "url": better.url }))
        .expect(200);
    deliver(&s);
    assert_eq!(
        better.kinds(),
        ["workspace.created"],
        "at once, not at the time of the retry"
    );
    assert_eq!(inbox.all().len(), 1);
    s.patch(&path(&hook, ""), json!({ "url": inbox.url }))
        .expect(200);
    s.workspace("B");
    deliver(&s);
    let off = s
        .patch(&path(&hook, ""), json!({ "enabled": false }))
        .expect(200);
    assert_eq!(off["data"]["pending_count"], 0);
    s.workspace("C");
    pass(&s, at(START).plus_seconds(86_400));
    assert_eq!(inbox.all().len(), 1);
    let rows = deliveries(&s, &hook);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["error"], "the webhook was disabled");
    // A test is sent all the same: to look before it is enabled.
    s.post(&path(&hook, "/test"), json!({})).expect(200);
    assert_eq!(inbox.kinds(), ["webhook.test"]);
    s.patch(
        &path(&hook, ""),
        json!({ "enabled": true, "url": better.url }),
    )
    .expect(200);
    s.workspace("D");
    deliver(&s);
    assert_eq!(better.kinds(), ["workspace.created"]);
}

#[test]
fn tests_and_replays_answer_with_what_came_of_them() {
    let s = service();
    let inbox = Inbox::answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 500 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ]);
    let hook = hook(&s, &inbox.url, &["computer.*"]);
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["success"], &sent["response_body"]),
        (&json!(true), &json!("ok"))
    );
    let got = inbox.next();
    assert_eq!(
        (got.kind(), got.header("x-miosa-event")),
        ("webhook.test".into(), "webhook.test")
    );
    assert_eq!(sent["request_body"], got.body);
    // A test is tried once; while the receiver fails a replay is not made to wait either.
    let sent = s.post(&path(&hook, "/test"), json!({})).expect(200)["data"].clone();
    assert_eq!(
        (&sent["state"], &sent["attempt_count"]),
        (&json!("failed"), &json!(1))
    );
    let id = sent["id"].as_str().unwrap();
    let again = s
        .post(&path(&hook, &format!("/deliveries/{id}/replay")), json!({}))
        .expect(200)["data"]
        .clone();
    assert_eq!(
        (&again["success"], &again["replay_of"]),
        (&json!(true), &json!(id))
    );
    assert_ne!(again["id"], id);
    let got = inbox.all();
    assert_eq!(got[0].body, got[1].body);
    assert_eq!(
        got[0].header("x-miosa-event-id"),
        got[1].header("x-miosa-event-id")
    );
    // Repeated under the same key it is not sent again.
    let repeat = || {
        let to = path(&hook, "/test");
        let mut request = crate::harness::request(&s.key, &Method::POST, &to, Some(json!({})));
        request
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        s.send(request)
    };
    let (first, second): (Answer, Answer) = (repeat(), repeat());
    assert_eq!(
        first.expect(200)["data"]["id"],
        second.expect(200)["data"]["id"]
    );
    assert!(second.headers.contains_key("idempotency-replayed"));
    assert_eq!(inbox.all().len(), 1);
}

#[test]
fn deliveries_are_paged_and_forgotten() {
    let s = service();
    let inbox = Inbox::new();
    let told = hook(&s, &inbox.url, &["workspace.created"]);
    for n in 0..5 {
        s.workspace(&format!("W{n}"));
        deliver(&s);
    }
    let all: Vec<Value> = deliveries(&s, &told)
        .iter()
        .map(|d| d["id"].clone())
        .collect();
    assert_eq!(all.len(), 5);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = s
            .get(&path(&told, &format!("/deliveries?limit=2{cursor}")))
            .expect(200);
        assert_eq!(page["total"], 5);
        paged.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|d| d["id"].clone()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    let page = s
        .get(&path(&told, "/deliveries?page=2&per_page=3"))
        .expect(200);
    assert_eq!(page["data"][1]["id"], all[4]);
    assert_eq!(
        s.get(&path(&told, "/deliveries?state=failed")).expect(200)["total"],
        0
    );

    let forget = || {
        let _app = s.app.clone();
        s.app.store.write_blocking(move |tx| purge(tx, 2)).unwrap()
    };
    s.clock.set(at(START).plus_seconds(7 * 86_400 - 1));
    assert_eq!(forget(), 0);
    s.clock.set(at(START).plus_seconds(7 * 86_400));
    assert_eq!((forget(), forget(), forget()), (2, 2, 1));
    assert!(deliveries(&s, &told).is_empty());
    // What is left of a deleted webhook goes at once, waiting or not.
    s.workspace("last");
    s.delete(&path(&told, "")).expect(200);
    deliver(&s);
    assert_eq!(forget(), 1);
    assert_eq!(s.count("SELECT count(*) FROM webhooks"), 0);
    assert_eq!(inbox.all().len(), 5);
}

#[test]
fn each_organization_hears_of_itself_only() {
    let s = service();
    let (mine, theirs) = (Inbox::new(), Inbox::new());
    let (other, _) = s.other_tenant("other");
    let own = hook(&s, &mine.url, &["*"]);
    hook_as(&s, &other, &theirs.url, &["*"]);
    s.workspace("mine");
    s.call_as(
        &other,
        Method::POST,
        "/workspaces",
        Some(json!({ "name": "theirs" })),
    )
    .expect(201);
    deliver(&s);
    let tenants = |inbox: &Inbox| -> BTreeSet<String> {
        inbox
            .all()
            .iter()
            .map(|got| got.json()["tenant_id"].to_string())
            .collect()
    };
    assert_eq!(
        tenants(&mine),
        BTreeSet::from([format!("{:?}", s.tenant_id)])
    );
    let heard = tenants(&theirs);
    assert!(heard.len() == 1 && !heard.contains(&format!("{:?}", s.tenant_id)));
    for (method, rest) in [
        (Method::GET, String::new()),
        (Method::PATCH, String::new()),
        (Method::DELETE, String::new()),
        (Method::POST, "/rotate".into()),
        (Method::POST, "/test".into()),
        (Method::GET, "/deliveries".into()),
        (
            Method::GET,
            format!(
                "/deliveries/{}",
                deliveries(&s, &own)[0]["id"].as_str().unwrap()
            ),
        ),
        (
            Method::POST,
            format!(
                "/deliveries/{}/replay",
                deliveries(&s, &own)[0]["id"].as_str().unwrap()
            ),
        ),
    ] {
        let body = (method != Method::GET).then(|| json!({}));
        s.call_as(&other, method, &path(&own, &rest), body)
            .refused(403, "FORBIDDEN");
    }
}

#[test]
fn another_database_brings_its_own_webhooks() {
    let s = Service::with(Config {
        dev: true,
        virtual_clock: true,
        ..config()
    });
    let inbox = Inbox::new();
    let post = |path: &str, body: Value| {
        let mut request = crate::harness::request(
            &s.key,
            &Method::POST,
            &format!("/api/../_dev{path}"),
            Some(body),
        );
        *request.uri_mut() = format!("/_dev{path}").parse().unwrap();
        s.send(request)
    };
    post("/snapshots", json!({ "name": "without" })).expect(201);
    hook(&s, &inbox.url, &["workspace.created"]);
    post("/snapshots", json!({ "name": "with" })).expect(201);
    post("/snapshots/without/restore", json!({})).expect(200);
    s.workspace("A");
    deliver(&s);
    assert!(inbox.all().is_empty());
    post("/snapshots/with/restore", json!({})).expect(200);
    s.workspace("B");
    deliver(&s);
    assert_eq!(inbox.all().len(), 1);
}
