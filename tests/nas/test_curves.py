"""Extrapolation of stopped trials, on curves whose end is known."""

from dataclasses import replace

import numpy as np
import pytest

from nas.genotype import Atom, Genotype, Stage
from nas.samplers.curves import extrapolated, stopped
from nas.trial import Point, Trial

ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))


def trained(number, early, final, state="complete"):
    """Reached `early` at epoch 5 and, if complete, `final` at epoch 10."""
    points = [(5, early), (10, final)] if state == "complete" else [(5, early)]
    curve = tuple(Point(epoch=e, loss=1.0, accuracy=a, seconds=1.0) for e, a in points)
    return Trial(
        number=number, kind="search", name="", state=state, genotype=ANY, hash=str(number), code={}, curve=curve,
        values={"accuracy": final} if state == "complete" else {},
    )  # fmt: skip


def test_a_common_gain_is_expected_of_a_stopped_trial():
    complete = [trained(i, 0.3 + 0.1 * i, 0.4 + 0.1 * i) for i in range(4)]
    expected, deviation = extrapolated(trained(9, 0.35, None, "stopped"), complete)
    assert expected == pytest.approx(0.45)
    assert deviation == pytest.approx(0.0, abs=1e-9)


def test_a_law_in_many_curves_is_found():
    early = np.linspace(0.2, 0.8, 40)
    complete = [trained(i, a, 0.5 + 0.5 * a) for i, a in enumerate(early)]
    assert extrapolated(trained(99, 0.4, None, "stopped"), complete)[0] == pytest.approx(0.7, abs=0.01)


def test_the_end_lies_in_its_interval_nine_times_in_ten():
    rng, inside = np.random.default_rng(0), []
    for _ in range(300):
        early = rng.uniform(0.3, 0.7, 12)
        final = 0.2 + 0.8 * early + 0.03 * rng.normal(size=12)
        complete = [trained(i, a, f) for i, (a, f) in enumerate(zip(early[1:], final[1:], strict=True))]
        expected, deviation = extrapolated(trained(99, early[0], None, "stopped"), complete)
        inside.append(abs(expected - final[0]) < 1.645 * deviation)
    assert 0.82 < np.mean(inside) < 0.96


def test_one_complete_curve_tells_too_little():
    assert extrapolated(trained(9, 0.3, None, "stopped"), [trained(0, 0.3, 0.5)]) is None


def test_failures_and_trials_that_never_trained_were_not_stopped():
    early = trained(1, 0.3, None, "stopped")
    never = replace(early, curve=())
    assert stopped([early, never, replace(early, state="failed"), trained(2, 0.3, 0.4)]) == [early]
