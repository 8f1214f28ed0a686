"""Where costs of devices come from, as a campaign file says it: every form, and every mistake in one line."""

from pathlib import Path

import pytest

from nas.campaign import Campaign, check_names, load_campaign
from nas.errors import UserError

START = "data:\n  source: digits\n"
PHONE = "latency_ms@phone: {source: profile, file: phone.json}"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a campaign from a text, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, *overrides: str) -> Campaign:
        Path("x.yaml").write_text(START + text)
        return load_campaign("x.yaml", overrides)

    return read


def sources(campaign: Campaign) -> dict:
    return {name: source.model_dump(exclude_defaults=True) for name, source in campaign.sources.items()}


def test_device_costs_without_a_source_are_measured(load):
    campaign = load("objectives: [accuracy, latency_ms]\nconstraints: {energy_mj: '<= 3', params_m: '<= 1'}")
    assert sources(campaign) == {"latency_ms": {"source": "measured"}, "energy_mj": {"source": "measured"}}
    assert campaign.measured() == ("latency_ms", "energy_mj")
    assert load("objectives: [accuracy, macs_g]").sources == {}


def test_a_source_beside_its_metric_equals_one_in_the_section(load, tmp_path):
    inline = load(f"objectives:\n  accuracy: maximize\n  {PHONE}\n")
    assert inline == load(f"objectives: [accuracy, latency_ms@phone]\nsources:\n  {PHONE}\n")
    assert inline.objectives == {"accuracy": "maximize", "latency_ms@phone": "minimize"}
    file = str(tmp_path / "phone.json")
    assert sources(inline) == {"latency_ms@phone": {"source": "profile", "file": file}}
    assert list(inline.predicted()) == ["latency_ms@phone"]


def test_a_limit_may_carry_its_source(load):
    campaign = load("constraints:\n  memory_mb@phone: {limit: ['>= 1', '<= 5'], source: profile, file: p.json}")
    assert [str(c) for c in campaign.constraint_list] == ["memory_mb@phone >= 1", "memory_mb@phone <= 5"]
    assert campaign.metrics == ("accuracy", "latency_ms", "memory_mb@phone")


def test_what_is_written_with_sources_reads_back_equal(load, tmp_path):
    campaign = load(f"objectives:\n  accuracy: maximize\n  {PHONE}\n  latency_ms: {{source: profile, minutes: 2}}\n")
    (tmp_path / "y.yaml").write_text(campaign.to_yaml())
    assert load_campaign("y.yaml") == campaign.model_copy(update={"name": "x"})
    assert Campaign.model_validate(campaign.model_dump(mode="json")) == campaign


def test_a_source_is_overridden_by_its_path(load):
    text = "objectives: {accuracy: maximize, latency_ms@a.b: {source: profile, file: p.json}}"
    source = load(text, "sources.latency_ms@a.b.force=true").sources["latency_ms@a.b"]
    assert (source.force, Path(source.file).name) == (True, "p.json")
    assert load(text, "sources.latency_ms@a.b.file=q.json").sources["latency_ms@a.b"].file.endswith("q.json")


def test_an_override_with_a_source_takes_the_place_of_the_files(load):
    text = "objectives: {accuracy: maximize, latency_ms: {source: profile, file: p.json, minutes: 2}}"
    measured = load(text, "objectives={accuracy: maximize, latency_ms: {source: measured}}")
    assert measured == load("objectives: [accuracy, latency_ms]")
    assert load(text, "sources.latency_ms={source: measured}") == measured
    assert load(text, "objectives=[accuracy, latency_ms]").sources["latency_ms"].minutes == 2


def test_a_profile_is_seen_from_the_campaign_and_then_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for there in ("sub/near.json", "far.json"):
        (tmp_path / there).touch()
    for name, folder in (("near", "sub"), ("far", "."), ("new", "sub")):
        (tmp_path / "sub/c.yaml").write_text(START + f"sources: {{latency_ms: {{source: profile, file: {name}.json}}}}")
        found = load_campaign("sub/c.yaml").sources["latency_ms"].file
        assert found == str((tmp_path / folder / f"{name}.json").resolve())


