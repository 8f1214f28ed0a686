"""The mechanisms benchmark: its arithmetic by hand, its failures as rows, and a tiny run from end to end."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mechanism_cases import FAMILIES, OFFICIAL, Case, cases, make_case, make_layer, official_times, refusal
from mechanism_figure import draw_times, times_table
from mechanism_table import compare, exponent, table, warnings
from mechanism_timing import Settings, peak_memory_mb
from mechanisms import merged, run

from nas.errors import UserError
from nas.genotype import Atom
from search_spaces.mixers import MIXERS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "mechanisms.py"
QUICK = Settings(threads=1, rounds=2, seconds=0.1)


def timed(length: int, forward: float, batch: int = 1, official: str = "efficient_attention") -> dict[str, Any]:
    case = replace(make_case("mixer", "efficient", official, length), batch=batch)
    times = {"forward": forward, "both": 3 * forward, "fused_forward": 10.0, "fused_both": 40.0, "memory_mb": 7.0}
    return {**case.to_json(), "mechanism": case.kind, "linear": True, **times}


@pytest.mark.parametrize("power", [1, 2])
def test_the_exponent_of_a_power_law_is_its_power(power: int) -> None:
    rows = [timed(n, 2.0 * batch * (n / 784) ** power, batch) for n, batch in ((784, 32), (3136, 8), (12544, 2))]
    assert exponent(rows, "forward") == pytest.approx(power)
    assert [f"power of {power:.2f}" in w for w in warnings(compare(rows, None))] == [True] * (power == 2)


def test_ratios_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    times.write_text("mechanism,N,fwd_ms,fwdbwd_ms,mha_fwd_ms,mha_fwdbwd_ms\nefficient_attention,3136,20,60,40,80\n")
    [row] = compare([timed(3136, 4.0)], times)
    assert (row["fast"], row["fast_both"]) == pytest.approx((0.4, 0.3))
    assert (row["authors"], row["authors_both"]) == pytest.approx((0.8, 0.4))
    assert warnings([row]) == []
    assert "exponent" not in row
    [slow] = compare([timed(3136, 8.0)], times)
    assert warnings([slow]) == ["efficient at 3136 takes 1.60 times the authors' time forward"]


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("length", [196, 3136])
def test_the_authors_settings_are_known_and_fit(name: str, length: int) -> None:
    family, *settings = OFFICIAL[name]
    atom = Atom.parse(settings[length == 3136])
    case = make_case(family, atom.kind, name, length)
    assert atom.kind in FAMILIES[family]
    assert (case.atom, case.refused) == (str(atom), None)


def test_every_mixer_is_a_case_at_every_length() -> None:
    found = cases([16, 64], [])
    assert {(c.kind, c.length) for c in found if c.family == "mixer"} == {
        (kind, n) for kind in MIXERS if MIXERS[kind].reach != "none" for n in (16, 64)
    }
    assert all(c.refused == refusal(replace(c, refused=None)) for c in found)


@pytest.mark.parametrize("case", [c for c in cases([64], [], batch=2) if not c.refused], ids=lambda c: c.official)
def test_every_case_is_built_and_runs(case: Case) -> None:
    x = torch.randn(case.batch, case.length, case.dim)
    assert torch.isfinite(make_layer(case).eval()(x)).all()


def test_mistakes_are_one_line_with_what_would_work() -> None:
    with pytest.raises(UserError, match="did you mean 'window'"):
        cases([16], ["windw"])
    with pytest.raises(UserError, match="50 tokens are no square map; 49 are"):
        cases([50], [])


def test_a_failure_is_a_row() -> None:
    case = make_case("mixer", "efficient", "efficient_attention", 16, batch=1)
    [failed] = compare([run(replace(case, atom="efficient(colour=3)"), QUICK, 120)], None)
    assert "colour" in failed["error"]
    assert "colour" in table([failed])
    assert "failed" in warnings([failed])[0]
    [refused] = compare([run(replace(case, refused="too small"), QUICK, 120)], None)
    assert "refused: too small" in table([refused])


@pytest.mark.slow
def test_a_tiny_run_measures_what_it_names(tmp_path: Path) -> None:
    words = ["--lengths", "16", "--mechanisms", "softmax,tome", "--batch", "1", "--threads", "1", "--rounds", "2"]
    words += ["--seconds", "0.1", "--json", str(tmp_path / "out.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["cpu"]["rows"]
    assert [(r["family"], r["mechanism"]) for r in rows] == [("mixer", "softmax"), ("reducer", "tome")]
    assert all(r[key] > 0 for r in rows for key in ("forward", "both", "fused_forward", "fused_both"))
    assert done.stdout.startswith("| mechanism | N |")
    assert "| `softmax` | 16 |" in done.stdout


def test_peak_memory_sees_what_a_call_takes() -> None:
    megabytes = peak_memory_mb(lambda: torch.ones(16 * 2**20).sum().item(), torch.device("cpu"))
    if megabytes is None:
        pytest.skip("no resident set to read on this system")
    assert 60 <= megabytes <= 80  # 64, and what the process touches besides


def test_new_figures_replace_their_own_rows_alone() -> None:
    old = {"conditions": {"threads": 2, "date": "1"}, "rows": [timed(196, 1.0), timed(784, 2.0)]}
    new = {"conditions": {"threads": 2, "date": "2"}, "rows": [timed(784, 3.0)]}
    assert [r["forward"] for r in merged(old, new)["rows"]] == [1.0, 3.0]
    other = {**new, "conditions": {"threads": 1, "date": "2"}}
    assert [r["forward"] for r in merged(old, other)["rows"]] == [3.0]


def test_the_figure_shows_every_measured_mixer_cheapest_first() -> None:
    dear = {**timed(3136, 9.0), "mechanism": "agent", "official": "agent"}
    rows = compare([timed(196, 5.0), timed(3136, 1.0), dear], None)
    drawn = times_table({"cpu": {"conditions": {"threads": 2}, "rows": rows}})
    assert list(drawn["mechanism"]) == ["efficient", "efficient", "agent"]
    assert list(drawn["ratio"]) == pytest.approx([0.5, 0.1, 0.9])
    assert draw_times(drawn, "title")["layer"]


def test_official_times_are_over_fused_attention(tmp_path: Path) -> None:
    assert official_times(tmp_path / "absent.csv") == {}
