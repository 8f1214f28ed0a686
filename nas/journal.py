"""The append-only record of a campaign, from which everything else is recomputed.

One JSON object a line, numbered, with a CRC-32 of the rest of the line, synced to disk before the next step. One
writer at a time. A torn last line (a crash while writing) is cut off and said; damage anywhere else is refused.
"""

import contextlib
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.errors import DiskFullError, UserError

VERSION = 1
Event = dict[str, Any]


class Journal:
    """Writer of one journal. Use as a context manager; `events` holds what was there when it was opened.

    A journal in which nothing was written is removed again in the end, with the folders that were made for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired: str | None = None
        self.events: list[Event] = []
        self._count = 0

    def __enter__(self) -> Self:
        self._made = [folder for folder in self.path.parents if not folder.exists()]  # the innermost first
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise UserError(f"{self.path.parent}: cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{self.path}: another search is writing this campaign; wait for it or stop it") from None
        self.events, good_bytes = _read(self.path)
        if good_bytes < self.path.stat().st_size:
            torn = self.path.stat().st_size - good_bytes
            self._file.truncate(good_bytes)
            self.repaired = (
                f"{self.path}: the last line was torn by a crash; cut off {torn} bytes, nothing finished was lost"
            )
        self._count = len(self.events)
        if not self.events:
            self.append("journal", version=VERSION)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._count <= 1:
            with contextlib.suppress(OSError):
                self.path.unlink()
                for folder in self._made:
                    folder.rmdir()
        self._file.close()

    def append(self, event: str, **payload: Any) -> Event:
        """Write one event and sync it. Raises DiskFullError; whatever is raised leaves the file as it was before."""
        body = {"n": self._count, "at": round(time.time(), 3), "event": event, **_jsonable(payload)}
        line = encode(body)
        start = os.fstat(self._file.fileno()).st_size
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._count += 1
        except BaseException as error:  # Ctrl-C too: a line that is written and not counted would damage the record
            self._recover(start, body["n"])
            if not isinstance(error, OSError):
                raise
            raise DiskFullError(
                f"{self.path}: cannot write ({error.strerror}); everything recorded before is safe: make room "
                "and resume"
            ) from error
        return body

    def _recover(self, size: int, count: int) -> None:
        """Drop what was half written, buffered or counted, so that the record ends with a whole line."""
        self._count = count
        descriptor = os.dup(self._file.fileno())
        with contextlib.suppress(OSError):
            self._file.close()  # writes what is buffered, so the file is cut afterwards
        os.ftruncate(descriptor, size)
        self._file = os.fdopen(descriptor, "ab")


def read_journal(path: Path) -> list[Event]:
    """All whole events; a torn last line is passed over. Works beside a running writer."""
    return _read(path)[0]


def encode(body: Event) -> bytes:
    """One line with its checksum."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return f'{text[:-1]},"crc":"{zlib.crc32(text.encode()):08x}"}}\n'.encode()


def _read(path: Path) -> tuple[list[Event], int]:
    """Events and the number of bytes they take."""
    events: list[Event] = []
    size = 0
    lines = list(_lines(path))
    for number, (line, end) in enumerate(lines, start=1):
        event = _decode(line)
        if event is None or event.get("n") != len(events):
            if number == len(lines):
                break
            rest = f", or keep its first {number - 1} lines (`head -n {number - 1}`) and resume" if events else ""
            raise UserError(
                f"{path}:{number}: the record is damaged in the middle and cannot be trusted; restore it from a copy"
                f"{rest}"
            )
        events.append(event)
        size = end
    if events and events[0].get("version", 0) > VERSION:
        raise UserError(
            f"{path}: written by a newer vitnas (version {events[0]['version']}; this one reads up to {VERSION})"
        )
    return events, size


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    data, start = path.read_bytes(), 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end + 1
        yield data[start:end], end
        start = end


def _decode(line: bytes) -> Event | None:
    """The event of one line, or None when the line is damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
        crc = event.pop("crc")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    text = json.dumps(event, separators=(",", ":"))
    return event if f"{zlib.crc32(text.encode()):08x}" == crc else None


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _jsonable(asdict(value))
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    return value
