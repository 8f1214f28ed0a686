"""What the commands show, sample and search print, as plain data first."""

from pathlib import Path
from typing import Any

import numpy as np

from evaluators.cost import BYTES, count
from nas.architecture import ArchitectureConfig, make_config, read_config, save_config
from nas.errors import UserError, unknown
from nas.genotype import Genotype
from nas.listing import print_rows
from nas.registry import Registry
from nas.run import Run
from nas.session import Setup, prepare
from search_spaces.mixers import MIXERS
from search_spaces.structures import BRIDGES, FUSIONS
from search_spaces.vit import SPACES, make_space
from search_spaces.zoo import ZOO, ZooEntry


def describe(config: str) -> dict[str, Any]:
    """A config file or a zoo name, part by part. Costs are exact and per image."""
    genotype, inputs, name = load_architecture(config)
    report = count(genotype, **inputs)
    rows = [
        {
            "stage": r.stage,
            "block": r.block,
            "part": r.part,
            "name": r.name,
            "tokens": r.tokens,
            "params": r.cost.params,
            "macs": r.cost.macs,
            "activation_kb": r.cost.activations * BYTES / 1e3,
            "class": taxonomy_of(r.name, r.part) if r.part in _CLASSED else None,
        }
        for r in report.rows
    ]
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


def load_architecture(config: str) -> tuple[Genotype, dict[str, Any], str]:
    """The genotype, the input and the name of a config file or a zoo network."""
    found = find_architecture(config)
    if isinstance(found, ZooEntry):
        size, classes = found.image_size, found.classes
        return found.build(size), {"image_size": size, "in_chans": 3, "classes": classes}, config
    inputs = {"image_size": found.input.image_size, "in_chans": found.input.in_chans, "classes": len(found.classes)}
    return found.network, inputs, found.name


def find_architecture(config: str) -> ZooEntry | ArchitectureConfig:
    """What a path to a config file, or else the name of a zoo network, stands for. Raises UserError for neither."""
    if config in ZOO and not Path(config).exists():
        return ZOO[config]
    if not Path(config).exists() and not config.endswith((".yaml", ".yml")):
        raise unknown("config file or zoo network", config, ZOO)
    return read_config(config)


_CLASSED: dict[str, Registry[Any]] = {"mixer": MIXERS, "fusion": FUSIONS, "bridge": BRIDGES}


def taxonomy_of(name: str, part: str = "mixer") -> str:
    """The classes of one block's mixers, written as in a row of costs: `window(divisions=2) | softmax`."""
    kinds = [each.partition("(")[0].strip() for each in name.split("|")]
    return " + ".join(dict.fromkeys(_CLASSED[part][k].about.taxonomy for k in kinds))


def print_description(data: dict[str, Any]) -> None:
    """The description as a table on stdout."""
    totals = data["totals"]
    print(f"{data['name']}: {data['architecture']}")
    print(f"image {data['image_size']}, {data['classes']} classes, hash {data['hash']}")
    print(f"{totals['params']:,} parameters, {totals['macs']:,} MACs")
    print(f"{totals['memory_mb']:.3g} MB of weights and activations in float32")
    print(f"taxonomy: {', '.join(data['taxonomy'])}\n")
    print_rows(
        [
            r | {"params": f"{r['params']:,}", "macs": f"{r['macs']:,}", "activation_kb": f"{r['activation_kb']:.1f}"}
            for r in data["parts"]
        ]
    )


def sample_architectures(
    source: str, *, count: int, seed: int, output: Path | None = None, image_size: int | None = None
) -> list[str]:
    """Random valid architectures of a space, or of a campaign's space under its constraints; paths if written."""
    rng = np.random.default_rng(seed)
    if source in SPACES:
        size = image_size or (224 if source == "vit_224" else 32)
        space, proposer = make_space(source, image_size=size, in_chans=3, classes=10), None
        names: tuple[str, ...] = tuple(str(i) for i in range(10))
    elif Path(source).exists() or source.endswith((".yaml", ".yml")):
        from nas.campaign import load_campaign

        if image_size is not None:
            raise UserError("--image-size: the campaign says the size of its pictures; leave it out")
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
        "data": f"{data.name}: {len(data.train_x)} training and {len(data.val_x)} validation pictures, "
        f"{data.classes} classes, {data.in_chans}x{data.image_size}x{data.image_size}",
        "device": setup.device,
        "space": f"{setup.space.name}, {len(setup.space.dimensions)} dimensions",
        "objectives": ", ".join(f"{o.name} ({o.direction})" for o in campaign.objective_list),
        "costs": _source_words(setup),
        "constraints": ", ".join(map(str, campaign.constraint_list)) or "none",
        "feasible": f"{share:.0%} of 200 random networks satisfy the constraints that are known before training",
        "budget": f"{campaign.budget.trials} trials, {campaign.budget.minutes:g} minutes",
        "workers": str(campaign.execution.workers),
        "references": ", ".join(campaign.references) or "none",
    }
    return [f"{k:12} {v}" for k, v in facts.items()], facts


def _feasible_share(setup: Setup) -> float:
    rng, limits = np.random.default_rng(setup.campaign.seed), setup.proposer.constraints
    known = setup.costs.many([setup.space.decode(setup.space.sample(rng)) for _ in range(200)])
    return sum(all(c.holds(k.values[c.metric]) for c in limits) for k in known) / 200


def _source_words(setup: Setup) -> str:
    """Where each cost of a device comes from."""
    campaign, words = setup.campaign, [f"{name} measured here" for name in setup.campaign.measured()]
    for name, source in campaign.predicted().items():
        made = "" if name in setup.profiles.by_metric else f", made before the search in {source.minutes:g} min"
        words.append(f"{name} by profile {source.file or 'in the run folder'}{made}")
    return "; ".join(words) or "all costs follow from the architecture"


def search_json(run: Run) -> dict[str, Any]:
    """The result of a search for a program."""
    return {
        "run": str(run.path),
        "status": run.status,
        "report": str(run.path / "report" / "index.html"),
        "trials": len(run.searched()),
        "front": [
            {
                "trial": t.number,
                "hash": t.hash,
                "architecture": str(t.genotype),
                "values": t.values,
                "test_accuracy": run.test_accuracy.get(t.number),
                "config": str(run.path / "configs" / f"trial-{t.number:04d}.yaml"),
            }
            for t in run.front()
        ],
    }
