"""Which cores a measurement stays on."""

import os

from evaluators.latency.pinning import busy_ticks, idlest, pin

STAT = """cpu  10 0 10 100 5 0 0 0 0 0
cpu0 10 1 20 900 50 3 4 7 99 99
cpu1 5 0 5 1000 0 0 0 0 0 0
intr 12345
"""


def test_the_idlest_cores_win_and_later_ones_among_equals():
    before, after = {0: 100, 1: 100, 2: 100, 3: 100}, {0: 150, 1: 110, 2: 101, 3: 110}
    assert idlest([0, 1, 2, 3], before, after, 2) == (2, 3)
    assert idlest([0, 1], before, after, 1) == (1,)
    assert idlest([4, 5], {}, {}, 1) == (5,)


def test_busy_ticks_leave_idle_and_waiting_out(tmp_path):
    (tmp_path / "stat").write_text(STAT)
    assert busy_ticks(tmp_path / "stat") == {0: 10 + 1 + 20 + 3 + 4 + 7, 1: 10}
    assert busy_ticks(tmp_path / "none") == {}


def test_pinning_keeps_to_allowed_cores(monkeypatch):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: chosen.append(cores), raising=False)
    assert pin(3) == ()
    assert set(pin(2)) < {3, 5, 7}
    assert len(chosen) == 1


def test_a_platform_without_affinity_is_left_alone(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert pin(1) == ()
