"""Making a profile on made-up devices: they follow a law, die, say nothing, or are stopped; and on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from evaluators.device_profile import profiling
from evaluators.device_profile.accuracy import accuracy_of
from evaluators.device_profile.features import unit_cost
from evaluators.device_profile.profile_file import read_content, read_profile
from evaluators.device_profile.profiling import Order, make_profile
from evaluators.device_profile.records import Subject
from evaluators.device_profile.units import Placed, Unit
from evaluators.latency.conditions import conditions_here
from evaluators.latency.isolated import Measurement
from evaluators.latency.measure import summarise
from evaluators.memory import Memory
from nas.errors import UserError
from nas.genotype import Genotype
from tests.evaluators.device_profile.made_up import DIGITS, HERE, digits, kept_mb, network_ms, profile, unit_ms

ORDER = Order(region=DIGITS, conditions=HERE, device="cpu", seconds=70.0)


@dataclass
class Device:
    """In the place of measure_isolated: a session takes the seconds it was given, and 4 to start.

    dies: session -> how many are measured before it does. interrupted: the session that a user stops.
    """

    unit_ms: Callable[[Unit], float] = unit_ms
    noise: float = 0.01
    dies: dict[int, int] = field(default_factory=dict)
    interrupted: int | None = None
    sessions: list[list[Unit | Subject]] = field(default_factory=list)
    now: float = 0.0

    def __call__(self, jobs, conditions, settings, *, seed, memory, **options):
        rng, number = np.random.default_rng(seed), len(self.sessions)
        self.sessions.append([self.item(job) for job in jobs])
        self.now += settings.seconds + 4
        alive = self.dies.get(number, len(jobs))
        for i, (job, item) in enumerate(zip(jobs, self.sessions[-1], strict=True)):
            latency = summarise([self.ms(item) * float(np.exp(self.noise * rng.normal()))] * 5, conditions, 0)
            yield Measurement(
                name=job.name, latency=latency if i < alive else None, energy=None, notes=(), drift=0.0, disturbed=0.0,
                memory=tuple(self.memory(item, phase) for phase in memory), reference_ms=1.0,
                error=None if i < alive else "the device is gone",
            )  # fmt: skip
        if number == self.interrupted:
            raise KeyboardInterrupt

    def item(self, job) -> Unit | Subject:
        a = job.arguments
        if "unit" in a:
            return Unit.from_json(a["unit"])
        height, width = a["image_size"]
        return Subject(
            genotype=Genotype.from_json(a["genotype"]), image_size=(height, width), in_chans=a["in_chans"],
            classes=a["classes"],
        )  # fmt: skip

    def ms(self, item: Unit | Subject) -> float:
        if isinstance(item, Unit):
            return self.unit_ms(item)
        return 1.1 * sum(p.times * self.unit_ms(p.unit) for p in item.units())

    def memory(self, item: Unit | Subject, phase: str) -> Memory:
        mb = kept_mb(item) if isinstance(item, Unit) else 2.0 + len(item.units())
        return Memory(mb=mb, phase=phase, label="measured", method="made up")


@pytest.fixture
def use(monkeypatch):
    """Put a made-up device in the place of measuring, with a clock of its own and few networks to choose from."""

    def put(device: Device) -> Device:
        monkeypatch.setattr(profiling, "measure_isolated", device)
        monkeypatch.setattr(profiling, "time", SimpleNamespace(monotonic=lambda: device.now, time=lambda: 0.0))
        for name, count in (("POOL", 20), ("FRESH", 16), ("FIRST_UNITS", 40)):
            monkeypatch.setattr(profiling, name, count)
        return device

    return put


def activations_ms(unit: Unit) -> float:
    """A device that memory holds up: it ranks networks otherwise."""
    return 0.05 + unit_cost(unit).activations / 2e5


def rank(estimate: np.ndarray, placed: list[list[Placed]], law) -> float:
    return float(spearmanr(estimate, [sum(p.times * law(p.unit) for p in network) for network in placed]).statistic)


def test_units_and_networks_are_measured_in_turn_until_the_time_is_over(use, tmp_path):
    device = use(Device())
    made = make_profile(ORDER, tmp_path / "x.json")
    kinds = [type(session[0]) for session in device.sessions]
    assert kinds[:5] == [Unit, Subject, Unit, Subject, Unit]
    assert device.now <= ORDER.seconds
    assert len(made.records.sessions) == len(device.sessions)


def test_no_unit_is_measured_twice_and_no_network_is_learnt_and_tested(use, tmp_path):
    device = use(Device())
    records = make_profile(ORDER, tmp_path / "x.json").records
    units = [item for session in device.sessions for item in session if isinstance(item, Unit)]
    assert len(units) == len(set(units))
    assert {n.subject for n in records.learnt()} & {n.subject for n in records.tested()} == set()


def test_what_was_measured_predicts_networks_never_seen(use, tmp_path):
    use(Device())
    made = make_profile(ORDER, tmp_path / "x.json")
    others = [s for s in digits(60, seed=9) if s not in {n.subject for n in made.records.networks}]
    placed = [s.units() for s in others]
    error = made.estimate(others, placed).mean / [network_ms(p) for p in placed] - 1
    assert np.median(np.abs(error)) < 0.05
    assert accuracy_of(made)["scores"]["spearman"] > 0.95
    assert read_content(tmp_path / "x.json")["accuracy"]["networks"] >= 5


def test_the_noise_ceiling_comes_from_networks_measured_again(use, tmp_path):
    use(Device(noise=0.05))
    make_profile(replace(ORDER, seconds=112.0), tmp_path / "x.json")
    ceiling = read_content(tmp_path / "x.json")["accuracy"]["ceiling"]
    assert ceiling["sessions"] >= 2
    assert 3 < ceiling["scores"]["rmspe"] < 14  # 5 % √2


def test_stopped_it_keeps_what_there_is_and_goes_on(use, tmp_path):
    use(Device(interrupted=1))
    with pytest.raises(KeyboardInterrupt):
        make_profile(ORDER, tmp_path / "x.json")
    before = read_profile(tmp_path / "x.json").records
    after = make_profile(replace(ORDER, seconds=30.0), tmp_path / "x.json") if use(Device()) else None
    assert len(before.sessions) == 2
    assert before.networks
    assert after.records.units[: len(before.units)] == before.units
    assert len(after.records.sessions) > 2


def test_stopped_in_the_first_session_nothing_is_lost(use, tmp_path):
    use(Device(interrupted=0, dies={0: 9}))
    with pytest.raises(KeyboardInterrupt):
        make_profile(ORDER, tmp_path / "x.json")
    found = read_profile(tmp_path / "x.json").records
    assert len(found.units) == 9
    assert found.failed == {}


def test_a_device_that_dies_in_the_middle_is_asked_again(use, tmp_path):
    device = use(Device(dies={1: 2, 2: 0}))
    records = make_profile(ORDER, tmp_path / "x.json").records
    assert [sum(n.session == 1 for n in records.networks), sum(u.session == 2 for u in records.units)] == [2, 0]
    assert len(device.sessions) >= 4
    assert set(records.failed.values()) == {"the device is gone"}


def test_a_device_that_gives_nothing_twice_is_one_line_and_costs_nothing(use, tmp_path):
    use(Device(dies={2: 0, 3: 0}))
    with pytest.raises(UserError, match=r"x\.json: the device gave nothing in two sessions \(the device is gone\)"):
        make_profile(ORDER, tmp_path / "x.json")
    assert len(read_profile(tmp_path / "x.json").records.units) == 40


def test_a_device_that_never_answers_leaves_no_file(use, tmp_path):
    use(Device(dies=dict.fromkeys(range(9), 0)))
    with pytest.raises(UserError, match="the device gave nothing"):
        make_profile(ORDER, tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conditions": replace(HERE, threads=2)}, "threads: asked for 2, found 1"),
        ({"region": replace(DIGITS, classes=(100,))}, "made for other spaces"),
        ({"origin": profile}, "does not adapt another profile"),
    ],
)
def test_another_order_does_not_go_on_with_the_file(use, tmp_path, change, words):
    use(Device())
    make_profile(replace(ORDER, seconds=30.0), tmp_path / "x.json")
    before = (tmp_path / "x.json").read_text()
    made = {name: value() if callable(value) else value for name, value in change.items()}
    with pytest.raises(UserError, match=words):
        make_profile(replace(ORDER, **made), tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == before


def test_adapting_ranks_networks_better_than_the_profile_it_adapts(use, tmp_path):
    device = use(Device(unit_ms=activations_ms))
    order = replace(ORDER, conditions=replace(HERE, device="phone"), origin=profile(), samples=12)
    adapted = make_profile(order, tmp_path / "phone.json")
    others = list(digits(80, seed=5))
    placed = [s.units() for s in others]
    before, after = (rank(p.estimate(others, placed).mean, placed, activations_ms) for p in (profile(), adapted))
    assert [len(session) for session in device.sessions] == [12, 16, 16]
    assert before < 0.98
    assert 1 - after < 0.7 * (1 - before)
    assert read_profile(tmp_path / "phone.json").origin is not None


def test_a_real_profile_of_a_minute_fraction(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "FIRST_UNITS", 12)
    monkeypatch.setattr(profiling, "FIRST_NETWORKS", 3)
    monkeypatch.setattr(profiling, "CYCLE", ("units", "networks"))
    for name, count in (("POOL", 20), ("FRESH", 4), ("SHORTEST_S", 5.0)):
        monkeypatch.setattr(profiling, name, count)
    here = conditions_here("cpu", image_size=8, in_chans=1)
    said: list[str] = []
    made = make_profile(
        replace(ORDER, conditions=here, seconds=13.0), tmp_path / "x.json", lambda doing, left_s: said.append(doing)
    )
    assert all(0 < u.low <= u.ms <= u.high for u in made.records.units)
    assert all(u.kept_mb is not None for u in made.records.units)
    assert "session 1: measuring 12 units" in said
    assert (made.latency([digits(1)[0].genotype], image_size=8, in_chans=1, classes=10).mean > 0).all()
