"""The desktop image on a real engine, by hand: built from Debian's packages, worked in through the official client,
looked at in a browser. Pictures are left in the directory of --shots, to be looked at."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from engines import Engine, eventually
from miosa import Miosa
from workspaced import BINARY, Server, environment

HERE = Path(__file__).resolve().parent
KEY = "msk_u_dev"


def build(engine: Engine, image: str) -> None:
    socket = f"unix://{engine.socket}"
    command = [BINARY, "images", "build", image, "--engine-socket", socket]
    built = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1800)
    assert built.returncode == 0, built.stderr
    print("  " + built.stdout.strip().replace("\n", "\n  "), flush=True)
    listed = subprocess.run(
        [BINARY, "images", "ls", "--engine-socket", socket], env=environment(), capture_output=True, text=True
    )
    row = re.search(rf"^localhost/workspaced/{image}:1 +(\d+) MB", listed.stdout, re.M)
    assert row, listed.stdout + listed.stderr
    print(f"  {image}: {row[1]} MB", flush=True)


def imported(engine: Engine, home: Path, tar: Path) -> None:
    """An image out of a file system, with what it says of itself; a stand-in hands out the file system."""
    stand_in = home / "bin/mmdebstrap"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(f"#!/bin/sh\nexec cat {tar}\n")
    stand_in.chmod(0o755)
    tag = "localhost/workspaced-test/built:7"
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    command = [BINARY, "images", "build", "desktop", "--tag", tag, "--engine-socket", f"unix://{engine.socket}"]
    built = subprocess.run(command, env=environment(PATH=path), capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    status, found = engine.request("GET", f"/v1.41/images/{tag}/json")
    assert status == 200, found
    config = found["Config"]
    assert config["User"] == "1000" and config["Cmd"] == ["/usr/local/bin/workspaced-session"], config
    assert {"DISPLAY=:1", "LANG=C.UTF-8"} <= set(config["Env"]), config
    # One that breaks off leaves nothing.
    stand_in.write_text("#!/bin/sh\necho the mirror is gone >&2\nexit 1\n")
    built = subprocess.run(command, env=environment(PATH=path), capture_output=True, text=True, timeout=60)
    assert built.returncode == 1 and "the mirror is gone" in built.stderr, built


def desktop(engine: Engine, home: Path, shots: Path) -> None:
    shots.mkdir(parents=True, exist_ok=True)
    for image in ("base", "desktop"):
        build(engine, image)
    home.mkdir()
    file = home / "config.toml"
    file.write_text(
        f'[engine]\nsocket = "unix://{engine.socket}"\nnetwork = "none"\n'
        '[images]\nmiosa-desktop = "localhost/workspaced/desktop:1"\n'
    )
    flags = ("--dev", "--driver", "docker", "--config", file, "--log", "warn")
    with Server(home, *flags) as server, server.http(KEY) as http:
        body = {"name": "desk", "size": "medium"}
        eventually(lambda: http.post("/computers", json=body).status_code == 201, "a computer to be taken", pause=0.5)
        computer = Miosa(api_key=KEY, base_url=f"{server.url}/api/v1").computers.list()[0]
        eventually(lambda: http.get(f"/computers/{computer.id}").json()["status"] == "running", "the computer")
        began = time.monotonic()
        embed = computer.wait_for_desktop(timeout=30, poll_interval=0.1)
        print(f"  the screen is there {time.monotonic() - began:.2f} s after the computer runs", flush=True)
        assert embed["url"].startswith("http://") and embed["mode"] == "control", embed
        used(computer, shots)
        again(http, computer)
        looked(server, str(computer.id), computer, shots)


def picture(computer, path: Path) -> bytes:
    began = time.monotonic()
    png = computer.screenshot()
    assert png.startswith(b"\x89PNG"), png[:20]
    path.write_bytes(png)
    print(f"  {path}: {len(png)} bytes in {time.monotonic() - began:.2f} s", flush=True)
    return png


def used(computer, shots: Path) -> None:
    """What the client does with a screen."""
    size = computer.screen_size()
    assert (size.width, size.height) == (1280, 800), size
    assert computer.get_desktop_env().session_type == "x11"
    empty = picture(computer, shots / "1-empty.png")
    assert computer.launch("terminal").success
    window = eventually(lambda: next(iter(computer.windows()), None), "a window")
    assert "xterm" in window.app.lower() and window.width > 100, window
    assert computer.focus_window(window.id).success
    assert computer.click(window.x + 60, window.y + 60).success
    began = time.monotonic()
    assert computer.type("echo 'typed: grüße $HOME' | tee /tmp/typed").success
    print(f"  typing 40 characters takes {time.monotonic() - began:.2f} s", flush=True)
    computer.key("Enter")
    eventually(lambda: "typed: grüße $HOME" in computer.bash("cat /tmp/typed").output, "what was typed")
    time.sleep(0.5)
    assert picture(computer, shots / "2-typed.png") != empty
    # By its title, with held keys, by the wheel.
    computer.act("left_click_drag", {"start_coordinate": [window.x + 200, window.y - 10], "coordinate": [600, 300]})
    eventually(lambda: computer.windows()[0].x > window.x + 50, "the window to be moved by its title")
    computer.set_window_size(window.id, 700, 400)
    eventually(lambda: computer.get_window_size(window.id).width > 600, "the window to be larger")
    computer.set_window_position(window.id, 100, 100)
    computer.hotkey("ctrl", "l")
    computer.scroll("up", 2, x=300, y=300)
    assert computer.move_cursor(11, 12).success and computer.cursor().x == 11
    computer.set_clipboard("aus der Zwischenablage: ß")
    assert computer.get_clipboard() == "aus der Zwischenablage: ß"
    region = computer.screenshot_region(0, 0, 200, 100)
    assert region.startswith(b"\x89PNG") and int.from_bytes(region[16:20], "big") == 200
    look = computer.look()
    assert look.width == 1280 and "xterm" in str(look.tree).lower(), look.tree
    computer.maximize_window(window.id)
    eventually(lambda: computer.get_window_size(window.id).width > 1200, "the window to fill the screen")
    computer.minimize_window(window.id)
    computer.focus_window(window.id)
    picture(computer, shots / "3-worked.png")
    computer.close_window(window.id)
    eventually(lambda: not computer.windows(), "no window")
    who = computer.bash("id -u; ss -ltn 2>/dev/null | tail -n +2; grep CapEff /proc/self/status").output
    print(f"  as user, what listens, capabilities: {who.split()}", flush=True)


def again(http, computer) -> None:
    """A restart finds no leftovers in its way."""
    computer.stop()
    eventually(lambda: http.get(f"/computers/{computer.id}").json()["status"] == "stopped", "it to stop")
    reply = http.get(f"/computers/{computer.id}/desktop/screenshot")
    assert reply.status_code == 409 and reply.json()["error"]["code"] == "TARGET_NOT_RUNNING", reply.text
    computer.start()
    eventually(lambda: http.get(f"/computers/{computer.id}").json()["status"] == "running", "it to start")
    computer.wait_for_desktop(timeout=30, poll_interval=0.1)


def looked(server: Server, id: str, computer, shots: Path) -> None:
    """The admin page and a link, in a browser: what is typed there arrives."""
    computer.launch("terminal")
    eventually(lambda: computer.windows(), "a window")
    computer.click(computer.windows()[0].x + 50, computer.windows()[0].y + 50)
    view = computer.viewer_url(view_only=True, ttl_seconds=600)
    assert view.view_only is True, view
    # The service does not know which port it was given.
    link = str(view.url).replace("http://127.0.0.1:0", server.url)
    script = [os.environ.get("NODE", "node"), HERE / "look.mjs", server.url, id, link, shots]
    ran = subprocess.run(list(map(str, script)), capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    print("  " + ran.stdout.strip().replace("\n", "\n  "), flush=True)
    eventually(lambda: "by the page" in computer.bash("cat /tmp/page").output, "what was typed in the page")
    assert "by the link" not in computer.bash("cat /tmp/link 2>/dev/null").output
