"""Which trials of a run are meant: the knee of its front, the best, all, one by number, or the best within limits."""

from nas.errors import UserError, unknown
from nas.objective import Constraint, check_metric, losses
from nas.pareto import knee_index
from nas.run import Run
from nas.trial import Trial

WORDS = ("knee", "best", "all")
CHOICES = 'knee, best, all, trial:N, or limits such as "latency_ms<=2"'


def select(run: Run, text: str) -> list[Trial]:
    """The trials that `text` names, at least one. Several names may be separated by commas.

    knee: the front member with the best balance. best: the most accurate one. all: the whole front. trial:N: any trial,
    references too. Limits pick the most accurate front member that keeps all of them. Raises UserError.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError(f"--select: nothing named; choices: {CHOICES}")
    limits = [_limit(word) for word in words if _is_limit(word)]
    found: dict[int, Trial] = {}
    for word in (w for w in words if not _is_limit(w)):
        found |= {t.number: t for t in _by_word(run, word)}
    if limits:
        best = _within(run, limits)
        found[best.number] = best
    return list(found.values())


def _by_word(run: Run, word: str) -> list[Trial]:
    if word.startswith("trial:"):
        return [_by_number(run, word)]
    if word not in WORDS:
        raise unknown("choice", word, [*WORDS, "trial:N", "latency_ms<=2"], "--select")
    front = _front(run)
    if word == "all":
        return front
    if word == "best":
        return [_best(front)]
    return [front[knee_index(losses([t.values for t in front], run.campaign.objective_list))]]


def _by_number(run: Run, word: str) -> Trial:
    text = word.removeprefix("trial:").strip()
    by_number = {str(t.number): t for t in run.trials}
    if text.lstrip("0") not in by_number and text not in by_number:
        raise UserError(f"--select: no trial {text!r} in {run.path}; {_numbers(run)}")
    return by_number.get(text) or by_number[text.lstrip("0")]


def _numbers(run: Run) -> str:
    numbers = [t.number for t in run.trials]
    return f"it has trials {min(numbers)} to {max(numbers)}" if numbers else "it has none yet"


def _is_limit(word: str) -> bool:
    return "<" in word or ">" in word or "=" in word


def _limit(word: str) -> Constraint:
    """From `latency_ms<=2`."""
    place = min(word.index(c) for c in "<>=" if c in word)
    name, rest = word[:place].strip(), word[place:]
    check_metric(name, "--select")
    try:
        return Constraint.parse(name, rest)
    except UserError:
        raise UserError(f"--select: cannot read {word!r}; write for example latency_ms<=2") from None


def _within(run: Run, limits: list[Constraint]) -> Trial:
    front = _front(run)
    kept = [t for t in front if all(c.metric in t.values and c.holds(t.values[c.metric]) for c in limits)]
    if not kept:
        raise UserError(f"--select: no front member keeps {' and '.join(map(str, limits))}; {_ranges(front, limits)}")
    return _best(kept)


def _ranges(front: list[Trial], limits: list[Constraint]) -> str:
    """Where the front lies in the limited metrics."""
    found = []
    for name in dict.fromkeys(c.metric for c in limits):
        values = [t.values[name] for t in front if name in t.values]
        found.append(f"its {name} is {min(values):.4g} to {max(values):.4g}" if values else f"{name} was not measured")
    return ", ".join(found)


def _best(trials: list[Trial]) -> Trial:
    return max(trials, key=lambda t: t.values["accuracy"])


def _front(run: Run) -> list[Trial]:
    front = run.front()
    if not front:
        raise UserError(f"{run.path}: the front is empty, no search trial is complete; trial:N takes any other")
    return front
