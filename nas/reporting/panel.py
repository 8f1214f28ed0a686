"""What stands in words about a trial: its numbers, its network, its stages."""

from typing import Any

from nas.genotype import Atom, Genotype, Stage
from nas.objective import in_order
from nas.reporting.classes import block_shares, main_class
from nas.reporting.theme import duration, interval, name_of, number
from nas.run import Run
from nas.trial import Trial


def panel(run: Run, trial: Trial) -> dict[str, Any]:
    """What a click on a trial shows."""
    pairs = [(name_of(n), " · ".join(filter(None, measured(trial, n)))) for n in metrics_of(run) if n in trial.values]
    if trial.number in run.test_accuracy:
        pairs.append(("Test accuracy", number("accuracy", run.test_accuracy[trial.number])))
    if trial.seconds:
        pairs.append(("Worker time", duration(sum(trial.seconds.values()))))
    return {
        "name": trial.name, "hash": trial.hash, "state": trial.state, "class": main_class(trial.genotype),
        "values": pairs, "network": network_words(trial.genotype),
        "stages": [stage_words(s) for s in trial.genotype.stages],
        "notes": [*trial.notes, *([trial.error] if trial.error else [])],
    }  # fmt: skip


def measured(trial: Trial, metric: str) -> tuple[str, str]:
    """A value and its interval in words; the interval may be empty."""
    if metric not in trial.intervals:
        return number(metric, trial.values.get(metric)), ""
    low, high = trial.intervals[metric]
    return number(metric, trial.values.get(metric)), interval(metric, low, high)


def metrics_of(run: Run) -> list[str]:
    """Objectives first, then whatever else was measured."""
    seen = in_order(n for t in run.trials for n in t.values)
    return list(dict.fromkeys([*(o.name for o in run.campaign.objective_list), *seen]))


def network_words(genotype: Genotype) -> list[tuple[str, str]]:
    """The parts outside the stages that are there."""
    prefix = [
        *(["class token"] if genotype.cls_token else []),
        *([f"{genotype.registers} register{'s' if genotype.registers > 1 else ''}"] if genotype.registers else []),
    ]
    parts = {
        "Topology": genotype.topology, "Stem": atom_words(genotype.stem), "Second stem": atom_words(genotype.stem_b),
        "Position": atom_words(genotype.position),
        "Prefix": ", ".join(prefix) or "none", "Reduction": atom_words(genotype.reduction),
        "Fusion": atom_words(genotype.fusion), "Bridge": atom_words(genotype.bridge), "Head": atom_words(genotype.head),
    }  # fmt: skip
    return [(name, text) for name, text in parts.items() if text != "none"]


def stage_words(stage: Stage) -> dict[str, Any]:
    """A stage in one heading and one line each for what fills it."""
    mixers = [f"{share:g} × {kind}" for kind, share in block_shares(stage).items()]
    atoms = [atom_words(a) for a in (stage.a, stage.b) if a is not None]
    ways = {"headmix": f", {stage.share:g} of the heads the first", "then": ", one after the other"}
    sharing = ways.get(stage.mode, "") if stage.b is not None else ""
    extras = [("Down", stage.down), ("Local", stage.local), ("FFN", stage.ffn), ("Norm", stage.norm)]
    blocks = "1 block" if stage.depth == 1 else f"{stage.depth} blocks"
    return {
        "heading": f"{stage.width} channels, {blocks}, head size {stage.head_dim}",
        "lines": [("Mixers", ", ".join(mixers)), ("Components", " and ".join(atoms) + sharing)]
        + [(name, atom_words(atom)) for name, atom in extras if atom.kind != "none"],
    }


def atom_words(atom: Atom) -> str:
    """window (divisions 2); fractions to three digits."""
    inside = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in atom.params.items())
    return f"{atom.kind} ({inside})" if inside else atom.kind
