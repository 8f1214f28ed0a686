"""The campaign file: what is written is what is read, and each mistake is one line that says where it stands."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from nas.campaign import (
    Campaign,
    check_names,
    differences,
    load_campaign,
    placing_errors,
    refused_changes,
)
from nas.errors import UserError
from nas.objective import Constraint, Objective
from nas.settings import LatencySection, TrainingSettings
from nas.yaml_file import read_yaml

RUNS = Path(__file__).parents[2] / "runs"
SMALLEST = "data:\n  source: digits\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a campaign from a text, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def _load(text, *overrides):
        Path("x.yaml").write_text(text)
        return load_campaign("x.yaml", overrides)

    return _load


@pytest.fixture
def complaint(load):
    def _complaint(text, *overrides):
        with pytest.raises(UserError) as caught:
            load(text, *overrides)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return _complaint


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_campaigns_that_are_shipped_are_valid(path):
    campaign = load_campaign(path)
    assert campaign.name == path.stem
    check_names(campaign.model_copy(update={"data": campaign.data.model_copy(update={"source": "digits"})}), path)


def test_three_campaigns_are_shipped():
    assert {p.stem for p in RUNS.glob("*.yaml")} == {"digits", "cifar10", "imagefolder"}


def test_one_line_is_a_campaign(load):
    campaign = load(SMALLEST)
    assert campaign.name == "x"
    assert campaign.objective_list[0] == Objective(name="accuracy", direction="maximize")
    assert campaign.constraint_list == ()


def test_what_is_written_reads_back_equal(load):
    text = SMALLEST + "constraints: {params_m: ['<= 2', '>= 1'], macs_g: '<= 1'}\n"
    overrides = ("training.lr=1e-5", "training.augment=[]", "execution.address=10.0.0.1:6379")
    campaign = load(text + "space: {fix: {a: true}, narrow: {b: [1, x]}}", *overrides)
    assert load(campaign.to_yaml()) == campaign
    assert Campaign.model_validate(campaign.model_dump(mode="json")) == campaign


def test_a_campaign_cannot_be_changed(load):
    with pytest.raises(ValueError, match="frozen"):
        load(SMALLEST).seed = 3


def test_metrics_are_objectives_then_limits(load):
    campaign = load(SMALLEST + "objectives: [accuracy, macs_g]\nconstraints: {latency_ms: '<= 3', macs_g: '<= 1'}")
    assert campaign.metrics == ("accuracy", "macs_g", "latency_ms")


def test_two_limits_of_one_metric_make_a_range(load):
    found = load(SMALLEST + "constraints: {params_m: ['>= 1', '<= 2']}").constraint_list
    assert found == (Constraint.parse("params_m", ">= 1"), Constraint.parse("params_m", "<= 2"))


def test_exponents_without_a_point_are_numbers(load):
    assert load(SMALLEST + "training: {lr: 1e-3, weight_decay: 5E-2}").training.lr == 0.001


WRONG = {
    "budget:\n  trails: 3": "x.yaml:4: budget: unknown key 'trails'; did you mean 'trials'?",
    "budget:\n  trials: ten": "x.yaml:4: budget.trials: expected a whole number of at least 1, found 'ten'",
    "budget: {trials: 0}": "x.yaml:3: budget.trials: expected a whole number of at least 1, found 0",
    "budget: {trials: 2.5}": "x.yaml:3: budget.trials: expected a whole number of at least 1, found 2.5",
    "budget: {minutes: 10m}": "x.yaml:3: budget.minutes: expected a number of minutes above 0, "
    "without a unit, found '10m'",
    "budget: {minutes: .inf}": "x.yaml:3: budget.minutes: expected a number of minutes above 0, "
    "without a unit, found inf",
    "budget: 3": "x.yaml:3: budget: expected a mapping with trials, minutes, found 3",
    "budget:": "x.yaml:3: budget: expected a mapping with trials, minutes, found nothing",
    "seed: true": "x.yaml:3: seed: expected a whole number of at least 0, found True",
    "sede: 1": "x.yaml:3: unknown key 'sede'; did you mean 'seed'?",
    "name: a/b": "x.yaml:3: name: expected a folder name of letters, digits, . _ -, found 'a/b'",
    "objectives: [accuracy]": "x.yaml:3: objectives: expected accuracy and one or two of latency_ms, energy_mj, "
    "macs_g, params_m, memory_mb, found accuracy",
    "objectives: [accuracy, latency]": "x.yaml:3: objectives: unknown objective 'latency'; did you mean 'latency_ms'?",
    "objectives: [accuracy, accuracy]": "x.yaml:3: objectives: 'accuracy' is named twice",
    "objectives:\n  macs_g: minimize\n  accuracy: minimize": "x.yaml:5: objectives.accuracy: expected maximize, found "
    "minimize",
    "constraints: {parms_m: '<= 1'}": "x.yaml:3: constraints: unknown metric 'parms_m'; did you mean 'params_m'?",
    "constraints: {params_m: '2'}": "x.yaml:3: constraints.params_m: cannot read '2'; write for example \"<= 2\"",
    "constraints: {params_m: 2}": 'x.yaml:3: constraints.params_m: expected a limit such as "<= 2", found 2',
    "constraints: {macs_g: ['<= 1', '>= 2']}": "x.yaml:3: constraints.macs_g: 'macs_g >= 2' and 'macs_g <= 1' "
    "contradict each other",
    "constraints: {macs_g: '<= 0'}": "x.yaml:3: constraints.macs_g: nothing can satisfy 'macs_g <= 0'; expected "
    "a limit above 0",
    "constraints: {accuracy: '>= 70'}": "x.yaml:3: constraints.accuracy: accuracy is a fraction from 0 to 1, found 70",
    "training: {augment: crop}": "x.yaml:3: training.augment: expected a list of augmentations such as [crop, flip], "
    "found 'crop'",
    "execution: {device: gpu}": "x.yaml:3: execution.device: expected auto, cpu, cuda or cuda:N, found 'gpu'",
    "execution: {backend: slurm}": "x.yaml:3: execution.backend: expected ray or inline, found 'slurm'",
    "sampler: pareto": "x.yaml:3: sampler: expected a mapping such as {name: pareto}, found 'pareto'",
    "sampler:": "x.yaml:3: sampler: expected a mapping such as {name: pareto}, found nothing",
    "sampler: {name: 3}": "x.yaml:3: sampler.name: expected the name of a sampler, found 3",
    "sampler: {startups: 3}": "x.yaml:3: sampler: unknown key 'startups'; did you mean 'startup'?",
    "sampler: {startup: 0}": "x.yaml:3: sampler.startup: expected a whole number of first trials of at least 1, "
    "found 0",
    "sampler: {population: 2}": "x.yaml:3: sampler.population: expected a whole number of parents of at least 4, "
    "found 2",
    "fidelity: halving": "x.yaml:3: fidelity: expected a mapping such as {name: halving, rungs: [0.1, 0.5]}, "
    "found 'halving'",
    "fidelity:\n  thresold: 0.1": "x.yaml:4: fidelity: unknown key 'thresold'; did you mean 'threshold'?",
    "fidelity: {rungs: 0.5}": "x.yaml:3: fidelity.rungs: expected a rising list of shares of the schedule such as "
    "[0.1, 0.5], found 0.5",
    "fidelity: {rungs: []}": "x.yaml:3: fidelity.rungs: expected a rising list of shares of the schedule such as "
    "[0.1, 0.5], found []",
    "fidelity: {rungs: [10, 50]}": "x.yaml:3: fidelity.rungs: expected rising shares above 0 and below 1, "
    "found [10.0, 50.0]",
    "fidelity: {keep: 50%}": "x.yaml:3: fidelity.keep: expected a share above 0 and below 1, found '50%'",
    "fidelity: {startup: 3}": "x.yaml:3: fidelity.startup: expected a whole number of trials trained in full of at "
    "least 10, found 3",
    "fidelity: {check: true}": "x.yaml:3: fidelity.check: expected a share from 0 to 1, found True",
    "references: [a, a]": "x.yaml:3: references: 'a' is named twice",
    "space: {fix: {a: 1}, narrow: {a: [1]}}": "x.yaml:3: space.narrow.a: 'a' is already fixed by space.fix; remove one "
    "of them",
    "version: 2\nnew: 1": "x.yaml:3: version: 2 is newer than this vitnas reads (1); update vitnas",
    "seed: 1\nseed: 2": "x.yaml:4: key 'seed' is written twice (first in line 3)",
    "a: [1": "x.yaml:3:6: not valid YAML: expected ',' or ']', but got '<stream end>'",
    "seed: &s 1\nname: *s": "x.yaml:4:7: not valid YAML: aliases (*name) are not supported",
    "1: 2": "x.yaml:3: a key must be a word, found '1'; put it in quotes",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=[t.replace("\n", " ") for t in WRONG])
def test_a_mistake_is_one_line_with_its_place(complaint, text, message):
    assert complaint(SMALLEST + text) == message


def test_code_in_yaml_is_not_run(complaint):
    assert complaint(SMALLEST + "seed: !!python/object/apply:os.getpid []").startswith("x.yaml:3:7: not valid YAML:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: the file is empty"),
        ("# a remark\n", "x.yaml: the file is empty"),
        ("- data\n", "x.yaml:1: expected keys and values such as `name: value`, found ['data']"),
        ("dat: {}\n", "x.yaml:1: unknown key 'dat'; did you mean 'data'?"),
        ("seed: 1\n", "x.yaml: key 'data' is missing"),
        ("data: {}\n", "x.yaml:1: data: key 'source' is missing"),
        ("data: 3\n", "x.yaml:1: data: expected a mapping with at least source, found 3"),
    ],
)
def test_a_file_without_a_campaign_says_what_is_missing(complaint, text, message):
    assert complaint(text) == message


def test_a_file_that_is_not_there_names_the_nearest(load):
    load(SMALLEST)
    with pytest.raises(UserError, match=r"^xx\.yaml: no such campaign file; did you mean x\.yaml\?$"):
        load_campaign("xx.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        load_campaign(tmp_path / "x.yaml")


def test_overrides_win_over_the_file(load):
    campaign = load(
        SMALLEST + "budget: {trials: 3}\n", "budget.trials=7", "training.lr=1e-4", "objectives=[accuracy, macs_g]",
        "space.fix.stage1.width=32", "constraints.params_m=<= 2", "name=other",
    )  # fmt: skip
    assert (campaign.budget.trials, campaign.training.lr, campaign.name) == (7, 1e-4, "other")
    assert list(campaign.objectives) == ["accuracy", "macs_g"]
    assert campaign.space.fix == {"stage1.width": 32}
    assert str(campaign.constraint_list[0]) == "params_m <= 2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trails=3", "--set budget.trails: unknown key 'trails'; did you mean 'trials'?"),
        ("budget.trials=ten", "--set budget.trials: expected a whole number of at least 1, found 'ten'"),
        ("budget", "--set 'budget': write key.path=value, such as budget.trials=20"),
        ("budget.trials.x=3", "--set budget.trials.x: unknown key 'x'; budget.trials holds no keys"),
        (
            "training.augment=[a",
            "--set training.augment:1:3: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
        ("constraints.macs_g=0.5", '--set constraints.macs_g: expected a limit such as "<= 2", found 0.5'),
        (
            "objectives.macs_g=minimize",
            "--set objectives.macs_g: objectives is no mapping in the file; set it as a whole",
        ),
    ],
)
def test_a_wrong_override_is_named(complaint, override, message):
    assert complaint(SMALLEST + "objectives: [accuracy, macs_g]\n", override) == message


def test_a_path_is_seen_from_the_file_and_then_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "near").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "sub" / "c.yaml").write_text("data: {source: ./near}")
    assert load_campaign("sub/c.yaml").data.source == str(tmp_path / "sub" / "near")
    assert load_campaign("sub/c.yaml", ["data.source=./far"]).data.source == str(tmp_path / "far")


def test_a_pattern_is_seen_from_the_file(load, tmp_path):
    (tmp_path / "part-1.parquet").touch()
    assert load("data: {source: part-*.parquet}").data.source == str(tmp_path / "part-*.parquet")


def test_a_bare_word_stays_a_name_beside_a_folder_of_that_name(load, tmp_path):
    (tmp_path / "digits").mkdir()
    assert load(SMALLEST).data.source == "digits"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {name: vit_smal}", "x.yaml:3: space.name: unknown space 'vit_smal'; did you mean 'vit_small'?"),
        ("sampler: {name: tpee}", "x.yaml:3: sampler.name: unknown sampler 'tpee'; did you mean 'tpe'?"),
        ("sampler: {name: NSGA2}", "x.yaml:3: sampler.name: unknown sampler 'NSGA2'; did you mean 'nsga2'?"),
        ("fidelity: {name: halvng}", "x.yaml:3: fidelity.name: unknown rule 'halvng'; did you mean 'halving'?"),
        ("references: [dit_mini]", "x.yaml:3: references: unknown network 'dit_mini'; did you mean 'deit_mini'?"),
        ("training: {augment: [crap]}", "x.yaml:3: training.augment: unknown name 'crap'; did you mean 'crop'?"),
    ],
)
def test_names_are_checked_against_what_is_registered(load, text, message):
    campaign = load(SMALLEST + text)
    with pytest.raises(UserError) as caught:
        check_names(campaign, "x.yaml")
    assert str(caught.value) == message


def test_data_that_are_not_there_are_named(load, tmp_path):
    for source, message in (
        ("digit", "--set data.source: unknown data set 'digit'; did you mean 'digits'?"),
        ("./none", f"--set data.source: nothing at './none', neither beside the campaign file nor in {tmp_path}"),
    ):
        overrides = [f"data.source={source}"]
        with pytest.raises(UserError) as caught:
            check_names(load(SMALLEST, *overrides), "x.yaml", overrides)
        assert str(caught.value) == message


def test_an_error_raised_later_is_placed_by_its_key(load):
    load(SMALLEST + "space:\n  fix:\n    stage1.width: 7\n")
    message = "space.fix.stage1.width: 7 is no choice"
    with pytest.raises(UserError, match=f"^x.yaml:5: {message}$"), placing_errors("x.yaml"):
        raise UserError(message)
    with pytest.raises(UserError, match=r"^elsewhere: nothing$"), placing_errors("x.yaml"):
        raise UserError("elsewhere: nothing")


def test_reading_a_campaign_does_not_import_torch():
    code = "import sys, nas.campaign as c; c.load_campaign(sys.argv[1]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(RUNS / "digits.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_differences_are_sorted_into_what_may_change(load):
    old = load(SMALLEST)
    changes = ("budget.trials=9", "execution.workers=3", "execution.device=cpu", "training.lr=0.5", "space.fix.a=3")
    new = load(SMALLEST, *changes)
    assert differences(old, old) == []
    refused = refused_changes(old, new)
    accepted = [line for line in differences(old, new) if line not in refused]
    assert accepted == ["budget.trials: 50 -> 9", "execution.workers: 1 -> 3"]
    assert refused == ["training.lr: 0.002 -> 0.5", "execution.device: 'auto' -> 'cpu'", "space.fix.a: absent -> 3"]


def test_training_and_latency_name_what_their_evaluators_take():
    from evaluators.latency.measure import LatencySettings
    from evaluators.proxy_training import Recipe

    for section, taker in ((TrainingSettings(), Recipe), (LatencySection(), LatencySettings)):
        assert {f.name: f.default for f in fields(taker)} == section.model_dump(exclude={"watts"})


def test_every_key_has_its_line(tmp_path):
    (tmp_path / "x.yaml").write_text("a:\n  b: 1\n  c:\n    - 2\n    - d: 3\n")
    document = read_yaml(tmp_path / "x.yaml")
    lines = {path: int(place.rpartition(":")[2]) for path, place in document.places.items()}
    assert lines == {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "d"): 5}
