"""Who may use a device: many trainings at once, or one measurement alone. Works between processes by file locks.

Two locks, a turnstile before a room, keep a measurement from waiting for ever while trainings come and go: it stands in
the turnstile until the room is empty, so nobody else can enter. A process that dies frees what it held.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DeviceLease:
    """A lease on one device, named by a path that all processes see. Not re-entrant: never nest one in another."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._turnstile = self.path.with_name(self.path.name + ".turnstile")
        self._room = self.path.with_name(self.path.name + ".room")

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use the device beside others. Hold it for moments (one training step): a measurement waits for its end."""
        with self._room.open("a") as room:
            with _locked(self._turnstile):
                fcntl.flock(room, fcntl.LOCK_SH)
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have the device alone: wait until all others have left, and keep them out."""
        with _locked(self._turnstile), _locked(self._room):
            yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:  # closing the file frees the lock
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
