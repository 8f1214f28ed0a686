"""Figures of a benchmark as lines of JSON, so that a run can be stopped, continued and read again."""

import json
from collections.abc import Callable
from pathlib import Path


class Record:
    """Lists of figures by key. A file holds one line each; without a file they last as long as the run."""

    def __init__(self, file: Path | None) -> None:
        lines = file.read_text().splitlines() if file and file.exists() else []
        self._file, self._figures = file, {tuple(key): figures for key, figures in map(json.loads, lines)}

    def figures(self, key: tuple[str | int, ...], measure: Callable[[], list[float]]) -> list[float]:
        """What stands under the key, or else what `measure` gives, which is then kept."""
        if key not in self._figures:
            self._figures[key] = measure()
            if self._file:
                with self._file.open("a") as file:
                    file.write(json.dumps([key, self._figures[key]]) + "\n")
        return self._figures[key]
