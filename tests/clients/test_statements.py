"""Statements from the command line, through a service and beside it, and written by themselves."""

import sqlite3
import zipfile
from contextlib import closing

from workspaced import FAST, Server, eventually, run

KEY = "msk_u_dev"


def service(tmp_path, *flags):
    return Server(tmp_path, "--dev", *FAST, *flags)


def a_month_of_use(http, server):
    """A computer that ran through a whole month of 31 days, which is over by now; the month."""

    def clock(**body):
        return http.post(f"{server.url}/_dev/clock", json=body).raise_for_status().json()["now"]

    clock(mode="frozen")
    where = http.post("/workspaces", json={"name": "Őrház Clinic"}).json()["id"]
    prices = {"currency": "EUR", "price_per_credit": "0.01", "tax_rate": "27", "effective_from": "2020-01"}
    http.put("/tenant/prices", json=prices).raise_for_status()
    http.post("/computers", json={"name": "pc", "workspace_id": where}).raise_for_status()
    now = clock(advance_seconds=62 * 86400)
    year, month = int(now[:4]), int(now[5:7])
    return where, f"{year - (month == 1)}-{(month - 2) % 12 + 1:02}"


def test_made_listed_proven_and_written_to_a_file(tmp_path):
    with service(tmp_path) as server, server.http(KEY) as http:
        where, month = a_month_of_use(http, server)
        client = {"MIOSA_BASE_URL": server.url, "MIOSA_API_KEY": KEY}
        made = run("statements", "make", month, "--to", tmp_path / "all.zip", **client)
        assert made.returncode == 0, made.stderr
        assert "Őrház Clinic" in made.stdout and "EUR" in made.stdout
        with zipfile.ZipFile(tmp_path / "all.zip") as files:
            assert files.testzip() is None
            (name,) = [name for name in files.namelist() if "orhaz" in name]
            assert name.endswith(".pdf") and files.read(name).startswith(b"%PDF-")
        again = run("statements", "make", month, "--to", tmp_path / "all.zip", **client)
        assert again.returncode != 0 and "all.zip" in again.stderr
        table = run("statements", "make", month, "--to", tmp_path / "all.csv", **client)
        assert table.returncode == 0, table.stderr
        assert (tmp_path / "all.csv").read_text().count("\n") > 2
        wrong = run("statements", "make", month, "--to", tmp_path / "all.doc", **client)
        assert wrong.returncode == 2 and ".zip or .csv" in wrong.stderr
        late = run("statements", "make", "2999-01", **client)
        assert late.returncode == 2 and "is not over" in late.stderr
        listed = run("statements", "ls", "--period", month, "--workspace", where, **client)
        assert listed.returncode == 0 and "Őrház Clinic" in listed.stdout, listed.stderr

        proof = run("statements", "verify", "--data-dir", server.data_dir)
        assert proof.returncode == 0 and "0 differences" in proof.stdout, proof.stderr + proof.stdout
        with closing(sqlite3.connect(server.data_dir / "workspaced.db")) as db, db:
            db.execute("DROP TRIGGER statement_lines_unchanged")
            db.execute("UPDATE statement_lines SET amount = amount + 1")
        proof = run("statements", "verify", "--data-dir", server.data_dir)
        assert proof.returncode == 1 and "its lines are not what the events" in proof.stderr


def test_a_month_that_is_over_is_written_by_itself(tmp_path):
    to = tmp_path / "statements"
    with service(tmp_path, "--statements-dir", to) as server, server.http(KEY) as http:
        _, month = a_month_of_use(http, server)
        eventually(lambda: list(to.glob(f"*/{month}/statements.csv")), "the statements of the month")
        assert list(to.glob(f"*/{month}/*orhaz-clinic.pdf"))
        events = http.get("/audit-log", params={"type": "statement.created"}).json()["data"]
        assert events and {row["actor_type"] for row in events} == {"system"}
