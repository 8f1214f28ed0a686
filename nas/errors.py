"""What a user got wrong, said in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in a user's input. The command line prints its message alone and exits with status 2."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word` in large or small letters, or None when nothing is close."""
    lowered = {choice.lower(): choice for choice in choices}
    found = get_close_matches(str(word).lower(), list(lowered), n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def unknown(what: str, word: object, choices: Iterable[str], where: str = "") -> UserError:
    """The error for a name that is not among `choices`, with the nearest match."""
    names = sorted(choices)
    guess = nearest(str(word), names)
    hint = f"did you mean {guess!r}?" if guess else f"choices: {', '.join(names)}"
    place = f"{where}: " if where else ""
    return UserError(f"{place}unknown {what} {word!r}; {hint}")
