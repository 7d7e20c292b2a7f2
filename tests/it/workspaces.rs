//! Workspaces: the API page, endpoint by endpoint.

use serde_json::json;

use crate::harness::{Service, redact};

#[test]
fn the_default_workspace_is_there_and_the_list_has_two_keys() {
    let s = Service::new();
    let body = s.get("/workspaces").expect(200);
    assert_eq!(
        redact(body),
        json!({
            "data": [{
                "id": "[uuid]", "tenant_id": "[uuid]", "name": "default", "slug": "default",
                "external_workspace_id": null, "description": null, "metadata": {}, "is_default": true,
                "computer_count": 0, "created_at": "[time]", "updated_at": "[time]",
            }],
            "total": 1,
        })
    );
}
