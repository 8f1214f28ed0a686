"""What there is to choose from: spaces, mechanisms, samplers, evaluators, data sets, published networks."""

from collections.abc import Callable
from typing import Any

from evaluators.cost import count
from nas.errors import UserError, unknown
from nas.objective import METRICS
from search_spaces.mixers import MIXERS
from search_spaces.vit import SPACES, make_space
from search_spaces.zoo import ZOO

Rows = list[dict[str, Any]]


def list_spaces() -> Rows:
    rows = []
    for name in SPACES:
        space = make_space(name, image_size=224 if name == "vit_224" else 32, in_chans=3, classes=10)
        rows.append({"name": name, "dimensions": len(space.dimensions), "about": _doc(SPACES[name])})
    return rows


def list_mechanisms() -> Rows:
    return [
        {
            "name": name,
            "class": m.about.taxonomy,
            "group": m.about.group,
            "complexity": m.about.complexity,
            "paper": m.about.paper,
            "arxiv": m.about.arxiv,
            "search": {k: list(v) for k, v in m.search.items()},
        }
        for name, m in MIXERS.items()
    ]


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
        rows.append(
            {
                "name": name,
                "params": total.params,
                "macs": total.macs,
                "input": entry.image_size,
                "classes": entry.classes,
                "paper": entry.paper,
                "arxiv": entry.arxiv,
                "source": entry.source,
            }
        )
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


def list_choices(what: str) -> Rows:
    """Rows of one list by its name; raises UserError naming the lists."""
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return LISTS[what]()


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
