"""Real container engines for a test: Docker and Podman from Debian's packages, each with a socket, data and
processes of its own in a temporary directory, started here and ended by id; and an image made on the spot."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

IMAGE = "localhost/workspaced-test/busybox:1"


def eventually(check, what: str, patience: float = 30.0, pause: float = 0.05):
    """The first truthy answer of `check`."""
    deadline = time.monotonic() + patience
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(pause)


def busybox(directory: Path) -> Path:
    """A root file system of one static program under all its names, as a tar file."""
    root = directory / "rootfs"
    for name in ("bin", "tmp", "home", "root", "etc", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    program = shutil.which("busybox")
    assert program, "busybox is missing: apt-get install busybox-static"
    shutil.copy(program, root / "bin/busybox")
    for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    file = directory / "busybox.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(root, ".")
    return file


def children(pid: int) -> list[int]:
    """Processes below one, the nearest first."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop(0)
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                below = [int(child) for child in task.read_text().split()]
            except OSError:
                continue
            found += below
            waiting += below
    return found


class Engine:
    """What both have in common."""

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "engine.sock"
        self.process: subprocess.Popen | None = None
        self.log = directory / "engine.log"

    def _spawn(self, command: list[object], **extra: str) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                env=os.environ | extra,
                # Podman leaves a file where it is started.
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.answers, f"{self.name} at {self.socket}; see {self.log}")

    def answers(self) -> bool:
        assert self.process and self.process.poll() is None, f"{self.name} ended: {self.log.read_text()[-2000:]}"
        try:
            return self.request("GET", "/_ping", raw=True) is not None
        except OSError:
            return False

    def request(self, method: str, path: str, raw: bool = False):
        """One call of the engine's API, by hand."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.socket))
            s.sendall(f"{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n".encode())
            reply = b""
            while piece := s.recv(65536):
                reply += piece
        head, _, body = reply.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if raw:
            return body
        return status, (json.loads(body) if body.strip() else None)

    def containers(self) -> list[dict]:
        status, found = self.request("GET", "/v1.41/containers/json?all=1")
        assert status == 200, found
        return found

    def inspect(self, name: str) -> dict | None:
        status, found = self.request("GET", f"/v1.41/containers/{name}/json")
        return found if status == 200 else None

    def kill(self) -> None:
        """Ends the daemon as a crash would; what it runs is left as it is."""
        assert self.process
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Engine:
        try:
            self.start()
        except BaseException:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for container in self.containers():
                self.request("DELETE", f"/v1.41/containers/{container['Id']}?force=1&v=1")
            self.end()
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def start(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(30)


def unmount(directory: Path) -> None:
    """What a daemon leaves mounted below its directory."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if Path(m).is_relative_to(directory.resolve())), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True)


class Docker(Engine):
    name = "docker"

    def start(self) -> None:
        # Left by one that was killed: its number may be that of a zombie, or of a stranger.
        for file in (self.directory / "exec").glob("containerd/containerd.pid"):
            try:
                state = Path(f"/proc/{file.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                state = "X"
            if state in "ZX":
                file.unlink()
        (self.directory / "docker.pid").unlink(missing_ok=True)
        config = self.directory / "daemon.json"
        config.write_text(json.dumps({"live-restore": True}))
        pools = f"base=10.{(os.getpid() >> 4) % 64 + 128}.0.0/16,size=24"
        # No bridge of its own: computers have networks of theirs.
        self._spawn(
            [
                "dockerd", "--config-file", config, "-H", f"unix://{self.socket}",
                "--data-root", self.directory / "data", "--exec-root", self.directory / "exec",
                "-p", self.directory / "docker.pid", "--bridge", "none", "--default-address-pool", pools,
            ]
        )  # fmt: skip

    def load(self, image: Path) -> None:
        environment = os.environ | {"DOCKER_HOST": f"unix://{self.socket}"}
        subprocess.run(["docker", "import", image, IMAGE], env=environment, check=True, capture_output=True)

    def end(self) -> None:
        assert self.process
        for network in self.request("GET", "/v1.41/networks")[1]:
            if network["Name"].startswith("ws-net-"):
                self.request("DELETE", f"/v1.41/networks/{network['Id']}")
        below = children(self.process.pid)
        super().end()
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        unmount(self.directory)


class Podman(Engine):
    name = "podman"

    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }

    def start(self) -> None:
        net = ipaddress.ip_network(f"10.{(os.getpid() >> 4) % 64 + 192}.0.0/16")
        (self.directory / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'tmp_dir = "{self.directory}/tmp"\n'
            f'[network]\nnetwork_config_dir = "{self.directory}/networks"\ndefault_subnet = "{next(net.subnets(new_prefix=24))}"\n'
            f'default_subnet_pools = [{{"base" = "{net}", "size" = 24}}]\n'
        )
        (self.directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\nrunroot = "{self.directory}/run"\ngraphroot = "{self.directory}/data"\n'
        )
        self._spawn(["podman", "system", "service", "--time=0", f"unix://{self.socket}"], **self._environment())

    def load(self, image: Path) -> None:
        environment = os.environ | self._environment()
        subprocess.run(["podman", "import", image, IMAGE], env=environment, check=True, capture_output=True)

    def end(self) -> None:
        for network in self.request("GET", "/v1.41/networks")[1]:
            if network["Name"].startswith("ws-net-"):
                self.request("DELETE", f"/v1.41/networks/{network['Id']}")
        super().end()
        unmount(self.directory)


ENGINES = {"docker": Docker, "podman": Podman}
