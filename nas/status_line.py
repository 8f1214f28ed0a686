"""What is being done now, on stderr: for work before a search begins and for measuring."""

import sys

from nas.progress import duration


class StatusLine:
    """What is being done, on stderr: one line that is overwritten on a terminal, a line per step elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.live, self._last = quiet, sys.stderr.isatty(), ""

    def progress(self, doing: str, left_s: float | None) -> None:
        left = "" if left_s is None or not self.live else f", {duration(left_s)} left"
        self.show(doing + left)

    def show(self, text: str) -> None:
        if self.quiet or text == self._last:
            return
        self._last = text
        print(f"\r\033[K{text}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live and not self.quiet:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
