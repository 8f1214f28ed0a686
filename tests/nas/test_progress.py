"""What a search says of itself: durations in words, one line per trial, an estimate of what is left."""

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
