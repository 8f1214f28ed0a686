"""The lease between real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluators.latency.lease import DeviceLease

HOLD = """
import sys, time
from pathlib import Path
from evaluators.latency.lease import DeviceLease
lease = DeviceLease(Path(sys.argv[1]))
with getattr(lease, sys.argv[2])():
    print("held", flush=True)
    time.sleep(60)
"""
TURNS = """
import sys, time
from pathlib import Path
from evaluators.latency.lease import DeviceLease
lease, log = DeviceLease(Path(sys.argv[1])), open(sys.argv[2], "a", buffering=1)
print("held", flush=True)
while True:
    with lease.shared():
        log.write(f"in {time.monotonic()}\\n")
        time.sleep(0.01)
        log.write(f"out {time.monotonic()}\\n")
"""


@pytest.fixture
def start():
    """Run a script in another process; all are killed in the end."""
    running = []

    def run(script: str, *args: object) -> subprocess.Popen:
        command = [sys.executable, "-c", script, *map(str, args)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]))
        assert running[-1].stdout.readline() == b"held\n"
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def entered_within(seconds: float, path: Path, kind: str) -> bool:
    """Whether another process gets the lease in time."""
    child = os.fork()
    if child == 0:
        with getattr(DeviceLease(path), kind)():
            os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.parametrize(
    ("holder", "other", "enters"),
    [
        ("shared", "shared", True),
        ("shared", "exclusive", False),
        ("exclusive", "shared", False),
        ("exclusive", "exclusive", False),
    ],
)
def test_who_may_enter_beside_whom(holder, other, enters, start, tmp_path):
    start(HOLD, tmp_path / "gpu", holder)
    assert entered_within(5 if enters else 0.2, tmp_path / "gpu", other) == enters


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_killed_holder_frees_the_lease(kind, start, tmp_path):
    holder = start(HOLD, tmp_path / "gpu", kind)
    assert not entered_within(0.2, tmp_path / "gpu", "exclusive")
    holder.kill()
    assert entered_within(5, tmp_path / "gpu", "exclusive")


def test_a_measurement_is_alone_and_not_starved_by_many_short_steps(start, tmp_path):
    log = tmp_path / "log"
    for _ in range(3):
        start(TURNS, tmp_path / "gpu", log)
    asked = time.monotonic()
    with DeviceLease(tmp_path / "gpu").exclusive():
        alone_from = time.monotonic()
        time.sleep(0.2)
        alone_to = time.monotonic()
    time.sleep(0.1)
    times = [float(line.split()[1]) for line in log.read_text().splitlines()[:-3]]
    assert alone_from - asked < 2
    assert not any(alone_from < t < alone_to for t in times)
    assert max(times) > alone_to


def test_a_lease_makes_its_folder(tmp_path):
    with DeviceLease(tmp_path / "new" / "cpu").exclusive():
        assert (tmp_path / "new").is_dir()
