"""A profile of this machine tested on networks it has never seen, beside simpler predictors; and its speed.

python benchmarks/latency_profile.py PROFILE.json [--minutes 10] [--networks 200] [--sessions 2] [--device cpu]

Makes PROFILE.json if it is not there; measurements of the test networks are kept beside it (PROFILE.tests.jsonl).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from evaluators.device_profile.composition import Ledger
from evaluators.device_profile.jobs import network_job, network_record
from evaluators.device_profile.profile import DeviceProfile, Estimate
from evaluators.device_profile.profile_file import read_profile
from evaluators.device_profile.profiling import ROUNDS, Order, make_profile
from evaluators.device_profile.records import NetworkRecord, Subject, network_times
from evaluators.device_profile.region import Region
from evaluators.latency.conditions import conditions_here
from evaluators.latency.isolated import measure_isolated
from evaluators.latency.measure import LatencySettings
from evaluators.latency.noise import noise_ceiling
from evaluators.prediction.scores import Scores, score

BATCH = 20  # networks in memory at once
WITH_MEMORY = 60  # networks whose peak memory is measured, all in the first session
PHASES = ("inference", "training")
SEED = 2**20  # of the test networks: none that a profile drew
HEADER = "| predictor | within 5 % | within 10 % | RMSPE | Spearman | Kendall |\n|---|" + "---:|" * 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=2, help="in how many each test network is measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runtime", default="eager")
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    if not args.profile.exists():
        conditions = conditions_here(args.device, image_size=224, batch=args.batch, runtime=args.runtime)
        order = Order(region=Region.everything(), conditions=conditions, device=args.device, seconds=60 * args.minutes)
        make_profile(order, args.profile, lambda doing, left_s: print(doing, file=sys.stderr))
    profile = read_profile(args.profile)
    tests = _tests(profile, args.profile.with_suffix(".tests.jsonl"), args)
    for line in _report(profile, tests):
        print(line)


def _tests(profile: DeviceProfile, path: Path, args: argparse.Namespace) -> list[NetworkRecord]:
    """Every network in several sessions, hours or minutes apart; goes on with what is on disk."""
    rng = np.random.default_rng(SEED)
    subjects = [profile.region.draw(rng) for _ in range(args.networks)]
    done = (
        [NetworkRecord.from_json(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    )
    reference = next((s.reference_ms for s in profile.records.sessions if s.reference_ms), None)
    order = [(session, i) for session in range(args.sessions) for i in range(len(subjects))]
    with path.open("a") as file:
        for start in range(len(done), len(order), BATCH):
            chosen = order[start : start + BATCH]
            jobs = [network_job(str(i), subjects[i]) for _, i in chosen]
            measured = measure_isolated(
                jobs, profile.conditions, LatencySettings(rounds=ROUNDS["tests"], warmup=2, seconds=60),
                device=args.device, seed=start, memory=PHASES if start < WITH_MEMORY else (), reference_ms=reference,
            )  # fmt: skip
            for (session, i), found in zip(chosen, measured, strict=True):
                done.append(network_record(subjects[i], "test", found, session))
                file.write(json.dumps(done[-1].to_json()) + "\n")
            file.flush()
            print(f"{len(done)} of {len(order)} measurements", file=sys.stderr)
    return done


def _report(profile: DeviceProfile, tests: list[NetworkRecord]) -> Iterator[str]:
    times = network_times(tests)
    subjects, measured = list(times), np.array(list(times.values()))
    found = _predict(profile, subjects)
    covered = np.mean((found.low <= measured) & (measured <= found.high))
    spent = sum(s.seconds for s in profile.records.sessions)
    units, sessions = len(profile.records.units), len(profile.records.sessions)
    yield f"{profile.conditions.device}, {profile.conditions.runtime}, batch {profile.conditions.batch}: "
    yield f"{units:,} units in {sessions} sessions of {spent:.0f} s together; {len(subjects)} test networks of "
    yield f"{measured.min():.2f} to {measured.max():.0f} ms, measured in {1 + max(n.session for n in tests)} sessions\n"
    yield HEADER
    yield _row("profile", score(found.mean, measured))
    for name, predicted in _baselines(profile, subjects).items():
        yield _row(name, score(predicted, measured))
    by_session: dict[int, dict[str, float]] = {}
    for record in tests:
        by_session.setdefault(record.session, {})[str(subjects.index(record.subject))] = record.ms
    if len(by_session) > 1:
        yield _row("one measurement for the next (noise ceiling)", noise_ceiling(list(by_session.values())).scores)
    yield f"\n{covered:.1%} inside the 90 % interval, median width {np.median(found.high / found.low):.3f} times"
    yield from _memory(profile, [n for n in tests if n.memory])
    yield _speed(profile)


def _memory(profile: DeviceProfile, tests: list[NetworkRecord]) -> Iterator[str]:
    """Peak memory at the profile's batch, predicted and measured."""
    if not tests:
        return
    yield "\n" + HEADER.replace("predictor", "peak memory")
    for phase in PHASES:
        found = [_memory_of(profile, n.subject, phase) for n in tests]
        mean, low, high = np.array(found).T
        measured = np.array([n.memory[phase] for n in tests])
        covered = np.mean((low <= measured) & (measured <= high))
        yield _row(f"{phase}, {len(tests)} networks, {covered:.0%} inside their interval", score(mean, measured))
    yield ""


