"""What a campaign cost: wall time, worker time by phase, and how its trials ended."""

from typing import Any

import altair as alt
import pandas as pd

from evaluators.energy import GRID_G_PER_KWH, co2e_g
from nas.reporting.tables import PHASES
from nas.reporting.theme import duration, finish, legend, rows
from nas.run import Run
from nas.trial import STATES

PHASE_COLOURS = {"train": "#0072B2", "measure": "#009E73", "wait": "#E69F00", "setup": "#8a94a0"}


def phases_table(run: Run) -> pd.DataFrame:
    """Worker seconds by phase over all trials, references included, and their share of the whole."""
    seconds = {p: sum(t.seconds.get(p, 0.0) for t in run.trials) for p in PHASES}
    total = sum(seconds.values())
    records = [{"phase": p, "seconds": s, "share": s / total if total else 0.0} for p, s in seconds.items()]
    return pd.DataFrame(records, columns=["phase", "seconds", "share"])


def states_table(run: Run) -> pd.DataFrame:
    """How many search trials and references stand in each state."""
    records = [
        {
            "state": s,
            "search": sum(t.state == s for t in run.searched()),
            "references": sum(t.state == s for t in run.references()),
        }
        for s in STATES
    ]
    table = pd.DataFrame(records, columns=["state", "search", "references"])
    return table[table["search"] + table["references"] > 0].reset_index(drop=True)


def energy_pairs(run: Run) -> list[tuple[str, str]]:
    """What the trials took, and the CO2 equivalent of that; empty for a record that says nothing of power."""
    joules = energy_joules(run)
    if joules is None:
        return []
    wh = joules / 3600
    shown = f"{wh / 1000:.2f} kWh" if wh >= 1000 else f"{wh:.3g} Wh"
    grams = co2e_g(joules)
    return [("energy of the trials", shown), ("CO₂e", f"{grams / 1000:.2f} kg" if grams >= 1000 else f"{grams:.3g} g")]


def energy_joules(run: Run) -> float | None:
    """Counted where the hardware counts, else worker time without waiting x the watts of a trial at work."""
    power = run.environment.get("power") or {}
    if "watts" not in power:
        return None
    busy = (t for t in run.trials if t.joules is None)
    seconds = sum(s for t in busy for phase, s in t.seconds.items() if phase != "wait")
    return sum(t.joules or 0.0 for t in run.trials) + power["watts"] * seconds


def energy_method(run: Run) -> str:
    """How the energy is known."""
    if energy_joules(run) is None:
        return ""
    power, counted = run.environment["power"], sum(t.joules is not None for t in run.trials)
    grid = f"CO₂e at {GRID_G_PER_KWH:g} g/kWh, the world's mean of 2024 (Ember)"
    if counted == 0:
        return f"Energy is estimated: worker time without waiting × {power['watts']:g} W. {grid}."
    rest = "" if counted == len(run.trials) else f", and estimated from {power['watts']:g} W for the others"
    return f"Energy is measured for {counted} trials ({power['method']}; shared equally between workers){rest}. {grid}."


def draw_phases(table: pd.DataFrame) -> dict[str, Any]:
    """One bar of worker time, cut by phase."""
    kept = table[table["seconds"] > 0]
    words = [f"{p} {duration(s)} ({100 * share:.0f} %)" for p, s, share in kept.itertuples(index=False)]
    shown = kept.assign(words=words, order=range(len(kept)), minutes=kept["seconds"] / 60)
    colours = [PHASE_COLOURS[p] for p in kept["phase"]]
    axis = alt.Axis(grid=False, tickCount=5)
    bar = alt.Chart(rows(shown)).mark_bar(height=30).encode(
        x=alt.X("minutes:Q", title="Worker minutes", scale=alt.Scale(nice=False), axis=axis),
        color=alt.Color("words:N", scale=alt.Scale(domain=words, range=colours), legend=legend(4, 1)),
        order="order:Q",
        tooltip=alt.Tooltip("words:N", title="Phase"),
    )  # fmt: skip
    return finish(bar, height=46)
