"""What is known before training: predictions beside exact counts, profiles refused or made, memory that is short."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from free_worker import FreeWorker

from evaluators.cost import cost_metrics, least_training_mb
from evaluators.free_memory import free_mb
from evaluators.latency.conditions import conditions_here
from nas.errors import UserError
from nas.known_costs import KnownCosts
from nas.profiles import read_profiles
from nas.session import prepare, search
from search_spaces.vit import make_space

SHAPE = {"image_size": 8, "in_chans": 1, "classes": 10}  # of the digits
HERE = conditions_here("cpu", image_size=8, in_chans=1)
SPACE = make_space("vit_small", **SHAPE)


def networks(count, seed=0):
    rng = np.random.default_rng(seed)
    return [SPACE.decode(SPACE.sample(rng)) for _ in range(count)]


@pytest.fixture
def predicted(make_campaign, fake_profiles, tmp_path):
    """A campaign whose latency a profile predicts; keywords go into the profile's file."""

    def make(trials=6, source=None, limit=None, **facts):
        file = fake_profiles(tmp_path / "cpu.json", **facts)
        entry = {"source": "profile", "file": str(file), **(source or {})}
        limits = {"constraints": {"latency_ms": limit}} if limit else {}
        objectives = {"accuracy": "maximize", "latency_ms": "minimize"}
        return make_campaign(trials, objectives=objectives, sources={"latency_ms": entry}, **limits)

    return make


def test_predictions_stand_beside_exact_counts_and_are_asked_once(predicted):
    profiles = read_profiles(predicted(largest=0.002), HERE)
    costs, found = KnownCosts(SHAPE, profiles.by_metric), networks(30)
    known = costs.many(found)
    exact = [cost_metrics(g, **SHAPE) for g in found]
    assert [k.values["macs_g"] for k in known] == [e["macs_g"] for e in exact]
    assert [k.values["latency_ms"] for k in known] == pytest.approx([100 * e["macs_g"] for e in exact])
    assert [bool(k.notes) for k in known] == [e["macs_g"] > 0.002 for e in exact]
    assert costs.of(found[3]) is known[3]
    assert profiles.by_metric["latency_ms"].calls == [30]


def test_a_prediction_is_the_same_whoever_is_asked_about_beside_it(predicted, monkeypatch):
    """As with a sum of many numbers, the last bits of a prediction depend on how many are made at once."""
    profile = read_profiles(predicted(), HERE).by_metric["latency_ms"]
    estimate = type(profile)._estimate
    monkeypatch.setattr(profile, "_estimate", lambda mean, outside: estimate(
        profile, mean * (1 + 4e-16 * len(mean)), outside
    ))  # fmt: skip
    found = networks(20)
    assert (profile.latency(found, **SHAPE).mean != [profile.latency([n], **SHAPE).mean[0] for n in found]).any()
    together = KnownCosts(SHAPE, {"latency_ms": profile}).many(found)
    assert together == [KnownCosts(SHAPE, {"latency_ms": profile}).of(n) for n in found]


def test_a_limit_on_a_predicted_cost_holds_before_anything_runs(predicted, fake_sessions, tmp_path):
    run = search(predicted(8, limit="<= 0.1"), runs=tmp_path, quiet=True, make_worker=FreeWorker)
    assert len(run.searched()) == 8
    assert all(t.predicted["latency_ms"][0] <= 0.1 for t in run.searched())
    assert {r.detail for r in run.rejections if r.reason == "constraint"} == {"latency_ms"}


def test_a_profile_that_predicts_no_number_is_named(predicted):
    profiles = read_profiles(predicted(slope=math.nan), HERE)
    with pytest.raises(UserError, match=r"^sources.latency_ms: profile cpu predicts nan; make it again"):
        KnownCosts(SHAPE, profiles.by_metric).many(networks(3))


def test_what_nothing_can_satisfy_by_the_profile_is_said_at_once(predicted):
    with pytest.raises(UserError, match=r"constraints.latency_ms: nothing in the space satisfies latency_ms <= 1e-09"):
        prepare(predicted(limit="<= 1e-9"))


def test_repair_asks_for_several_networks_at_once(predicted):
    setup = prepare(predicted(limit="<= 0.05"))
    calls = setup.profiles.by_metric["latency_ms"].calls
    asked, rng = len(calls), np.random.default_rng(0)
    setup.proposer.repair(SPACE.sample(rng), rng, steps=20)
    assert len(calls) - asked <= 6
    assert max(calls[asked:]) > 1


def test_a_dry_run_with_a_profile_that_is_not_made_yet_checks_the_rest(predicted, tmp_path):
    source = {"file": str(tmp_path / "new.json"), "minutes": 2.0}
    setup = prepare(predicted(source=source, limit="<= 1e-9"))
    assert setup.profiles.by_metric == {}
    assert setup.proposer.constraints == []


REFUSED = [
    ({"conditions": {"threads": 4}}, {}, r"sources.latency_ms.file: .*threads: asked for 1, found 4.*force: true"),
    ({"conditions": {"batch": 8}}, {}, r"sources.latency_ms.file: .*batch: asked for 1, found 8"),
    ({"conditions": {"threads": 2}}, {}, r"found 2; sources.latency_ms.force: true uses it all the same$"),
    ({"conditions": {"runtime": "compile"}}, {}, r"sources.latency_ms.file: .*runtime: asked for eager, found compile"),
]