def _memory_of(profile: DeviceProfile, s: Subject, phase: str) -> tuple[float, float, float]:
    found = profile.memory_mb(
        [s.genotype], image_size=s.image_size, in_chans=s.in_chans, classes=s.classes, phase=phase,
        batch=profile.conditions.batch,
    )  # fmt: skip
    return float(found.mean[0]), float(found.low[0]), float(found.high[0])


def _baselines(profile: DeviceProfile, subjects: list[Subject]) -> dict[str, np.ndarray]:
    """All learn from the networks that the profile measured, but the look-up, which adds up its units."""
    known = network_times(profile.records.networks)
    x, y = _costs(profile, list(known)), np.log(list(known.values()))
    z = _costs(profile, subjects)
    line = np.polyfit(x[:, 1], y, 1)
    usual = np.exp(np.median(y - np.log(profile.sums([s.units() for s in known]).total)))
    forest = RandomForestRegressor(500, random_state=0).fit(x, y)
    return {
        "additive look-up of units times a constant": usual * profile.sums([s.units() for s in subjects]).total,
        "random forest on MACs, activations, parameters": np.exp(forest.predict(z)),
        "MACs alone": np.exp(np.polyval(line, z[:, 1])),
    }


def _costs(profile: DeviceProfile, subjects: list[Subject]) -> np.ndarray:
    """(n, 3) logarithms of parameters, MACs, activations."""
    ledger = Ledger.of([s.units() for s in subjects], profile.unit_model())
    return np.log1p(ledger.costs()[:, :3])


def _predict(profile: DeviceProfile, subjects: list[Subject]) -> Estimate:
    return profile.estimate(subjects, [s.units() for s in subjects])


def _row(name: str, s: Scores) -> str:
    within = f"{100 * s.within_5:.1f} % | {100 * s.within_10:.1f} %"
    return f"| {name} | {within} | {s.rmspe:.1f} % | {s.spearman:.4f} | {s.kendall:.3f} |"


def _speed(profile: DeviceProfile, count: int = 10_000) -> str:
    """Of genotypes that were never looked at: plan, units, features and prediction."""
    rng = np.random.default_rng(0)
    subjects = [profile.region.draw(rng) for _ in range(count)]
    start = time.process_time()
    _predict(profile, subjects)
    return f"{count:,} predictions in {time.process_time() - start:.1f} s of one core"


if __name__ == "__main__":
    main()
