"""What a search says of itself: durations in words, one line per trial, an estimate of what is left."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from free_worker import FreeWorker

from nas.progress import duration
from nas.session import search


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "60 min"), (7260, "2 h 1 min")]
)
def test_durations_read_well(seconds, words):
    assert duration(seconds) == words


def test_a_plain_log_has_one_line_per_trial_with_what_is_left(make_campaign, tmp_path, capsys):
    search(make_campaign(3, references=("deit_mini",)), runs=tmp_path, make_worker=FreeWorker)
    lines = [line for line in capsys.readouterr().err.splitlines() if ": complete" in line]
    assert [line.partition(" left]")[0].split(",")[0] for line in lines] == ["[0/3", "[1/3", "[2/3", "[3/3"]
    assert all("accuracy=" in line and "macs_g=" in line and " s  " in line for line in lines)
    assert "deit_mini" in lines[0]


def test_a_terminal_shows_a_bar_with_status_and_what_is_left(make_campaign, tmp_path):
    script = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if 'benchmarks' in p]!r}\n"
        "from pathlib import Path\nfrom free_worker import FreeWorker\n"
        "from nas.campaign import Campaign\nfrom nas.session import search\n"
        f"campaign = Campaign.model_validate_json({make_campaign(3).model_dump_json()!r})\n"
        f"search(campaign, runs=Path({str(tmp_path)!r}), make_worker=FreeWorker)"
    )
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160"}
    ended = subprocess.Popen([sys.executable, "-c", script], stderr=slave, env=environment)
    os.close(slave)
    shown = _read_all(master)
    assert ended.wait() == 0, shown
    assert "searching" in shown
    assert "volume" in shown
    assert "3/3" in shown
    assert (Path(tmp_path) / "test" / "report" / "index.html").is_file()


def _read_all(descriptor: int) -> str:
    """Everything a terminal gets until its other end is closed, which Linux reports as an error."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode(errors="replace")
