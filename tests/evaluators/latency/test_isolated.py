"""The measuring process: what it gives, and what is left when it dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluators.latency.conditions import conditions_here
from evaluators.latency.isolated import MeasureJob, Progress, measure_isolated
from evaluators.latency.rounds import LatencySettings
from evaluators.latency.session import Session
from nas.errors import UserError

NETWORKS = """
import os, signal, sys, time
import torch
from torch import nn

def linear(width): return nn.Sequential(nn.Flatten(), nn.Linear(48, width))
def broken(): raise RuntimeError("no such layer")
def noisy(): print("a library talks"); return linear(2)

class Deadly(nn.Module):
    def __init__(self, calls, how):
        super().__init__()
        self.layer, self.calls, self.how = linear(2), calls, how
    def forward(self, x):
        self.calls -= 1
        time.sleep(0.01)
        if self.calls < 0:
            if self.how == "killed": os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "exit": sys.stderr.write("the driver is gone"); sys.stderr.flush(); os._exit(3)
            if self.how == "raise": raise torch.AcceleratorError("device lost")
        return self.layer(x)
"""
SETTINGS = LatencySettings(rounds=8, seconds=20, warmup=2)


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Measure networks of the module above: a list of (function, arguments)."""
    (tmp_path / "made_up_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*networks: tuple[str, dict], settings: LatencySettings = SETTINGS, **options):
        jobs = [
            MeasureJob(name=f"{make}{i}", make=f"made_up_networks:{make}", arguments=arguments)
            for i, (make, arguments) in enumerate(networks)
        ]
        return list(measure_isolated(jobs, conditions_here("cpu", image_size=4), settings, **options))

    return run


def test_networks_are_measured_in_a_fresh_process(measure):
    seen = list[Progress]()
    networks = ("linear", {"width": 2}), ("linear", {"width": 50}), ("noisy", {})
    small, large, talks = measure(*networks, report=seen.append)
    assert [m.error for m in (small, large, talks)] == [None] * 3
    assert 0 < small.latency.low <= small.latency.ms <= small.latency.high
    assert small.latency.rounds >= 3
    assert {m.phase: m.label for m in small.memory} == {"inference": "measured", "training": "measured"}
    assert large.memory[0].mb - small.memory[0].mb == pytest.approx(48 * (49 + 1) * 4 / 1e6, rel=0.05)
    assert small.energy.label in ("measured", "estimated")
    assert {"building linear0", "measuring"} <= {p.doing for p in seen}


def test_one_broken_network_costs_the_others_nothing(measure):
    good, bad = measure(("linear", {"width": 2}), ("broken", {}), memory=())
    assert good.latency is not None
    assert (bad.latency, bad.error) == (None, "RuntimeError: no such layer")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("killed", "ended by SIGKILL: the system may have run out of memory (while measuring)"),
        ("exit", "ended with status 3: the driver is gone (while measuring)"),
        ("raise", "AcceleratorError: device lost (while measuring)"),
    ],
)
def test_a_dying_process_leaves_what_it_measured(how, words, measure):
    dying, other = measure(
        ("Deadly", {"calls": 100, "how": how}), ("linear", {"width": 2}), settings=LatencySettings(rounds=400)
    )
    assert dying.latency.rounds >= 3
    assert other.latency.rounds >= 3
    assert words in other.notes[-1]
    assert other.memory == ()


def test_a_process_that_dies_at_once_gives_one_error_for_each_network(measure):
    died, other = measure(("Deadly", {"calls": 0, "how": "exit"}), ("linear", {"width": 2}))
    assert died.error == other.error
    assert "status 3: the driver is gone (while building Deadly0)" in died.error
    assert died.latency is None


def test_interrupting_keeps_what_was_measured(measure):
    def interrupt(progress: Progress) -> None:
        if progress.doing.startswith("measuring the memory"):
            raise KeyboardInterrupt

    found = []
    measurements = measure_isolated(
        [MeasureJob(name="a", make="made_up_networks:linear", arguments={"width": 2})],
        conditions_here("cpu", image_size=4), SETTINGS, report=interrupt,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        found.extend(measurements)
    assert found[0].latency is not None
    assert found[0].notes[-1].startswith("stopped before the end")


def test_the_child_dies_with_its_parent(measure, tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from evaluators.latency.conditions import conditions_here
from evaluators.latency.isolated import MeasureJob, LatencySettings, measure_isolated
job = MeasureJob(name="a", make="made_up_networks:linear", arguments={{"width": 2}})
settings = LatencySettings(rounds=10**9, seconds=600)
here = conditions_here("cpu", image_size=4)
list(measure_isolated([job], here, settings, report=lambda p: print(p.doing, flush=True)))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert any(line == "measuring\n" for line in parent.stdout)
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert ended_within(10, child)


def ended_within(seconds: float, pid: int) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_another_device_than_asked_is_refused():
    here = conditions_here("cpu", image_size=4)
    session = Session([], here, SETTINGS)
    found = here.to_json() | {"device": "Another", "threads": 2}
    with pytest.raises(UserError, match=r"other conditions: device: asked for .*, found Another; threads: asked for 1"):
        session.take({"event": "ready", "conditions": found, "cores": []})


def test_time_left_follows_the_pace_and_the_limit():
    now = [0.0]
    job = MeasureJob(name="a", arguments={})
    settings = LatencySettings(rounds=100, seconds=30)
    session = Session([job], conditions_here("cpu", image_size=4), settings, clock=lambda: now[0])
    assert session.progress().left_s is None
    session.take({"event": "doing", "what": "measuring", "name": None})
    now[0] = 5.0
    session.take({"event": "readings", "rows": json.loads(json.dumps([["a", 0.1, 1.0, 1.0]] * 25))})
    assert session.progress().left_s == pytest.approx(15)
    now[0] = 25.0
    assert session.progress().left_s == pytest.approx(5)


def test_two_networks_of_one_name_are_refused(measure):
    jobs = [MeasureJob(name="a", arguments={})] * 2
    with pytest.raises(ValueError, match="different names"):
        measure_isolated(jobs, conditions_here("cpu", image_size=4), SETTINGS)
