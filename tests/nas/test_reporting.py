"""The report: its tables against hand-made examples and brute force, its page against what a browser would load."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LinearRegression

from nas.campaign import Campaign
from nas.genotype import Atom, Genotype, Stage
from nas.reporting import write_report
from nas.reporting.classes import main_class
from nas.reporting.conditions import conditions
from nas.reporting.figures import figures
from nas.reporting.front import axes_of, draw_front, front_points
from nas.reporting.importance import ENOUGH, encode, held_out_importance, importance_table
from nas.reporting.labels import SIDES, PlotArea, along, label_box, overlap, place_labels
from nas.reporting.mechanisms import draw_mechanisms, draw_stages, mechanism_table, stage_table, uses_table
from nas.reporting.page import embedded, page, state_words
from nas.reporting.progress import (
    busy_seconds,
    curves_below,
    curves_floor,
    curves_table,
    cut_below,
    draw_curves,
    hypervolume_table,
)
from nas.reporting.spending import phases_table, states_table
from nas.reporting.tables import front_table, markdown, rejections_table, trials_table
from nas.reporting.theme import duration, interval, number
from nas.run import Rejection, Run
from nas.trial import Point, Trial

COSTS = {"params_m": 0.2, "macs_g": 0.01, "memory_mb": 1.5}


def network(*mixers: str, **changes: Any) -> Genotype:
    stages = tuple(Stage(width=32, depth=2, a=Atom(m), **changes) for m in mixers)
    return Genotype(topology="pyramid", stem=Atom("patch", size=2), stages=stages)


def trial(n: int, accuracy: float | None = None, latency: float = 1.0, *mixers: str, **changes: Any) -> Trial:
    values = COSTS if accuracy is None else COSTS | {"accuracy": accuracy, "latency_ms": latency}
    basics = Trial(
        number=n, kind="search", name=f"trial {n}", state="failed" if accuracy is None else "complete",
        genotype=network(*(mixers or ("softmax",))), hash=f"{n:012x}", code={}, values=values, started=100.0 * n,
        intervals={} if accuracy is None else {"latency_ms": (0.9 * latency, 1.2 * latency)}, finished=100.0 * n + 60,
        curve=() if accuracy is None else tuple(Point(epoch=e, loss=1, accuracy=accuracy, seconds=e) for e in (1, 2)),
        seconds={"train": 50.0, "measure": 8.0, "wait": 1.0, "setup": 1.0},
        error="loss is not a number" if accuracy is None else None,
    )  # fmt: skip
    return replace(basics, **changes)


def run_of(path: Path, *trials: Trial, objectives: tuple[str, ...] = ("accuracy", "latency_ms"), **more: Any) -> Run:
    campaign = Campaign.model_validate({"name": "toy", "data": {"source": "digits"}, "objectives": list(objectives)})
    return Run(path=path, campaign=campaign, environment={"device": "cpu"}, trials=trials, **more)


def html(run: Run) -> str:
    return page(run, figures(run))


@pytest.fixture
def five(tmp_path: Path) -> Run:
    """Trials 0, 2 and 3 are the front; 1 is dominated, 4 failed; 5 is a reference that would win."""
    reference = trial(5, 0.99, 0.1, "window", kind="reference", name="swin_mini")
    return run_of(
        tmp_path, trial(0, 0.80, 1.0), trial(1, 0.70, 2.0, "window"), trial(2, 0.90, 2.0, "window", "softmax"),
        trial(3, 0.60, 0.5, "pooling"), trial(4), reference, status="finished", test_accuracy={2: 0.875},
        rejections=tuple(refused(reason) for reason in ("duplicate", "constraint", "constraint")),
    )  # fmt: skip


def refused(reason: str) -> Rejection:
    return Rejection(reason=reason, detail="params_m", hash="", at=0)


def test_front_table_lists_the_non_dominated_search_trials_cheapest_first(five: Run) -> None:
    table = front_table(five)
    assert list(table["trial"]) == [3, 0, 2]
    assert table["export"][2] == f"nas export {five.path} --select trial:2 --to config,torch,onnx"
    assert table["train"][2] == f"nas train {five.path}/configs/trial-0002.yaml --data digits"
    assert table["knee"].sum() == 1
    assert table["test_accuracy"][2] == 0.875


def test_commands_quote_a_folder_with_a_space(tmp_path: Path) -> None:
    table = front_table(run_of(tmp_path / "my runs", trial(0, 0.8)))
    assert f"nas export '{tmp_path}/my runs' " in table["export"][0]


def test_trials_table_has_a_row_for_every_trial_and_survives_parquet(five: Run, tmp_path: Path) -> None:
    table = trials_table(five)
    table.to_parquet(tmp_path / "trials.parquet")
    assert list(table["trial"]) == [0, 1, 2, 3, 4, 5]
    assert list(table["state"]) == ["complete"] * 4 + ["failed", "complete"]
    assert table["accuracy"].isna().tolist() == [False] * 4 + [True, False]
    assert (table["latency_ms_low"][0], table["latency_ms_high"][0]) == (0.9, 1.2)
    assert table["error"][4] == "loss is not a number"


def test_a_dimension_of_mixed_types_becomes_text(tmp_path: Path) -> None:
    run = run_of(tmp_path, trial(0, 0.8, code={"at": "none", "width": 8}), trial(1, 0.9, code={"at": 0.5, "width": 16}))
    table = trials_table(run)
    assert list(table["at"]) == ["none", "0.5"]
    assert list(table["width"]) == [8, 16]


def test_inactive_dimensions_are_missing_in_the_record(tmp_path: Path) -> None:
    from search_spaces.vit import make_space

    space = make_space("vit_small", image_size=8, in_chans=1, classes=10)
    code = space.sample(np.random.default_rng(0))
    run = replace(run_of(tmp_path, trial(0, 0.8, code=code)), environment={"data": {"image_size": 8, "in_chans": 1}})
    row = trials_table(run).iloc[0]
    assert 0 < len(space.active(code)) < len(code)
    assert {name for name in code if row.get(name) is not None and row.notna().get(name)} == set(space.active(code))


def test_hypervolume_history_equals_brute_force_on_a_grid(five: Run) -> None:
    table = hypervolume_table(five)
    reference = np.array([-(0.60 - 0.1 * 0.3), 2.0 + 0.1 * 1.5])  # worst + a tenth of the range
    found = np.array([(-0.80, 1.0), (-0.70, 2.0), (-0.90, 2.0), (-0.60, 0.5)])
    x, y = np.meshgrid(np.linspace(-0.9, reference[0], 1200), np.linspace(0.5, reference[1], 1200))
    box = (reference[0] + 0.9) * (reference[1] - 0.5)
    covered = [np.any([(x >= a) & (y >= b) for a, b in found[:n]], axis=0).mean() * box for n in (1, 2, 3, 4)]
    assert list(table["trials"]) == [0, 1, 2, 3, 4, 5]  # the failed trial counts and adds nothing
    np.testing.assert_allclose(table["hypervolume"], [0, *covered, covered[-1]], rtol=0.01)


def test_busy_time_leaves_out_breaks_and_counts_overlap_once() -> None:
    spans = [(0.0, 10.0), (5.0, 20.0), (1000.0, 1010.0)]
    seconds = [t for t in np.arange(0, 1010, 0.5) if any(a <= t < b for a, b in spans)]
    assert busy_seconds(spans, 1010.0) == len(seconds) * 0.5 == 30.0
    assert busy_seconds(spans, 7.0) == 7.0


def test_rejected_and_failed_are_counted(five: Run) -> None:
    assert rejections_table(five).values.tolist() == [["constraint", "params_m", 2], ["duplicate", "", 1]]
    assert states_table(five).values.tolist() == [["complete", 4, 1], ["failed", 1, 0]]
    assert phases_table(five)["seconds"].tolist() == [300.0, 48.0, 6.0, 6.0]
    assert phases_table(five)["share"].sum() == pytest.approx(1)


def test_a_trial_counts_once_per_mechanism_and_stage(five: Run) -> None:
    uses = uses_table(five)
    by_mechanism = mechanism_table(uses).set_index("mechanism")
    assert by_mechanism["trials"].to_dict() == {"softmax": 2, "window": 2, "pooling": 1}
    assert by_mechanism["median"]["window"] == pytest.approx((0.70 + 0.90) / 2)
    by_stage = stage_table(uses).set_index(["mechanism", "stage"])["trials"].to_dict()
    assert by_stage == {("softmax", 1): 1, ("softmax", 2): 1, ("window", 1): 2, ("pooling", 1): 1}


def test_the_class_of_a_network_is_that_of_the_mechanism_with_most_blocks() -> None:
    assert main_class(network("softmax", "window", "window")) == "complexity reduction"
    assert main_class(network("softmax", "softmax", "window")) == "baseline"
    assert main_class(network("none", "none", "window")) == "complexity reduction"
    shared = network("softmax", b=Atom("window"), mode="headmix", share=0.25)
    assert main_class(shared) == "complexity reduction"
    assert main_class(network("of_another_package")) == "not registered"


def test_learning_curves_hold_every_epoch(five: Run) -> None:
    table = curves_table(five)
    assert len(table) == 5 * 2
    assert set(table.loc[table["role"] == "front", "trial"]) == {0, 2, 3}


def test_importance_finds_the_only_dimension_that_matters() -> None:
    rng = np.random.default_rng(0)
    depths = rng.integers(1, 9, size=80)
    codes = [{"depth": int(d), "noise": str(rng.choice(["a", "b"])), "same": 1} for d in depths]
    y = 0.1 * depths
    x, owners = encode(codes)
    r2, drops = held_out_importance(x, owners, y)
    assert LinearRegression().fit(x, y).score(x, y) > 0.99  # the truth is in the columns
    assert r2 > 0.9
    assert drops["depth"].mean() > 1 > 0.05 > abs(drops["noise"].mean())
    assert "same" not in drops


def test_importance_of_pure_noise_is_not_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    draws = [(float(rng.uniform()), float(rng.uniform(1, 2)), int(rng.integers(9))) for _ in range(40)]
    trials = [trial(i, a, ms, code={"width": w}) for i, (a, ms, w) in enumerate(draws)]
    assert importance_table(run_of(tmp_path, *trials)).empty
    assert importance_table(run_of(tmp_path, *trials[: ENOUGH - 1])).empty


def test_labels_never_overlap_and_stay_inside() -> None:
    rng = np.random.default_rng(2)
    area = PlotArea(width=300, height=200, x=(0, 1), y=(0, 1))
    points = area.pixels(rng.uniform(size=40), rng.uniform(size=40))
    texts = [f"name {i}" for i in range(40)]
    sides = place_labels(points, texts, points, area, [tuple(SIDES)] * 40)
    boxes = [label_box(p, t, SIDES[s]) for p, t, s in zip(points, texts, sides, strict=True) if s is not None]
    assert 15 < len(boxes) < 40
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box[0] >= 0 and box[2] <= 300 for box in boxes)


def test_pixels_of_a_logarithmic_axis() -> None:
    area = PlotArea(width=200, height=100, x=(1, 100), y=(0, 1), log_x=True)
    found = area.pixels(np.array([1.0, 10, 100]), np.array([0, 0.5, 1]))
    np.testing.assert_allclose(found, [(0, 100), (100, 50), (200, 0)])
    assert len(along([np.array([(0.0, 0.0), (100.0, 0.0)])], step=10)) == 10


def test_numbers_carry_their_unit() -> None:
    assert [number("accuracy", 0.9344), number("latency_ms", 1.2345)] == ["93.4 %", "1.23 ms"]
    assert [number("params_m", v) for v in (0.0137, 0.5, 28.288)] == ["13.7 k", "0.500 M", "28.3 M"]
    assert interval("latency_ms", 1.2, 1.37) == "1.20 to 1.37 ms"
    assert interval("latency_ms", 0.09, 0.11) == "90.0 µs to 0.110 ms"
    assert [duration(4.2), duration(200), duration(7500)] == ["4.2 s", "3 min 20 s", "2 h 05 min"]
    assert number("accuracy", None) == "–"


def test_markdown_escapes_bars_and_leaves_missing_cells_empty(five: Run) -> None:
    table = rejections_table(five).assign(reason="a|b\nc", metric=None)
    assert markdown(table).splitlines()[2] == "| a\\|b c |  | 2 |"


@pytest.mark.parametrize("objectives", [("accuracy", "latency_ms"), ("accuracy", "latency_ms", "params_m")])
def test_the_line_joins_exactly_the_front_of_its_two_objectives(five: Run, objectives: tuple[str, ...]) -> None:
    run = run_of(five.path, *five.trials, objectives=objectives)
    x, y = axes_of(run.campaign.objective_list)[0]
    spec = draw_front(front_points(run), x, y)
    points = values_of(spec, spec["data"])
    assert {p["trial"] for p in points if p["step"]} == {0, 2, 3}
    assert {p["trial"] for p in points} == {0, 1, 2, 3, 5}
    assert {p["name"] for p in points if p["role"] == "reference" and p["align"]} == {"swin_mini"}


def test_a_measured_trial_that_breaks_a_constraint_is_drawn_but_never_on_the_front(tmp_path: Path) -> None:
    run = run_of(tmp_path, trial(0, 0.8), trial(1, 0.99, 0.1, state="infeasible"), trial(2))
    assert front_points(run)[["trial", "role"]].values.tolist() == [[0, "front"], [1, "infeasible"]]


def test_an_axis_is_logarithmic_only_beyond_a_factor_of_ten(tmp_path: Path) -> None:
    for top, kind in ((9.0, False), (50.0, True)):
        run = run_of(tmp_path, trial(0, 0.5, 1.0, intervals={}), trial(1, 0.9, top, intervals={}))
        text = json.dumps(draw_front(front_points(run), *axes_of(run.campaign.objective_list)[0]))
        assert ('"type": "log"' in text) is kind


@pytest.fixture
def outlier(tmp_path: Path) -> Run:
    """Accuracy and latency rise together from 90 % and 1 ms; trial 12 did not learn and 13 is far slower."""
    learned = [trial(i, 0.90 + 0.008 * i, 1 + 0.1 * i, "softmax", "window") for i in range(12)]
    strays = [trial(12, 0.10, 1.5, "pooling", "window"), trial(13, 0.95, 40.0)]
    reference = trial(14, 0.7, 1.2, kind="reference", name="swin_mini")
    return run_of(tmp_path, *learned, *strays, reference, status="finished")


def values_of(spec: dict[str, Any], data: dict[str, str]) -> list[dict[str, Any]]:
    """The rows that a chart or a layer of it names as its data."""
    found: list[dict[str, Any]] = spec["datasets"][data["name"]]
    return found


def domains(spec: dict[str, Any]) -> list[list[float]]:
    """Numeric domains of x and y in the order of the layers."""
    channels = [layer["encoding"][c] for layer in spec["layer"] for c in "xy" if c in layer["encoding"]]
    return [c["scale"]["domain"] for c in channels if "scale" in c]


def test_trials_that_are_far_out_wait_at_the_edge_and_are_counted(outlier: Run) -> None:
    x, y = axes_of(outlier.campaign.objective_list)[0]
    spec = draw_front(front_points(outlier), x, y)
    (left, right), (bottom, _) = domains(spec)[:2]
    assert left < 0.9 < 1.2 * 2.1 < right < 3  # the front's error bars, and no logarithm for the sake of 40 ms
    assert 0.6 < bottom < 0.7  # the reference is always shown
    strays = {p["trial"]: p for p in values_of(spec, spec["data"]) if p["role"] == "outside"}
    assert (strays[12]["accuracy"], strays[12]["edge"]) == (bottom, "triangle-down")
    assert (strays[13]["latency_ms"], strays[13]["edge"]) == (right, "triangle-right")
    assert "Triangles at the edge: 1 trial above 2.52 ms, 1 trial below 70.0 %." in figures(outlier)[0].reading


def test_no_triangle_is_mentioned_where_nothing_is_far_out(five: Run) -> None:
    assert not any("Triangle" in f.reading or "below the axis" in f.reading for f in figures(five))


def test_one_failure_does_not_squeeze_accuracy_by_mechanism(outlier: Run) -> None:
    uses = uses_table(outlier)
    spec = draw_mechanisms(uses)
    low, high = domains(spec)[0]
    assert 0.88 < low < 0.90 < 0.988 < high
    dots = {(p["trial"], p["mechanism"]): p for p in values_of(spec, spec["data"])}
    assert dots[12, "pooling"]["mark"] == "triangle-left"
    assert low <= dots[12, "pooling"]["at"] < 0.9 == dots[0, "window"]["at"]
    medians = {p["mechanism"]: p["at"] for p in values_of(spec, spec["layer"][1]["data"])}
    assert medians["window"] == np.median([0.1, *(0.90 + 0.008 * i for i in range(12))])


def test_equal_accuracies_stand_side_by_side(tmp_path: Path) -> None:
    spec = draw_mechanisms(uses_table(run_of(tmp_path, *(trial(i, 0.9) for i in range(30)))))
    offsets = sorted(p["offset"] for p in values_of(spec, spec["data"]))
    assert len(set(offsets)) == 30
    assert offsets[0] == -offsets[-1] == pytest.approx(-7)  # inside the row


def test_colours_stop_where_the_bulk_ends_and_words_stay_true(outlier: Run) -> None:
    spec = draw_stages(uses_table(outlier))
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    stage_one = [0.95, *(0.90 + 0.008 * i for i in range(12))]  # the best median: softmax
    assert scale["clamp"]
    assert scale["domain"] == pytest.approx([0.9, np.median(stage_one)])
    assert {c["label"] for c in values_of(spec, spec["data"]) if c["mechanism"] == "pooling"} == {"10.0 % · 1"}


def test_curves_are_cut_where_they_cross_the_axis(outlier: Run) -> None:
    accuracies = [0.2, 0.8, 0.9, 0.4, 0.95]
    curve = tuple(Point(epoch=e, loss=1, accuracy=a, seconds=e) for e, a in enumerate(accuracies, start=1))
    table = cut_below(curves_table(replace(outlier, trials=(replace(outlier.trials[0], curve=curve),))), 0.5)
    kept = table.dropna(subset="accuracy")
    assert kept["epoch"].tolist() == pytest.approx([1.5, 2, 3, 3.8, 4 + 0.1 / 0.55, 5], abs=0.001)
    np.testing.assert_allclose(kept["accuracy"], np.interp(kept["epoch"], range(1, 6), accuracies), atol=0.001)
    assert table["accuracy"].isna().tolist() == [True, False, False, False, False, True, False, False]


def test_learning_curves_begin_below_the_ends_that_matter(outlier: Run) -> None:
    table = curves_table(outlier)
    assert curves_floor(table) == 0.7  # the reference's
    assert curves_floor(table[table["role"] == "front"]) == 0.9
    assert curves_below(table) == 1


def test_every_chart_is_valid_vega_lite(outlier: Run, five: Run) -> None:
    specs = [f.spec for run in (outlier, five) for f in figures(run) if f.spec]
    assert len(specs) == 17
    for spec in specs:
        assert alt.Chart.from_dict(spec, validate=True)


def test_page_pictures_and_tables_are_written(five: Run) -> None:
    path = write_report(five)
    assert path == five.path / "report" / "index.html"
    for name in ("front", "hypervolume-trials", "hypervolume-time", "mechanisms", "stages", "curves", "phases"):
        with Image.open(path.parent / f"{name}.png") as picture:
            assert picture.size[0] > 1500
            assert len(picture.convert("RGB").getcolors(10**6) or ()) > 20  # something is drawn
        assert "<path" in (path.parent / f"{name}.svg").read_text()
    assert (path.parent / "front.md").read_text().count("\n") == 2 + 3
    assert not list(path.parent.glob(".*"))


def test_page_loads_nothing_from_elsewhere(five: Run) -> None:
    written = html(five)
    markup = re.sub(r"<script[^>]*>.*?</script>", "", written, flags=re.DOTALL)
    assert not re.findall(r"https?:|//[a-z]", markup)
    assert not re.findall(r"<(?:link|img|iframe)[^>]*(?:src|href)=|@import|url\(", markup)
    assert "<script src" not in written
    assert 800_000 < len(written) < 1_500_000
    assert written.count("vega-embed-wrapper") < 10  # the libraries are inside once


def test_names_from_users_cannot_become_markup(five: Run) -> None:
    evil = "</script><script>alert(1)</script><img src=x>"
    bad = replace(five.trials[4], name=evil, error=evil)
    written = html(replace(five, trials=(*five.trials[:4], bad), notes=(evil,), environment={evil: evil}))
    assert evil not in written
    assert "<script>alert" not in written
    assert "<img src=x" not in written
    assert "&lt;img src=x&gt;" in written
    assert json.loads(embedded({"a": evil}))["a"] == evil


def stages_of_a_campaign() -> dict[str, tuple[tuple[Trial, ...], str]]:
    return {
        "nothing yet": ((), "so there is no front yet"),
        "one running": ((trial(0, state="running", error=None, seconds={}),), "so there is no front yet"),
        "one": ((trial(0, 0.8),), "drawn from the second complete trial on"),
        "two equal": ((trial(0, 0.8), trial(1, 0.8)), "needs at least 20 complete trials"),
        "all failed": ((trial(0), trial(1)), "All 2 trials failed"),
        "only a reference": ((trial(0, 0.8, kind="reference", name="deit_mini"),), "The front is empty"),
    }


@pytest.mark.parametrize("case", stages_of_a_campaign())
def test_every_stage_of_a_campaign_gives_a_page_that_says_so(case: str, tmp_path: Path) -> None:
    trials, sentence = stages_of_a_campaign()[case]
    assert sentence in write_report(run_of(tmp_path, *trials)).read_text()


def test_a_rebuilt_report_replaces_the_page_whole(five: Run) -> None:
    one = replace(five, trials=five.trials[:1])
    first = write_report(one)
    inode = first.stat().st_ino
    assert (first.parent / "front.png").exists()
    again = write_report(replace(one, trials=(), status="interrupted"))
    assert again.stat().st_ino != inode  # renamed over, never written in place
    assert "Interrupted: 0 of 50 trials have ended." in again.read_text()
    assert not (again.parent / "front.png").exists()  # no picture of what the page no longer shows


def test_conditions_name_data_recipe_device_and_versions(five: Run) -> None:
    run = replace(five, environment={"device": "cpu", "device_name": "A Processor", "versions": {"torch": "2.13.0"}})
    written = html(run)
    for text in ("digits", "batch_size", "A Processor", "2.13.0", "1970-01-01 00:01 UTC"):
        assert f"<dd>{text}" in written or f"<dt>{text}" in written


def test_conditions_leave_out_the_digests_of_single_dimensions(five: Run) -> None:
    found = dict(conditions(replace(five, environment={"space": {"fingerprint": "abc", "dimensions": {"stem": "d1"}}})))
    assert found["space as found"] == [("fingerprint", "abc")]


def test_the_curves_legend_names_only_classes_drawn_in_colour(five: Run) -> None:
    table = curves_table(five)
    table["role"], table["class"] = "other", "hierarchy"
    table.loc[0, ["role", "class"]] = ["front", "baseline"]
    assert '"domain": ["baseline"]' in json.dumps(draw_curves(table))


def test_networks_that_a_limit_turned_away_are_not_called_trained(tmp_path: Path) -> None:
    turned = [trial(n, state="infeasible", error="latency_ms <= 1 is broken: 2") for n in range(1, 10)]
    run = run_of(tmp_path, trial(0, 0.8), *turned, status="finished")
    words = "1 trial has ended, 9 turned away untrained by a limit; the budget is the training of 50"
    assert state_words(run) == f"Finished: {words}."
    assert "<details><summary>9 of them, one a line</summary>" in html(run)
    assert "<details open>" in html(replace(run, trials=run.trials[:5]))


def test_few_epochs_have_a_tick_each(five: Run) -> None:
    assert '"values": [1, 2]' in json.dumps(draw_curves(curves_table(five)))


def test_a_number_and_its_percent_sign_stay_on_one_line(five: Run) -> None:
    assert "\u00a0%" in html(five)
    assert not re.search(r'<p class="(reading|absent)">[^<]*\d %', html(five))
