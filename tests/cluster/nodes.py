"""Ray nodes in network namespaces of their own on this machine, each with its address, cut off or killed at will."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

BIN = Path(sys.executable).parent
STORE = "80000000"
# A token as Ray asks for it; nothing killed for what others take of the memory; a node that does
# not answer counts as dead after seconds instead of half a minute.
RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
}
STARTING = 200.0


def why_not() -> str:
    """Why there can be no namespaces here; "" where they can be."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (iproute2)"
    probe = f"darumeru-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""


class Nodes:
    """A head without cores, where commands run, and `count` nodes of one core. A context manager."""

    def __init__(self, count: int, environment: dict[str, str] | None = None) -> None:
        self.tag = f"dr{os.getpid()}"
        self.folder = Path(tempfile.mkdtemp(prefix="dr-"))
        self.environment = {**os.environ, **RAY, **(environment or {})}
        self.address = f"{self._ip(0)}:6399"
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Nodes:
        try:
            for number in range(self._count + 1):
                self._namespace(number)
            head = ["--head", "--port=6399", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder}"]
            self._start(0, head)
            for number in range(1, self._count + 1):
                self.join(number)
            self.wait_for(self._count + 1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in range(self._count, -1, -1):
            self.kill(number)
            subprocess.run(["ip", "netns", "del", self._name(number)], check=False, capture_output=True)
        for process in self._processes:
            process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def join(self, number: int) -> None:
        """Start Ray on a node."""
        self._start(number, [f"--address={self.address}", "--num-cpus=1"])

    def cut_off(self, number: int) -> None:
        """Pull the node's cable; its processes go on."""
        self._ip_command("-n", self._name(number), "link", "set", "eth0", "down")

    def kill(self, number: int) -> None:
        """End every process of a node at once."""
        listed = subprocess.run(["ip", "netns", "pids", self._name(number)], capture_output=True, text=True).stdout
        for pid in listed.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def command(self, *words: str | Path) -> list[str]:
        """A command line that runs on the head."""
        return ["ip", "netns", "exec", self._name(0), *map(str, words)]

    def wait_for(self, alive: int, seconds: float = STARTING) -> None:
        """Wait until so many nodes are alive, the head among them."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            words = self.command(sys.executable, "-c", _COUNT, self.address)
            said = subprocess.run(words, env=self.environment, capture_output=True, text=True)
            if said.returncode == 0 and int(said.stdout) == alive:
                return
            time.sleep(0.3)
        log = next(iter(self.folder.glob("session_2*/logs/gcs_server.out")), None)
        about = log.read_text()[-2000:] if log else ""
        raise TimeoutError(
            f"there are not {alive} nodes after {seconds:.0f} s: {said.stdout}{said.stderr[-500:]}{about}"
        )

    def _start(self, number: int, words: Sequence[str]) -> None:
        """One after the other: nodes that share a session's folder take each other's files at the same moment."""
        command = [
            "ip", "netns", "exec", self._name(number), str(BIN / "ray"), "start", "--block",
            f"--node-ip-address={self._ip(number)}", f"--object-store-memory={STORE}", "--disable-usage-stats", *words,
        ]  # fmt: skip
        path = self.folder / f"start-{number}.log"
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            with path.open("wb") as log:
                process = subprocess.Popen(
                    command, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
            self._processes.append(process)
            # Ray gives up after half a minute, which a busy machine may need.
            while process.poll() is None and time.monotonic() < deadline:
                if "Ray runtime started" in path.read_text():
                    return
                time.sleep(0.1)
            self.kill(number)
        raise TimeoutError(f"Ray has not started on node {number}:\n{path.read_text()[-2000:]}")

    def _namespace(self, number: int) -> None:
        """The head's namespace holds the switch; each node is one cable away."""
        name, cable = self._name(number), f"cable{number}"
        self._ip_command("netns", "add", name)
        self._ip_command("-n", name, "link", "set", "lo", "up")
        if number == 0:
            port = "switch"
            self._ip_command("-n", name, "link", "add", port, "type", "bridge")
        else:
            port, head = "eth0", self._name(0)
            self._ip_command("-n", head, "link", "add", cable, "type", "veth", "peer", "name", port, "netns", name)
            self._ip_command("-n", head, "link", "set", cable, "master", "switch", "up")
        self._ip_command("-n", name, "addr", "add", f"{self._ip(number)}/24", "dev", port)
        self._ip_command("-n", name, "link", "set", port, "up")
        self._ip_command("-n", name, "route", "add", "default", "dev", port)

    @staticmethod
    def _ip_command(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def _name(self, number: int) -> str:
        return f"{self.tag}-{number}"

    @staticmethod
    def _ip(number: int) -> str:
        return f"10.77.0.{number + 1}"


_COUNT = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))
"""