@pytest.mark.parametrize(("facts", "source", "message"), REFUSED)
def test_a_profile_of_other_conditions_is_refused_with_what_differs(predicted, facts, source, message):
    with pytest.raises(UserError, match=message):
        read_profiles(predicted(source=source, **facts), HERE)
    forced = read_profiles(predicted(source={"force": True}, **facts), HERE)
    assert not forced.at_hand("latency_ms")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"beyond": ["image: 8 is beyond 32 to 32"]}, "image: 8 is beyond"),
        ({"space": "vit_224"}, "space: vit_small is not"),
    ],
)
def test_a_profile_of_other_pictures_or_another_space_is_refused_unless_forced(predicted, facts, words):
    with pytest.raises(UserError, match=rf"^sources.latency_ms.file: .*made for something else; {words}.*force: true"):
        prepare(predicted(**facts))
    assert prepare(predicted(source={"force": True}, **facts)).profiles.at_hand("latency_ms")


def test_a_damaged_profile_is_one_line_with_its_place(predicted, tmp_path):
    campaign = predicted()
    (tmp_path / "cpu.json").write_text("{")
    with pytest.raises(UserError, match=r"^sources.latency_ms.file: .*cpu.json: the file is damaged$"):
        read_profiles(campaign, HERE)


def test_a_phone_may_differ_in_all_but_the_batch(make_campaign, fake_profiles, tmp_path):
    file = fake_profiles(tmp_path / "phone.json", conditions={"device": "A Phone", "threads": 4})
    sources = {"latency_ms@phone": {"source": "profile", "file": str(file)}}
    campaign = make_campaign(objectives=["accuracy", "latency_ms@phone"], sources=sources)
    profiles = read_profiles(campaign, HERE)
    assert not profiles.at_hand("latency_ms@phone")
    assert profiles.training_device() is None
    with pytest.raises(UserError, match=r"profiled at batch 1, and latency.batch asks for 4"):
        read_profiles(campaign, replace(HERE, batch=4))


def test_a_profile_is_made_once_before_the_search_and_an_unfinished_one_goes_on(
    predicted, fake_sessions, tmp_path, capsys
):
    file = tmp_path / "made.json"
    source = {"file": str(file), "minutes": 2.0}
    search(predicted(2, source=source), runs=tmp_path / "a", make_worker=FreeWorker)
    assert f"profiling this device for 2 min: {file}" in capsys.readouterr().err
    search(predicted(2, source=source), runs=tmp_path / "b", quiet=True, make_worker=FreeWorker)
    assert [s["seconds"] for s in json.loads(file.read_text())["sessions"]] == [120]
    file.write_text(json.dumps({"slope": 9.0, "sessions": [{"seconds": 12}]}))  # stopped early
    search(predicted(2, source=source), runs=tmp_path / "c", quiet=True, make_worker=FreeWorker)
    assert [s["seconds"] for s in json.loads(file.read_text())["sessions"]] == [12, pytest.approx(108)]


def test_a_profile_without_a_file_lies_in_the_run_folder(make_campaign, fake_profiles, fake_sessions, tmp_path):
    sources = {"latency_ms": {"source": "profile", "minutes": 1.0}}
    campaign = make_campaign(2, objectives=["accuracy", "latency_ms"], sources=sources)
    run = search(campaign, runs=tmp_path, quiet=True, make_worker=FreeWorker)
    assert run.environment["profiles"]["latency_ms"]["file"] == str(run.path / "profile.json")
    assert len(search(campaign, runs=tmp_path, quiet=True, resume=True, make_worker=FreeWorker).complete()) == 2


def test_a_changed_profile_is_not_resumed(predicted, fake_sessions, tmp_path):
    campaign = predicted(2)
    search(campaign, runs=tmp_path, quiet=True, make_worker=FreeWorker)
    predicted(slope=101.0)
    with pytest.raises(UserError, match=r"the profile .*cpu.json has changed since it began; use another --name"):
        search(campaign, runs=tmp_path, quiet=True, resume=True, make_worker=FreeWorker)


def test_what_cannot_be_trained_in_the_free_memory_is_never_started(predicted, fake_sessions, monkeypatch, tmp_path):
    bounds = sorted(least_training_mb(cost_metrics(g, **SHAPE), 64) for g in networks(60))
    monkeypatch.setattr("nas.session.free_mb", lambda device: bounds[30])
    run = search(predicted(6, memory=False), runs=tmp_path, quiet=True, make_worker=FreeWorker)
    refused = [r for r in run.rejections if r.reason == "memory"]
    assert "MB at least" in refused[0].detail
    page = (run.path / "report" / "rejections.csv").read_text()
    assert f"memory,,{len(refused)}" in page
    assert all(least_training_mb(cost_metrics(t.genotype, **SHAPE), 64) <= bounds[30] for t in run.searched())


def test_the_profile_of_the_training_device_says_what_training_needs(predicted, monkeypatch):
    monkeypatch.setattr("nas.session.free_mb", lambda device: 100.0)
    setup = prepare(predicted(training_mb=1.0))
    known = setup.costs.of(networks(1)[0])
    assert known.training_mb == pytest.approx(0.9 * 64)  # the lower end, for the recipe's batch
    assert setup.proposer.free_mb == 100.0


def test_free_memory_is_what_the_system_can_give_within_the_containers_limit(tmp_path):
    info, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    info.write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    assert free_mb("cpu", info, limit) == 2.048
    limit.write_text("max\n")
    assert free_mb("cpu", info, limit) == 2.048
    limit.write_text("1000000\n")
    assert free_mb("cpu", info, limit) == 1.0
    assert free_mb("cpu", tmp_path / "nothing", limit) is None
