"""What the commands show, sample, list and search print, as plain data first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.cost import BYTES, count
from nas.architecture import ArchitectureConfig, make_config, read_config, save_config
from nas.errors import UserError, unknown
from nas.genotype import Genotype
from nas.objective import METRICS
from nas.run import Run
from nas.session import Setup, prepare
from search_spaces.mixers import MIXERS
from search_spaces.vit import SPACES, make_space
from search_spaces.zoo import ZOO

Rows = list[dict[str, Any]]


def describe(config: str) -> dict[str, Any]:
    """A config file or a zoo name, part by part. Costs are exact and per image."""
    genotype, inputs, name = _load(config)
    report = count(genotype, **inputs)
    rows = [
        {
            "stage": r.stage, "block": r.block, "part": r.part, "name": r.name, "tokens": r.tokens, "params": r.cost.params,
            "macs": r.cost.macs, "activation_kb": r.cost.activations * BYTES / 1e3, "class": taxonomy_of(r.name) if r.part == "mixer" else None,
        }
        for r in report.rows
    ]  # fmt: skip
    return {
        "name": name,
        "architecture": str(genotype),
        "hash": genotype.hash(),
        "image_size": inputs["image_size"],
        "classes": inputs["classes"],
        "totals": {"params": report.total.params, "macs": report.total.macs, **report.metrics()},
        "taxonomy": sorted({r["class"] for r in rows if r["class"]}),
        "parts": rows,
    }


def _load(config: str) -> tuple[Genotype, dict[str, Any], str]:
    if config in ZOO and not Path(config).exists():
        entry = ZOO[config]
        return (
            entry.build(entry.image_size),
            {"image_size": entry.image_size, "in_chans": 3, "classes": entry.classes},
            config,
        )
    if not Path(config).exists() and not config.endswith((".yaml", ".yml")):
        raise unknown("config file or zoo network", config, ZOO)
    read = read_config(Path(config))
    inputs = {"image_size": read.input.image_size, "in_chans": read.input.in_chans, "classes": len(read.classes)}
    return Genotype.from_json(read.genotype), inputs, read.name


def taxonomy_of(name: str) -> str:
    """The classes of one block's mixers, written as in a row of costs: `window(divisions=2) | softmax`."""
    kinds = [part.partition("(")[0].strip() for part in name.split("|")]
    return " + ".join(dict.fromkeys(MIXERS[k].about.taxonomy for k in kinds))


def print_description(data: dict[str, Any]) -> None:
    """The description as a table on stdout."""
    totals = data["totals"]
    print(f"{data['name']}: {data['architecture']}")
    print(f"image {data['image_size']}, {data['classes']} classes, hash {data['hash']}")
    print(
        f"{totals['params']:,} parameters, {totals['macs']:,} MACs, {totals['memory_mb']:.3g} MB weights and activations in float32"
    )
    print(f"taxonomy: {', '.join(data['taxonomy'])}\n")
    print_rows([
        {**r, "params": f"{r['params']:,}", "macs": f"{r['macs']:,}", "activation_kb": f"{r['activation_kb']:.1f}", "class": r["class"] or ""}
        for r in data["parts"]
    ])  # fmt: skip


def sample_architectures(
    source: str, *, count: int, seed: int, output: Path | None = None, image_size: int | None = None
) -> list[str]:
    """Random valid architectures of a space, or of a campaign's space under its constraints; paths where they are written."""
    rng = np.random.default_rng(seed)
    if source in SPACES:
        size = image_size or (224 if source == "vit_224" else 32)
        space, proposer = make_space(source, image_size=size, in_chans=3, classes=10), None
        names: tuple[str, ...] = tuple(str(i) for i in range(10))
    elif Path(source).exists() or source.endswith((".yaml", ".yml")):
        from nas.campaign import load_campaign

        setup = prepare(load_campaign(source))
        space, proposer, names = setup.space, setup.proposer, setup.dataset.class_names
    else:
        raise unknown("space or campaign file", source, SPACES)
    found = []
    for i in range(count):
        code = space.sample(rng)
        if proposer is not None:
            code = proposer.repair(code, rng, steps=400)
        genotype = space.decode(code)
        config = make_config(
            genotype, name=f"sample-{i}", image_size=space.image_size, in_chans=space.in_chans, classes=names
        )
        found.append(_write_or_show(config, genotype, output, i))
    return found


def _write_or_show(config: ArchitectureConfig, genotype: Genotype, output: Path | None, index: int) -> str:
    if output is None:
        return f"{genotype.hash()}  {genotype}"
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"sample-{index:04d}.yaml"
    save_config(config, path)
    return str(path)


