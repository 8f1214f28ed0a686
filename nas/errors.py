"""What a user got wrong or a machine refuses, said in one line."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches

# of a file system: a full disk, a read-only one, a file where a folder should be
REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
REFUSALS |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


class DiskFullError(Exception):
    """Something could not be written that a search cannot do without; everything recorded before is safe."""


class UserError(ValueError):
    """A mistake in a user's input. The command line prints its message alone and exits with status 2."""


def refusal(error: OSError) -> str | None:
    """What the file system refuses, in words; None for an error that is not of that kind."""
    if error.errno not in REFUSALS:
        return None
    return f"{error.filename}: {error.strerror}" if error.filename else f"cannot write: {error.strerror}"


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
