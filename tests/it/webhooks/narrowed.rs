//! What narrows a webhook, what goes along with its messages, and how it ends.

use super::*;

#[test]
fn a_webhook_of_one_workspace_hears_of_nothing_else() {
    let s = service();
    let (a, b) = (s.workspace("a"), s.workspace("b"));
    let inbox = Inbox::new();
    let body = json!({ "url": inbox.url, "events": ["*"], "workspace_id": a });
    let made = s.post("/webhooks", body).expect(201)["data"].clone();
    assert_eq!(made["workspace_id"], json!(a));
    let here = s.computer(&a, "small");
    s.computer(&b, "small");
    s.patch(&format!("/workspaces/{b}"), json!({ "name": "b2" }))
        .expect(200);
    s.post("/api-keys", json!({ "name": "of the organization" }))
        .expect(201);
    let target = json!({ "workspace_id": b });
    s.advance(5);
    s.post(&format!("/computers/{here}/move"), target)
        .expect(200);
    s.patch(&format!("/computers/{here}"), json!({ "name": "gone" }))
        .expect(200);
    deliver(&s);
    let got = inbox.all();
    assert!(!got.is_empty());
    for message in &got {
        assert_eq!(message.json()["workspace_id"], json!(a), "{message:?}");
        assert!(!message.body.contains(&b), "{}", message.body);
    }

    // It can be widened and narrowed, and not to a workspace of somebody else's.
    let (_, theirs) = s.other_tenant("other");
    let foreign = json!({ "workspace_id": theirs });
    s.patch(&path(&made, ""), foreign).refused(403, "FORBIDDEN");
    let unknown = json!({ "workspace_id": uuid::Uuid::nil() });
    s.patch(&path(&made, ""), unknown).refused(404, "NOT_FOUND");
    let all = s.patch(&path(&made, ""), json!({ "workspace_id": null }));
    assert_eq!(all.expect(200)["data"]["workspace_id"], Value::Null);
    s.workspace("c");
    deliver(&s);
    assert!(inbox.kinds().contains(&"workspace.created".to_owned()));
}

#[test]
fn headers_of_its_own_go_along_and_are_shown_nowhere() {
    let s = service();
    let inbox = Inbox::new();
    let body = json!({
        "url": inbox.url, "events": ["workspace.*"],
        "headers": { "Authorization": "Bearer receiver-token", "X-Env": "prod" },
    });
    let made = s.post("/webhooks", body).expect(201);
    assert!(!made.to_string().contains("receiver-token"));
    let made = made["data"].clone();
    let masked = json!({ "authorization": "•••", "x-env": "•••" });
    assert_eq!(made["headers"], masked);
    s.workspace("w");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(got.header("authorization"), "Bearer receiver-token");
    assert_eq!(got.header("x-env"), "prod");

    // What is shown can be sent back; all in all they are those that are sent.
    let changes = json!({ "headers": { "authorization": "•••", "x-other": "1" } });
    let changed = s.patch(&path(&made, ""), changes).expect(200);
    assert_eq!(
        changed["data"]["headers"],
        json!({ "authorization": "•••", "x-other": "•••" })
    );
    s.patch(&path(&made, ""), json!({ "name": "n" }))
        .expect(200);
    s.workspace("w2");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(got.header("authorization"), "Bearer receiver-token");
    assert_eq!(got.header("x-other"), "1");
    assert!(got.headers.iter().all(|(name, _)| name != "x-env"));
    assert!(!s.get("/audit-log").text.contains("receiver-token"));

    for wrong in [
        json!({ "Host": "x" }),
        json!({ "connection": "close" }),
        json!({ "X-MIOSA-Signature": "sha256=00" }),
        json!({ "webhook-id": "1" }),
        json!({ "x": "a\r\ny: b" }),
        json!({ "x-new": "•••" }),
    ] {
        s.patch(&path(&made, ""), json!({ "headers": wrong }))
            .invalid(&["headers"]);
    }
}

