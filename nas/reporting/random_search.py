"""The campaign beside random search with the same budget, which was not run: `nas/random_search.py` imagines it."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import losses
from nas.pareto import hypervolume_history, reference_point
from nas.random_search import DRAWS, LOW, RandomSearches, random_searches
from nas.reporting.surrogate import Surrogate
from nas.reporting.theme import ACCENT, QUIET, finish, legend, noun_of, percent, rows
from nas.run import Run
from nas.trial import trained_share

ENOUGH = 12  # complete trials for a model
CAMPAIGN, RANDOM = "this campaign", "random search, imagined"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """spent: trainings so far and own: the hypervolume then, both after each trial, from 0 on."""

    spent: np.ndarray
    own: np.ndarray
    searches: RandomSearches

    @property
    def trials(self) -> int:
        """Whole trainings that random search gets."""
        return int(self.spent[-1] + 1e-9)


def compare(run: Run, surrogate: Surrogate) -> Comparison | str:
    """With random search of as many trainings; or why that cannot be said."""
    done, objectives = run.complete(), run.campaign.objective_list
    if run.campaign.sampler.name == "random":
        return "This campaign is a random search itself, so there is nothing to compare it with."
    if len(done) < ENOUGH:
        return f"What random search would have reached needs {ENOUGH} complete trials; this campaign has {len(done)}."
    pool, known = surrogate.pool, surrogate.history
    if pool is None or sum(t.state == "complete" for t in known) < ENOUGH:
        return "What random search would have reached cannot be said: the campaign's space cannot be made here again."
    reference = reference_point(losses([t.values for t in done], objectives))
    spent, own = _own_course(run, reference)
    searches = random_searches(pool, objectives, surrogate.wide_models, reference, max(1, int(spent[-1])), pool.seed)
    return Comparison(spent=spent, own=own, searches=searches)


def _own_course(run: Run, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trainings spent and hypervolume reached, before the first trial and after each that has ended."""
    ended = sorted((t for t in run.searched() if t.finished is not None), key=lambda t: t.finished or 0.0)
    measured = {t.number for t in run.complete()}
    found = [t for t in ended if t.number in measured]
    volumes = hypervolume_history(losses([t.values for t in found], run.campaign.objective_list), reference)
    after = np.concatenate([[0.0], volumes])[np.cumsum([0, *(t.number in measured for t in ended)])]
    shares = [trained_share(t, run.campaign.training.epochs) for t in ended]
    return np.cumsum([0.0, *shares]), after


def random_search_table(found: Comparison) -> pd.DataFrame:
    """After each training: the campaign's hypervolume, and ends and middle of that of random search."""
    counts = np.arange(found.trials + 1)
    places = np.searchsorted(found.spent, counts + 1e-9, side="right") - 1
    low, middle, high = found.searches.band()[:, np.minimum(counts, found.searches.trials)]
    return pd.DataFrame(
        {"trainings": counts, "campaign": found.own[places], "random_low": low, "random": middle, "random_high": high}
    )


def random_search_words(run: Run, found: Comparison) -> str:
    """What is imagined, the statement as far as it is supported, and what it rests on."""
    drawn = (
        "The dark line is the campaign. The band is random search as imagined by a model of the campaign's own trials, "
        f"noise included; no such trial was run. It holds 90 % of {DRAWS} imagined searches."
    )
    return " ".join(filter(None, [drawn, statement(found), _learnt_words(found.searches), _failed_words(run)]))


def statement(found: Comparison) -> str:
    """Better, worse, or not to be told apart; how many times the trials only where it is better."""
    own, n = float(found.own[-1]), found.trials
    low, middle, high = found.searches.band()[:, min(n, found.searches.trials)]
    chance = found.searches.reaching(own, n)
    reached = f"With {n} networks trained, random search would have reached {middle:.3g} ({low:.3g} to {high:.3g})"
    if low > own:
        return f"{reached}, more than this campaign's {own:.3g}."
    if chance > LOW:
        return (
            f"{reached}, this campaign {own:.3g}: the two cannot be told apart, since {percent(chance)} of the "
            "imagined searches get as far."
        )
    return f"{reached}, this campaign {own:.3g}. {_times_words(found.searches, own, n)}"


def _times_words(searches: RandomSearches, own: float, n: int) -> str:
    """How many times the trials random search would have needed."""
    low, middle, high = searches.trials_for(own) / n
    furthest = f"{searches.trials / n:.2g} times"
    if not np.isfinite(low):
        return f"To get as far it would have needed more than {furthest} as many."
    if not np.isfinite(middle):
        return f"To get as far it would have needed at least {low:.2g} times as many; most do not with {furthest}."
    upper = f"to {high:.2g}" if np.isfinite(high) else f"to more than {searches.trials / n:.2g}"
    return f"To get as far it would have needed about {middle:.2g} times as many (90 %: {low:.2g} {upper})."


def _learnt_words(searches: RandomSearches) -> str:
    if not searches.learnt:
        return ""
    names = " and ".join(noun_of(name) for name in searches.learnt)
    return (
        f"Not known before a trial and so learnt from the trials as well: {names}. A search tries cheap networks more "
        "often than chance does, which can make such a random search look better than it is."
    )


def _failed_words(run: Run) -> str:
    failed = sum(t.state == "failed" for t in run.searched())
    return "Trials of the imagined searches never fail, which favours them as well." if failed else ""


def draw_random_search(table: pd.DataFrame) -> dict[str, Any]:
    """The campaign's staircase before the band of random search."""
    scale = alt.Scale(domain=[CAMPAIGN, RANDOM], range=[ACCENT, QUIET])
    axis = alt.Axis(tickMinStep=1, tickCount=8, grid=False)
    x = alt.X("trainings:Q", title="Networks trained", scale=alt.Scale(nice=False), axis=axis)
    names = {"campaign": CAMPAIGN, "random": RANDOM}
    long = table.melt(["trainings"], list(names), var_name="who", value_name="hypervolume").replace({"who": names})
    band = alt.Chart(rows(table)).mark_area(color=QUIET, opacity=0.18).encode(
        x=x, y=alt.Y("random_low:Q", title="Hypervolume", scale=alt.Scale(domainMin=0)), y2="random_high:Q",
    )  # fmt: skip
    lines = alt.Chart(rows(long)).mark_line(interpolate="step-after", strokeWidth=2).encode(
        x=x, y=alt.Y("hypervolume:Q", title="Hypervolume", axis=alt.Axis(tickCount=5)),
        color=alt.Color("who:N", scale=scale, legend=legend(2)),
        tooltip=["who:N", "trainings:Q", alt.Tooltip("hypervolume:Q", format=".4g")],
    )  # fmt: skip
    return finish(alt.layer(band, lines), height=280)
