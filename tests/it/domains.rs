//! Preview domains, checked against a real DNS server on loopback.

mod dns_server;
mod ownership;
mod verify;

use std::net::SocketAddr;

use axum::http::Method;
use serde_json::{Value, json};
use workspaced::testing::Actor;
use workspaced::testing::Config;
use workspaced::testing::NewKey;
use workspaced::testing::TenantId;
use workspaced::testing::api_keys;

use crate::harness::{Service, request, runtime};
use dns_server::{DnsServer, Says};

const PROXY: &str = "proxy.selfhost.example";
const ORGANIZATION: &str = "/tenant/preview-domain";

/// A service that asks `dns`, with one workspace and one project in it.
struct World {
    service: Service,
    dns: DnsServer,
    workspace: String,
    project: String,
}

impl World {
    fn new() -> World {
        let dns = runtime().block_on(DnsServer::start());
        dns.set(
            PROXY,
            Says::Addresses(&["192.0.2.10", "192.0.2.11", "2001:db8::10"]),
        );
        let service = service(dns.address());
        let workspace = service.workspace("Harbor Dental");
        let body = json!({"name": "Landing", "workspace_id": workspace});
        let project = service.post("/projects", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        World {
            service,
            dns,
            workspace,
            project,
        }
    }

    fn workspace_path(&self) -> String {
        format!("/workspaces/{}/preview-domain", self.workspace)
    }

    fn project_path(&self) -> String {
        format!("/projects/{}/preview-domain", self.project)
    }

    fn get(&self, path: &str) -> Value {
        self.service.get(path).expect(200)
    }

    fn put(&self, path: &str, domain: &str) -> Value {
        self.service
            .put(path, json!({"preview_domain": domain}))
            .expect(200)
    }

    fn clear(&self, path: &str) -> Value {
        self.service.delete(path).expect(200)
    }

    /// Sets the workspace's domain.
    fn set(&self, domain: &str) -> Value {
        self.put(&self.workspace_path(), domain)
    }

    /// Checks the workspace's domain.
    fn verify(&self) -> Value {
        self.get(&format!("{}/verify", self.workspace_path()))
    }

    /// Both wildcards of `domain` answer the same.
    fn wildcards(&self, domain: &str, says: Says) {
        self.dns.set(&format!("*.{domain}"), says);
        self.dns.set(&format!("*.sandbox.{domain}"), says);
    }

    fn now(&self) -> Value {
        json!(self.service.app.store.now())
    }

    /// The kinds of all entries of the audit log about preview domains.
    fn audited(&self) -> Vec<String> {
        let read = self.service.app.store.read_blocking(|tx| {
            let mut statement = tx.prepare(
                "SELECT type FROM audit_log WHERE type LIKE '%preview_domain%' ORDER BY seq",
            )?;
            let kinds = statement
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok(kinds)
        });
        read.unwrap()
    }

    /// A key of the same organization with these scopes.
    fn key_with(&self, scopes: &[&str]) -> String {
        let tenant = TenantId(self.service.tenant_id.parse().unwrap());
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let key = NewKey {
            scopes,
            ..NewKey::named("limited")
        };
        let key = self
            .service
            .app
            .store
            .write_blocking(move |tx| api_keys::insert(tx, tenant, Actor::Operator, key));
        key.unwrap().secret().to_owned()
    }
}

fn service(resolver: SocketAddr) -> Service {
    Service::with(Config {
        dns_resolver: Some(resolver),
        proxy_host: PROXY.into(),
        ..Config::default()
    })
}

fn statuses(body: &Value) -> Vec<&str> {
    body["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["status"].as_str().unwrap())
        .collect()
}

fn examples(domain: &str) -> Value {
    json!({
        "default_preview": format!("https://<slug>.{domain}"),
        "port_preview": format!("https://3000-<slug>.sandbox.{domain}"),
        "deployment": format!("https://<deployment-slug>.{domain}"),
    })
}

/// A record that nobody looked for yet.
fn unchecked(name: &str, domain: &str) -> Value {
    json!({
        "type": "CNAME", "name": name, "host": format!("{name}.{domain}"), "expected": PROXY, "found": null,
        "status": "unchecked", "hint": format!("add this record in the zone of {domain}, then verify"),
    })
}

#[test]
fn a_workspace_domain_from_set_to_clear() {
    let w = World::new();
    let path = w.workspace_path();
    let unset = json!({
        "scope": "workspace", "id": w.workspace, "preview_domain": null, "effective_domain": "miosa.ai",
        "status": "not_configured", "dns_status": "not_configured", "url_examples": examples("miosa.ai"),
        "source": "platform", "verified": false, "verified_at": null, "checked_at": null, "last_error": null,
        "target": PROXY, "cname_target": PROXY, "records": [],
    });
    assert_eq!(w.get(&path), unset);
    assert_eq!(w.clear(&path), unset);

    let domain = "drsmithclinic.com";
    let set = json!({
        "scope": "workspace", "id": w.workspace, "preview_domain": domain, "effective_domain": domain,
        "status": "pending_dns", "dns_status": "pending", "url_examples": examples(domain),
        "source": "workspace", "verified": false, "verified_at": null, "checked_at": null, "last_error": null,
        "target": PROXY, "cname_target": PROXY,
        "records": [unchecked("*", domain), unchecked("*.sandbox", domain)],
    });
    assert_eq!(w.set("DrSmithClinic.com."), set);
    assert_eq!(w.get(&path), set);

    assert_eq!(w.clear(&path), unset);
    assert_eq!(w.get(&path), unset);
    // Clearing what is clear changes nothing and leaves no trace.
    assert_eq!(
        w.audited(),
        [
            "workspace.preview_domain_updated",
            "workspace.preview_domain_cleared"
        ]
    );
}

#[test]
fn the_nearest_domain_holds() {
    let w = World::new();
    let computer = json!({"name": "front", "workspace_id": w.workspace, "project_id": w.project});
    let computer = w.service.post("/computers", computer).expect(201);
    let computer = format!("/computers/{}", computer["id"].as_str().unwrap());
    let levels = [
        ORGANIZATION.to_owned(),
        w.workspace_path(),
        w.project_path(),
    ];
    let sees = |expected: [(&str, &str); 3]| {
        for (path, (domain, source)) in levels.iter().zip(expected) {
            let body = w.get(path);
            assert_eq!(body["effective_domain"], domain, "{path}");
            assert_eq!(body["source"], source, "{path}");
            assert_eq!(body["url_examples"], examples(domain), "{path}");
        }
        assert_eq!(w.get(&computer)["preview_domain"], expected[2].0);
    };
    let base = ("miosa.ai", "platform");
    let org = ("org.example", "organization");
    let workspace = ("workspace.example", "workspace");
    let project = ("project.example", "project");
    sees([base; 3]);
    for (path, (domain, _)) in levels.iter().zip([org, workspace, project]) {
        w.put(path, domain);
    }
    sees([org, workspace, project]);
    w.clear(&levels[2]);
    sees([org, workspace, workspace]);
    w.clear(&levels[1]);
    sees([org; 3]);
    w.put(&levels[2], project.0);
    sees([org, org, project]);
    w.clear(&levels[0]);
    sees([base, base, project]);
}

#[test]
fn what_is_no_domain_is_refused_and_changes_nothing() {
    let w = World::new();
    w.set("harbor.example");
    let before = (w.get(&w.workspace_path()), w.service.fingerprint());
    for (body, part) in [
        (json!({}), "can't be blank"),
        (json!({"preview_domain": null}), "can't be blank"),
        (json!({"preview_domain": ""}), "must not be empty"),
        (
            json!({"preview_domain": "https://acme.com"}),
            "without a scheme",
        ),
        (json!({"preview_domain": "acme.com:8080"}), "without a port"),
        (json!({"preview_domain": "acme.com/x"}), "without a path"),
        (
            json!({"preview_domain": "*.acme.com"}),
            "without a wildcard",
        ),
        (json!({"preview_domain": "acme"}), "at least two parts"),
        (json!({"preview_domain": "192.0.2.1"}), "not an IP address"),
        (json!({"preview_domain": "printer.local"}), "public DNS"),
        (
            json!({"preview_domain": "miosa.ai"}),
            "must not be miosa.ai",
        ),
        (
            json!({"preview_domain": "Tenant.Miosa.AI."}),
            "must not be miosa.ai",
        ),
        (
            json!({"preview_domain": PROXY}),
            "must not be proxy.selfhost.example",
        ),
        (
            json!({"preview_domain": "a.example", "domain": "b.example"}),
            "different values",
        ),
        (json!({"preview_domain": 5}), "string"),
    ] {
        for path in [
            w.workspace_path(),
            w.project_path(),
            ORGANIZATION.to_owned(),
        ] {
            let reply = w
                .service
                .put(&path, body.clone())
                .invalid(&["preview_domain"]);
            let text = reply["errors"]["preview_domain"][0].as_str().unwrap();
            assert!(text.contains(part), "{body}: {text}");
        }
    }
    assert_eq!(
        (w.get(&w.workspace_path()), w.service.fingerprint()),
        before
    );
    for (body, domain) in [
        (json!({"domain": "alias.example"}), "alias.example"),
        (json!({"previewDomain": "camel.example"}), "camel.example"),
        (
            json!({"preview_domain": "same.example", "domain": "SAME.example."}),
            "same.example",
        ),
    ] {
        let reply = w.service.put(&w.workspace_path(), body).expect(200);
        assert_eq!(reply["preview_domain"], domain);
    }
}

#[test]
fn a_domain_belongs_to_one_organization() {
    let w = World::new();
    let (other, _) = w.service.other_tenant("rival");
    let call = |method, path: &str, body| w.service.call_as(&other, method, path, body);
    let put = |domain: &str| {
        call(
            Method::PUT,
            ORGANIZATION,
            Some(json!({"preview_domain": domain})),
        )
    };
    w.set("acme.com");
    // Free inside the same organization.
    w.put(ORGANIZATION, "acme.com");
    w.put(&w.project_path(), "acme.com");

    let reply = put("ACME.com").invalid(&["preview_domain"]);
    let text = reply["errors"]["preview_domain"][0].as_str().unwrap();
    assert!(text.starts_with("has already been taken"), "{text}");
    let show = call(Method::GET, ORGANIZATION, None).expect(200);
    assert_eq!(show["preview_domain"], Value::Null);

    // A name under it is free until it is proven whose it is; then wildcards prove nothing there.
    let theirs = put("shop.acme.com").expect(200);
    w.wildcards("acme.com", Says::Cname(PROXY));
    for shown in [w.get(&w.workspace_path()), theirs] {
        let record = &shown["records"][2];
        let text = record["expected"].as_str().unwrap().to_owned().leak();
        w.dns
            .set(record["host"].as_str().unwrap(), Says::Text(text));
    }
    assert_eq!(w.verify()["verified"], true);
    let body = call(Method::POST, &format!("{ORGANIZATION}/verify"), None).expect(200);
    assert_eq!(statuses(&body), ["ok", "ok", "ok"]);
    assert_eq!(body["verified"], false);
    assert_eq!(body["dns_status"], "error");
    assert!(
        body["last_error"]
            .as_str()
            .unwrap()
            .contains("another organization"),
        "{body}"
    );
    call(Method::DELETE, ORGANIZATION, None).expect(200);
    put("shop.acme.com").invalid(&["preview_domain"]);
    put("new.shop.acme.com").invalid(&["preview_domain"]);

    // Let go, by clearing it and by deleting what it belonged to.
    w.clear(ORGANIZATION);
    w.clear(&w.project_path());
    put("acme.com").invalid(&["preview_domain"]);
    w.service
        .delete(&format!("/workspaces/{}?force=true", w.workspace))
        .expect(200);
    put("acme.com").expect(200);
}

#[test]
fn the_organization_level_has_the_fields_that_its_clients_read() {
    let w = World::new();
    let domain = "org.example";
    let set = w
        .service
        .put(ORGANIZATION, json!({"domain": domain}))
        .expect(200);
    assert_eq!(
        set,
        json!({
            "scope": "organization", "id": w.service.tenant_id, "preview_domain": domain,
            "effective_domain": domain, "status": "pending_dns", "dns_status": "pending",
            "url_examples": examples(domain), "source": "organization", "verified": false,
            "verified_at": null, "checked_at": null, "last_error": null, "target": PROXY, "cname_target": PROXY,
            "records": [unchecked("*", domain), unchecked("*.sandbox", domain)],
            "domain": domain, "default_domain": "miosa.ai",
            "dns_instructions": {"type": "CNAME", "name": "*.org.example", "value": PROXY},
        })
    );
    w.wildcards(domain, Says::Cname(PROXY));
    let post = Method::POST;
    let body = w
        .service
        .call_as(
            &w.service.key,
            post,
            &format!("{ORGANIZATION}/verify"),
            None,
        )
        .expect(200);
    assert_eq!(body["verified"], true);
    assert_eq!(body["verified_at"], w.now());

    let body = w.clear(ORGANIZATION);
    assert_eq!(body["domain"], Value::Null);
    assert_eq!(body["dns_instructions"], Value::Null);
    assert_eq!(body["default_domain"], "miosa.ai");
    let kinds =
        ["updated", "checked", "cleared"].map(|what| format!("organization.preview_domain_{what}"));
    assert_eq!(w.audited(), kinds);
}

#[test]
fn a_repeated_request_gets_the_first_reply() {
    let w = World::new();
    let send = |method: Method, path: &str, body: Value, key: &str| {
        let mut request = request(&w.service.key, &method, path, Some(body));
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        w.service.send(request).expect(200)
    };
    let put = |key| {
        send(
            Method::PUT,
            ORGANIZATION,
            json!({"preview_domain": "org.example"}),
            key,
        )
    };
    let verify = |key| {
        send(
            Method::POST,
            &format!("{ORGANIZATION}/verify"),
            json!({}),
            key,
        )
    };
    w.wildcards("org.example", Says::NoName);
    let set = put("first");
    let pending = verify("second");
    assert_eq!(pending["checked_at"], w.now());
    w.wildcards("org.example", Says::Cname(PROXY));
    assert_eq!(verify("second"), pending);
    assert_eq!(w.get(ORGANIZATION), pending);
    assert_eq!(verify("third")["dns_status"], "verified");
    assert_eq!(put("first"), set);
}

#[test]
fn existence_tenant_and_scope_come_before_the_body() {
    let w = World::new();
    let (other, _) = w.service.other_tenant("rival");
    let reader = w.key_with(&["workspaces:read", "projects:read"]);
    let nobody = w.key_with(&["computers:read"]);
    let before = w.service.fingerprint();
    let nowhere = uuid::Uuid::from_u128(1);
    for (kind, own) in [
        ("workspace", w.workspace_path()),
        ("project", w.project_path()),
    ] {
        for (method, end) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/verify")] {
            // A body that would be refused, were it read.
            let body = (method == "PUT").then(|| json!({"preview_domain": "*"}));
            let call = |key: &str, path: &str| {
                w.service.call_as(
                    key,
                    method.parse().unwrap(),
                    &format!("{path}{end}"),
                    body.clone(),
                )
            };
            let missing = call(
                &w.service.key,
                &format!("/{kind}s/{nowhere}/preview-domain"),
            );
            assert_eq!(
                missing.refused(404, "NOT_FOUND"),
                format!("{kind} not found"),
                "{method} {end}"
            );
            call(&w.service.key, &format!("/{kind}s/x/preview-domain")).refused(400, "INVALID_ID");
            assert_eq!(
                call(&other, &own).refused(403, "FORBIDDEN"),
                "forbidden",
                "{method} {end}"
            );
            call(&nobody, &own).refused(403, "insufficient_scope");
            call("", &own).refused(401, "invalid_token");
            if method == "GET" {
                call(&reader, &own).expect(200);
            } else {
                call(&reader, &own).refused(403, "insufficient_scope");
            }
        }
    }
    w.service
        .call_as(&reader, Method::GET, ORGANIZATION, None)
        .expect(200);
    for (method, end) in [
        (Method::PUT, ""),
        (Method::DELETE, ""),
        (Method::POST, "/verify"),
    ] {
        let path = format!("{ORGANIZATION}{end}");
        w.service
            .call_as(&reader, method, &path, None)
            .refused(403, "insufficient_scope");
    }
    assert_eq!(w.service.fingerprint(), before);
    assert_eq!(w.dns.asked(), Vec::<String>::new());
}

#[test]
fn all_domains_of_an_organization_are_one_list() {
    let s = Service::new();
    let (a, b) = (s.workspace("A"), s.workspace("B"));
    let project = json!({ "name": "Site", "workspace_id": b });
    let project = s.post("/projects", project).expect(201)["id"].clone();
    let set = |place: String, domain: &str| {
        s.put(
            &format!("{place}/preview-domain"),
            json!({ "domain": domain }),
        )
        .expect(200);
    };
    set(format!("/workspaces/{a}"), "zebra.example");
    set(
        format!("/projects/{}", project.as_str().unwrap()),
        "ape.example",
    );
    set("/tenant".into(), "house.example");
    let (theirs, _) = s.other_tenant("rival");
    let list = s.get("/preview-domains").expect(200);
    let rows = list["data"].as_array().unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["domain"].as_str().unwrap(),
                row["scope"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("ape.example", "project"),
            ("house.example", "organization"),
            ("zebra.example", "workspace")
        ]
    );
    assert_eq!(
        (&rows[2]["owner_id"], &rows[2]["owner_name"]),
        (&json!(a), &json!("A"))
    );
    assert_eq!(s.get("/preview-domains?q=ZEB").expect(200)["total"], 1);
    let foreign = s.call_as(&theirs, Method::GET, "/preview-domains", None);
    assert_eq!(foreign.expect(200)["total"], 0);
}