/// HMAC-SHA256 under any key that is no longer than a block.
fn hmac_bytes(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let mut inner = Sha256::new();
    inner.update(block.map(|b| b ^ 0x36));
    inner.update(text);
    let mut outer = Sha256::new();
    outer.update(block.map(|b| b ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().to_vec()
}

fn standard(secret: &str, got: &Got) -> String {
    use data_encoding::BASE64;
    let key = BASE64
        .decode(secret.strip_prefix("whsec_").unwrap().as_bytes())
        .unwrap();
    // Standard Webhooks asks for keys of 24 to 64 bytes.
    assert!((24..=64).contains(&key.len()));
    let (id, t) = (got.header("webhook-id"), got.header("webhook-timestamp"));
    let signed = format!("{id}.{t}.{}", got.body);
    format!("v1,{}", BASE64.encode(&hmac_bytes(&key, &signed)))
}

#[test]
fn standard_webhooks_are_a_second_scheme() {
    let s = service();
    let inbox = Inbox::new();
    let body =
        json!({ "url": inbox.url, "events": ["workspace.*"], "signature_scheme": "standard" });
    let made = s.post("/webhooks", body).expect(201);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let hook = made["data"].clone();
    s.workspace("w");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(got.header("webhook-signature"), standard(&secret, &got));
    let event = got.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(got.header("webhook-id"), format!("evt_{event}"));
    assert!(
        got.headers
            .iter()
            .all(|(name, _)| !name.contains("signature") || name == "webhook-signature")
    );

    // While a rotation lasts both secrets sign.
    let rotated = s.post(&path(&hook, "/rotate"), json!({ "grace_seconds": 60 }));
    let new = rotated.expect(200)["secret"].as_str().unwrap().to_owned();
    s.workspace("w2");
    deliver(&s);
    let got = inbox.next();
    let both = format!("{} {}", standard(&new, &got), standard(&secret, &got));
    assert_eq!(got.header("webhook-signature"), both);
    s.advance(60);
    s.workspace("w3");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(got.header("webhook-signature"), standard(&new, &got));

    let other = json!({ "signature_scheme": "md5" });
    s.patch(&path(&hook, ""), other)
        .invalid(&["signature_scheme"]);
    let back = json!({ "signature_scheme": "miosa" });
    s.patch(&path(&hook, ""), back).expect(200);
    s.workspace("w4");
    deliver(&s);
    assert!(
        inbox
            .next()
            .header("x-miosa-signature")
            .starts_with("sha256=")
    );
}

#[test]
fn a_receiver_with_the_old_secret_goes_on_during_the_overlap() {
    let s = service();
    let inbox = Inbox::new();
    let made = hook(&s, &inbox.url, &["workspace.*"]);
    let old = made["secret"].as_str().unwrap().to_owned();
    let rotated = s.post(&path(&made, "/rotate"), json!({ "grace_seconds": 60 }));
    let rotated = rotated.expect(200);
    assert_eq!(
        rotated["data"]["previous_secret_expires_at"],
        "2026-05-20T10:16:30Z"
    );
    let new = rotated["secret"].as_str().unwrap().to_owned();
    s.workspace("w");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(
        got.header("x-miosa-signature"),
        format!("sha256={}", hmac(&old, &got.body))
    );
    let timed = got.header("miosa-signature");
    let t = timed.strip_prefix("t=").unwrap().split(',').next().unwrap();
    let text = format!("{t}.{}", got.body);
    // The published client believes the last one; a receiver of one's own may try each.
    assert_eq!(
        timed,
        format!("t={t},v1={},v1={}", hmac(&new, &text), hmac(&old, &text))
    );
    s.advance(60);
    s.workspace("w2");
    deliver(&s);
    let got = inbox.next();
    assert_eq!(
        got.header("x-miosa-signature"),
        format!("sha256={}", hmac(&new, &got.body))
    );
    let shown = s.get(&path(&made, "")).expect(200);
    assert_eq!(shown["data"]["previous_secret_expires_at"], Value::Null);
}

#[test]
fn a_receiver_that_is_gone_is_left_alone() {
    let s = service();
    let inbox = Inbox::answering(&[
        "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ]);
    let made = hook(&s, &inbox.url, &["workspace.*"]);
    s.workspace("w");
    s.workspace("w2");
    deliver(&s);
    assert_eq!(inbox.all().len(), 1);
    let shown = s.get(&path(&made, "")).expect(200)["data"].clone();
    assert_eq!(
        (&shown["enabled"], &shown["status"]),
        (&json!(false), &json!("disabled"))
    );
    assert!(shown["disabled_reason"].as_str().unwrap().contains("410"));
    assert_eq!(shown["pending_count"], 0);
    let row = s.get("/audit-log?type=webhook.updated").expect(200)["data"][0].clone();
    assert_eq!(row["actor_type"], "system");
    assert_eq!(row["metadata"]["after"]["enabled"], false);
    s.workspace("w3");
    s.advance(3600);
    deliver(&s);
    assert!(inbox.all().is_empty(), "nothing is sent any more");

    let on = s
        .patch(&path(&made, ""), json!({ "enabled": true }))
        .expect(200);
    assert_eq!(on["data"]["disabled_reason"], Value::Null);
    s.workspace("w4");
    deliver(&s);
    assert_eq!(inbox.all().len(), 1);
}

#[test]
fn all_that_failed_since_an_instant_is_sent_again() {
    let s = service();
    let down = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let up = "HTTP/1.1 204 No Content\r\n\r\n";
    let inbox = Inbox::answering(&[down, down, down, down, up]);
    let body = json!({ "url": inbox.url, "events": ["workspace.created"], "retry_count": 0 });
    let made = s.post("/webhooks", body).expect(201)["data"].clone();
    for name in ["before", "first", "second", "third"] {
        s.workspace(name);
        deliver(&s);
        s.advance(100);
        deliver(&s);
    }
    assert_eq!(inbox.all().len(), 4);
    let since = json!({ "since": "2026-05-20T10:17:00Z" });
    let again = path(&made, "/replay-failed");
    s.post(&again, json!({})).invalid(&["since"]);
    s.post(&again, json!({ "since": "yesterday" }))
        .invalid(&["since"]);
    let queued = s.post(&again, since.clone()).expect(200);
    assert_eq!(queued["data"], json!({ "queued": 3, "left": 0 }));
    // They are under way: asked once more, there is nothing to do.
    let twice = s.post(&again, since.clone()).expect(200);
    assert_eq!(twice["data"], json!({ "queued": 0, "left": 0 }));
    s.advance(100);
    deliver(&s);
    let names: Vec<_> = inbox
        .all()
        .iter()
        .map(|got| got.json()["data"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["first", "second", "third"]);
    let after = s.post(&again, since.clone()).expect(200);
    assert_eq!(after["data"]["queued"], 0, "they were taken");
    s.patch(&path(&made, ""), json!({ "enabled": false }))
        .expect(200);
    s.post(&again, since).refused(409, "RESOURCE_STATE");
}
