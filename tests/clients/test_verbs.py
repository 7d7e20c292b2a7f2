"""Whatever the published client can ask of a computer is done, or is answered with what to use instead."""

from __future__ import annotations

import inspect

from miosa.resources.computer import Computer
from miosa.types import Computer as Model

from workspaced import Server

ANY = "01a219f7-3133-7004-a83b-e4a027c75bd3"
#: The screen has tests of its own.
SCREEN = ("/desktop/", "/embed", "/vnc-credentials", "/viewer-password", "/stream-token")


class Asked(Exception):
    """What was to be known is known."""


class Recorder:
    """In place of the client's connection: notes what is asked for, and answers nothing."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def request(self, method: str, path: str, **_: object) -> None:
        self.seen.add((method, path))
        raise Asked

    def stream_sse(self, path: str, **_: object) -> None:
        self.request("GET", path)

    def __getattr__(self, name: str):
        return self.request


def value(parameter: inspect.Parameter) -> object:
    kind = str(parameter.annotation).lower()
    if "int" in kind or "float" in kind:
        return 1
    if "list" in kind or "iterable" in kind or "sequence" in kind:
        return [{"effect": "deny", "destination": "x"}] if parameter.name == "rules" else ["x"]
    return {"x": "y"} if "dict" in kind else "x"


def call(method) -> None:
    parameters = inspect.signature(method).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    try:
        made = method(
            *(value(p) for p in needed if p.kind != p.KEYWORD_ONLY),
            **{p.name: value(p) for p in needed if p.kind == p.KEYWORD_ONLY},
        )
        if inspect.isgenerator(made):
            next(made)
    except Exception:  # noqa: BLE001, S110 - asked, or refused by the client itself
        pass


def verbs(thing, depth: int = 0) -> None:
    for name in dir(thing):
        if name.startswith(("_", "wait")):
            continue
        found = getattr(thing, name)
        if inspect.ismethod(found):
            call(found)
        elif depth == 0 and type(found).__module__.startswith("miosa.resources"):
            verbs(found, 1)


def test_each_verb_of_a_computer_is_done_or_says_what_to_use_instead(tmp_path):
    # Where an engine is to run computers; there is none here, so this one is simulated.
    config = tmp_path / "workspaced.toml"
    config.write_text(f'[engine]\nsocket = "unix://{tmp_path}/none.sock"\n[images]\nbox = "localhost/box:1"\n')
    with Server(tmp_path, "--dev", "--driver", "docker", "--config", config) as server, server.http("msk_u_dev") as api:
        walked(api)


def walked(api) -> None:
    recorder = Recorder()
    verbs(Computer(recorder, Model.model_validate({"id": "ID", "name": "n", "status": "running"})))
    asked = {(m, p) for m, p in recorder.seen if p.startswith("/computers/ID") and not any(s in p for s in SCREEN)}
    assert len(asked) > 60, asked
    computer = api.post("/computers", json={"name": "walked", "driver": "simulated"}).json()["id"]
    # What deletes it comes last.
    for method, path in sorted(asked, key=lambda verb: (verb == ("DELETE", "/computers/ID"), verb)):
        words = [computer if word == "ID" else ANY if word == "x" else word for word in path.split("/")]
        with api.stream(method, "/".join(words), json=None if method == "GET" else {}) as reply:
            if "event-stream" in reply.headers.get("content-type", ""):
                continue
            reply.read()
        what = f"{method} {path}: {reply.status_code} {reply.text[:300]}"
        assert reply.status_code < 500 and reply.status_code != 405, what
        if reply.status_code >= 400:
            error = reply.json()["error"]
            assert error["code"] and "there is no such route" not in error["message"], what
            if "not part of this server" in error["message"]:
                assert "instead" in error["message"], what
