"""The measuring process seen from its parent: one request in, JSON lines out, and one clear sentence when it dies."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

SILENCE_S = 900.0  # without a line from the process before it counts as hung; compiling one network takes minutes


def events_of_child(request: dict[str, Any], threads: int) -> Iterator[dict[str, Any]]:
    """The lines of a fresh measuring process; the last one is {"event": "lost"} when it died. It ends with this one."""
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "evaluators.latency.child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment,
        )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018
        try:
            yield from _talk(child, request)
            if child.wait() != 0:
                yield {"event": "lost", "error": _why(child.returncode, errors)}
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


def _talk(child: "subprocess.Popen[bytes]", request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return
    for line in _lines(child.stdout):
        yield json.loads(line)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines until the end of the stream, or until it is silent for too long."""
    rest = b""
    while select.select([stream], [], [], SILENCE_S)[0]:
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield json.dumps({"event": "lost", "error": f"the measuring process was silent for {SILENCE_S:.0f} s"}).encode()


def _why(status: int, errors: IO[bytes]) -> str:
    """In one line, from the exit status and the last line on stderr."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = ": the system may have run out of memory" if name == "SIGKILL" else ""
        return f"the measuring process was ended by {name}{hint}"
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"the measuring process ended with status {status}" + (f": {lines[-1][:300]}" if lines else "")
