"""Usage and credits through the official client, after a computer has really run."""

import pytest
from miosa.errors import ValidationError


@pytest.fixture
def ran(client, status_of):
    """A computer that has run for a moment and is stopped: its usage does not grow any more."""
    workspace = client.workspaces.create("Metered")
    computer = client.computers.create("box", workspace_id=workspace.id, size="xl")
    status_of(computer.id, "running")
    computer.stop()
    status_of(computer.id, "stopped")
    return workspace, computer


def test_usage_of_a_workspace_adds_up(ran, full_workspaces, api):
    workspace, _ = ran
    usage = full_workspaces.get_usage(workspace.id)
    assert (usage["workspace_id"], usage["window"], usage["granularity"]) == (workspace.id, "24h", "hour")
    assert len(usage["series"]) in (24, 25)
    assert usage["total_credits_used"] == sum(bucket["credits_used"] for bucket in usage["series"])
    assert usage["total_compute_ms"] > 0

    for window, granularity in (("7d", "day"), ("30d", "hour"), ("24h", "day")):
        other = api.get(f"/workspaces/{workspace.id}/usage?window={window}&granularity={granularity}").json()
        assert other["total_compute_ms"] == usage["total_compute_ms"]
        assert other["total_credits_used"] == usage["total_credits_used"]


def test_a_workspace_without_computers_used_nothing(full_workspaces):
    workspace = full_workspaces.create("Idle")
    usage = full_workspaces.get_usage(workspace.id)
    assert (usage["total_credits_used"], usage["total_compute_hours"]) == (0, 0)
    assert all(bucket["credits_used"] == 0 for bucket in usage["series"])


def test_sessions_are_uninterrupted_runs(ran, client):
    workspace, computer = ran
    [session] = client.usage.sessions()
    assert session["computer_id"] == computer.id
    assert session["workspace_id"] == workspace.id
    assert session["ended_at"] is not None
    assert isinstance(session["duration_sec"], int)
    assert client.usage.sessions(computer_id=computer.id) == [session]

    computer.start()
    sessions = client.usage.sessions(computer_id=computer.id)
    assert len(sessions) in (1, 2), "the second appears once the computer runs"


def test_the_summary_is_the_present_month(ran, client):
    summary = client.usage.current()
    assert summary["compute_hours"] >= 0
    assert isinstance(summary["total_credits"], int)
    assert isinstance(summary["ai_tokens"], int)
    assert summary["period_start"] < summary["period_end"]
    assert client.usage.report()["period_start"] == summary["period_start"]


def test_the_rollup_groups_by_what_is_asked(ran, client):
    workspace, computer = ran
    for period in (None, "7d", "30d", "90d", "mtd", "month-to-date"):
        rollup = client.usage.get(group_by="workspace_id", period=period)
        [row] = [row for row in rollup["results"] if row["workspace_id"] == workspace.id]
        assert isinstance(row["computer_seconds"], int)
        assert isinstance(row["credit_cents"], int)
    assert "external_user_id" in client.usage.get()["results"][0]
    assert "external_project_id" in client.usage.get(group_by="external_project_id")["results"][0]
    with pytest.raises(ValidationError, match="group_by"):
        client.usage.get(group_by="colour")
    with pytest.raises(ValidationError, match="period"):
        client.usage.get(period="1y")


def test_credits_spent(ran, client):
    assert isinstance(client.get_balance().balance, int)
    assert client.get_balance().lifetime_spent >= 0
    assert client.get_transactions().data is not None
    usage = client.get_usage()
    assert usage.total == usage.compute + usage.ai + usage.storage
    assert usage.period_start < usage.period_end


def test_granted_credits_are_the_balance(connect, server, new_organization):
    client = connect(api_key=new_organization(credits_granted=500).key, base_url=server.url)
    assert client.get_balance().balance == 500
    assert [t.amount for t in client.get_transactions().data if t.type == "earn"] == [500]
