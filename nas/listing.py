"""What there is to choose from: spaces, mechanisms, samplers, rules, evaluators, data sets, published networks."""

import re
from collections.abc import Callable
from typing import Any

from evaluators.cost import count
from nas.errors import UserError, unknown
from nas.objective import METRICS
from search_spaces.catalog import entries
from search_spaces.vit import SPACES, make_space
from search_spaces.zoo import NOT_EXPRESSED, ZOO

Rows = list[dict[str, Any]]
REASON = "not_expressed"  # key of a network that no genotype can say


def list_spaces() -> Rows:
    rows = []
    for name in SPACES:
        space = make_space(name, image_size=224 if name == "vit_224" else 32, in_chans=3, classes=10)
        rows.append({"name": name, "dimensions": len(space.dimensions), "about": _doc(SPACES[name])})
    return rows


def list_mechanisms() -> Rows:
    """Mixers first, then what stands around them; docs/mechanisms.md says more of each."""
    return [
        {
            "name": e.name,
            "family": e.family,
            "class": e.taxonomy,
            "group": e.group,
            "complexity": e.complexity,
            "paper": re.sub(r",? ?arXiv \d{4}\.\d{5}", "", e.source),
            "arxiv": e.arxiv,
            "search": {k: list(v) for k, v in e.search.items()},
        }
        for e in sorted(entries(own=False), key=lambda e: e.family != "mixer")
    ]


def list_samplers() -> Rows:
    from nas.samplers import SAMPLERS

    return [{"name": n, "about": _doc(s)} for n, s in SAMPLERS.items()]


def list_rules() -> Rows:
    """Of early stopping; `fidelity.name` in a campaign."""
    from nas.fidelity import RULES

    return [{"name": n, "about": _doc(r)} for n, r in RULES.items()]


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
    """Published and small networks, then those that cannot be said, with the reason."""
    rows: Rows = []
    for name, entry in sorted(ZOO.items(), key=lambda item: item[1].small):
        total = count(entry.build(entry.image_size), image_size=entry.image_size, classes=entry.classes).total
        rows.append(
            {
                "name": name,
                "params": total.params,
                "macs": total.macs,
                "input": entry.image_size,
                "classes": entry.classes,
                "accuracy": entry.accuracy,
                "accuracy_source": entry.accuracy_source,
                "paper": entry.paper,
                "arxiv": entry.arxiv,
                "source": entry.source,
            }
        )
    return rows + [{"name": name, REASON: reason} for name, reason in NOT_EXPRESSED.items()]


LISTS: dict[str, Callable[[], Rows]] = {
    "spaces": list_spaces,
    "mechanisms": list_mechanisms,
    "samplers": list_samplers,
    "rules": list_rules,
    "evaluators": list_evaluators,
    "datasets": list_datasets,
    "zoo": list_zoo,
}


def _doc(thing: Any) -> str:
    text = (thing.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""


def list_choices(what: str) -> Rows:
    """Rows of one list by its name; raises UserError naming the lists."""
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return LISTS[what]()


def print_rows(rows: Rows) -> None:
    """Aligned columns on stdout; numbers to the right. What cannot be expressed follows with the reason."""
    if not rows:
        raise UserError("nothing to list")
    rest = [row for row in rows if REASON in row]
    rows = [row for row in rows if REASON not in row]
    _print_table(rows)
    for row in rest:
        print(f"{row['name']}  not expressed: {row[REASON]}")


def _print_table(rows: Rows) -> None:
    names = list(rows[0])
    cells = [[_cell(r.get(n)) for n in names] for r in rows]
    widths = [max(len(n), *(len(c[i]) for c in cells)) for i, n in enumerate(names)]
    right = [all(c[i].replace(",", "").replace(".", "").isdigit() for c in cells if c[i]) for i in range(len(names))]
    for line in [names, *cells]:
        print("  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} {'|'.join('none' if one is None else str(one) for one in v)}" for k, v in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