def dry_run_lines(setup: Setup) -> tuple[list[str], dict[str, Any]]:
    """What a campaign would do: data, space, feasible share of random networks, budget."""
    campaign, data = setup.campaign, setup.dataset
    share = _feasible_share(setup)
    facts = {
        "campaign": campaign.name,
        "data": f"{data.name}: {len(data.train_x)} training and {len(data.val_x)} validation pictures, {data.classes} classes, "
        f"{data.in_chans}x{data.image_size}x{data.image_size}",
        "device": setup.device,
        "space": f"{setup.space.name}, {len(setup.space.dimensions)} dimensions",
        "objectives": ", ".join(f"{o.name} ({o.direction})" for o in campaign.objective_list),
        "constraints": ", ".join(map(str, campaign.constraint_list)) or "none",
        "feasible": f"{share:.0%} of 200 random networks satisfy the constraints that are known before training",
        "budget": f"{campaign.budget.trials} trials, {campaign.budget.minutes:g} minutes, {campaign.execution.workers} workers",
        "references": ", ".join(campaign.references) or "none",
    }
    return [f"{k:12} {v}" for k, v in facts.items()], facts


def _feasible_share(setup: Setup) -> float:
    rng, good = np.random.default_rng(setup.campaign.seed), 0
    for _ in range(200):
        costs = setup.costs(setup.space.decode(setup.space.sample(rng)))
        good += all(c.holds(costs[c.metric]) for c in setup.proposer.constraints)
    return good / 200


def search_json(run: Run) -> dict[str, Any]:
    """The result of a search for a program."""
    return {
        "run": str(run.path),
        "status": run.status,
        "report": str(run.path / "report" / "index.html"),
        "trials": len(run.searched()),
        "front": [
            {
                "trial": t.number, "hash": t.hash, "architecture": str(t.genotype), "values": t.values,
                "test_accuracy": run.test_accuracy.get(t.number), "config": str(run.path / "configs" / f"trial-{t.number:04d}.yaml"),
            }
            for t in run.front()
        ],
    }  # fmt: skip


def list_spaces() -> Rows:
    rows = []
    for name in SPACES:
        space = make_space(name, image_size=224 if name == "vit_224" else 32, in_chans=3, classes=10)
        rows.append({"name": name, "dimensions": len(space.dimensions), "about": _doc(SPACES[name])})
    return rows


def list_mechanisms() -> Rows:
    return [
        {
            "name": name, "class": m.about.taxonomy, "group": m.about.group, "complexity": m.about.complexity,
            "paper": m.about.paper, "arxiv": m.about.arxiv, "search": {k: list(v) for k, v in m.search.items()},
        }
        for name, m in MIXERS.items()
    ]  # fmt: skip


def list_samplers() -> Rows:
    from nas.samplers import SAMPLERS

    return [{"name": n, "about": _doc(s)} for n, s in SAMPLERS.items()]


def list_evaluators() -> Rows:
    from evaluators.registry import EVALUATORS

    rows = [{"name": n, "metrics": ", ".join(e.metrics), "about": e.about} for n, e in EVALUATORS.items()]
    return [{**r, "units": ", ".join(METRICS[m].unit for m in r["metrics"].split(", ") if m in METRICS)} for r in rows]


def list_datasets() -> Rows:
    from evaluators.data import DATASETS

    forms = [
        ("a folder", "pictures in one sub-folder per class, optionally below train/, val/, test/"),
        ("*.parquet", "Hugging Face layout: an image column of encoded pictures and a label column"),
        ("*.npz", "train_images, train_labels, ... as in MedMNIST"),
        ("a folder of *-ubyte files", "IDX files as in MNIST, gzipped or not"),
    ]
    return [{"name": n, "about": _doc(d)} for n, d in DATASETS.items()] + [{"name": n, "about": a} for n, a in forms]


def list_zoo() -> Rows:
    rows = []
    for name, entry in ZOO.items():
        total = count(entry.build(entry.image_size), image_size=entry.image_size, classes=entry.classes).total
        rows.append({
            "name": name, "params": total.params, "macs": total.macs, "input": entry.image_size, "classes": entry.classes,
            "paper": entry.paper, "arxiv": entry.arxiv, "source": entry.source,
        })  # fmt: skip
    return rows


LISTS: dict[str, Callable[[], Rows]] = {
    "spaces": list_spaces,
    "mechanisms": list_mechanisms,
    "samplers": list_samplers,
    "evaluators": list_evaluators,
    "datasets": list_datasets,
    "zoo": list_zoo,
}


def _doc(thing: Any) -> str:
    text = (thing.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""


def print_rows(rows: Rows) -> None:
    """Aligned columns on stdout; numbers to the right."""
    if not rows:
        raise UserError("nothing to list")
    names = list(rows[0])
    cells = [[_cell(r.get(n)) for n in names] for r in rows]
    widths = [max(len(n), *(len(c[i]) for c in cells)) for i, n in enumerate(names)]
    right = [all(c[i].replace(",", "").replace(".", "").isdigit() for c in cells) for i in range(len(names))]
    for line in [names, *cells]:
        print("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} {'|'.join(map(str, v))}" for k, v in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