WRONG = [
    (
        "objectives: [accuracy, latency_ms@phone]",
        "x.yaml:3: objectives: latency_ms@phone needs the profile of phone; write sources: {latency_ms@phone:"
        " {source: profile, file: phone.json}}",
    ),
    (
        "objectives: [accuracy, macs_g@phone]",
        "x.yaml:3: objectives: macs_g is the same on every device; leave @phone out",
    ),
    (
        "objectives: [accuracy, latency@phone]",
        "x.yaml:3: objectives: unknown objective 'latency'; did you mean 'latency_ms'?",
    ),
    (
        "constraints: {latency_ms@: '<= 1'}",
        "x.yaml:3: constraints: 'latency_ms@': after @ write a device's name of letters, digits, . _ -",
    ),
    (
        "constraints:\n  latency_ms:\n    source: profile",
        "x.yaml:4: constraints.latency_ms: key 'limit' is missing; write {limit: \"<= 5\", source: ...}",
    ),
    (
        "objectives:\n  latency_ms:\n    source: profile\n    fil: a",
        "x.yaml:4: objectives.latency_ms: unknown key 'fil'; did you mean 'file'?",
    ),
    (
        "sources:\n  latency_ms: {source: guessed}",
        "x.yaml:4: sources.latency_ms: source: expected measured or profile, found 'guessed'",
    ),
    (
        "sources: {latency_ms: {file: a.json}}",
        "x.yaml:3: sources.latency_ms: key 'source' is missing",
    ),
    (
        "sources: {latency_ms: {source: profile}}",
        "x.yaml:3: sources.latency_ms: name the file of a profile, or minutes to make one before the search",
    ),
    (
        "sources: {latency_ms@phone: {source: measured}}",
        "x.yaml:3: sources.latency_ms@phone: phone cannot be measured from here; write {source: profile, "
        "file: phone.json}",
    ),
    (
        "sources: {latency_ms@phone: {source: profile}}",
        "x.yaml:3: sources.latency_ms@phone: the profile of phone is not named; write {source: profile, file:"
        " phone.json}",
    ),
    (
        "sources: {latency_ms@phone: {source: profile, file: a, minutes: 2}}",
        "x.yaml:3: sources.latency_ms@phone.minutes: a profile of phone cannot be made here; leave minutes out",
    ),
    (
        "sources: {latency_ms: {source: measured, file: a}}",
        "x.yaml:3: sources.latency_ms.file: what is measured needs no profile; write source: profile, or no file",
    ),
    (
        "sources: {macs_g: {source: measured}}",
        "x.yaml:3: sources.macs_g: macs_g follows from the architecture alone; leave its source out",
    ),
    (
        "sources: {memory_mb: {source: measured}}",
        "x.yaml:3: sources.memory_mb: memory_mb is counted, not measured; leave its source out, or write "
        "{source: profile, file: device.json}",
    ),
    (
        "sources: {latency_ms: 3}",
        "x.yaml:3: sources.latency_ms: expected a mapping with source, file, minutes, force, found 3",
    ),
    (
        "sources: 3",
        "x.yaml:3: sources: expected a mapping from metric to its source, found 3",
    ),
    (
        "objectives: {accuracy: maximize, latency_ms: {source: profile, file: a}}\nconstraints: {latency_ms: "
        "{limit: '<= 1', source: profile, file: b}}",
        "x.yaml:4: constraints.latency_ms.file: latency_ms has two sources: 'a' and 'b'; write it once",
    ),
    (
        "latency: {watts: 0}",
        "x.yaml:3: latency.watts: expected the device's power, a number of watts above 0, found 0",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text.replace("\n", " ") for text, _ in WRONG])
def test_a_wrong_source_is_one_line_with_its_place(load, text, message):
    with pytest.raises(UserError) as caught:
        load(text)
    assert str(caught.value) == message


def test_a_profile_that_is_not_there_names_the_nearest_or_the_way_to_it(load, tmp_path):
    (tmp_path / "phone.json").touch()
    ways = {
        "latency_ms@phone: {source: profile, file: phon.json}": "did you mean 'phone.json'?",
        "latency_ms@tv: {source: profile, file: zz.json}": "make it on tv with nas profile",
        "latency_ms: {source: profile, file: zz.json}": "add minutes: 2 to make it before the search",
    }
    for entry, way in ways.items():
        campaign = load(f"objectives:\n  accuracy: maximize\n  {entry}\n")
        with pytest.raises(UserError, match=r"^x.yaml:5: sources.*file: no profile at .*; ") as caught:
            check_names(campaign, "x.yaml")
        assert str(caught.value).endswith(way)
