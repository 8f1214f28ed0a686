"""The record: what was written comes back; torn ends are repaired, damage is refused, a full disk loses nothing."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from nas.errors import DiskFullError, UserError
from nas.journal import Journal, encode, read_journal


def written(path: Path, count: int = 3) -> Path:
    with Journal(path) as journal:
        for i in range(count):
            journal.append("note", text=f"event {i}", value=0.1 * i)
    return path


def test_events_come_back_as_they_were_written(tmp_path):
    events = read_journal(written(tmp_path / "j"))
    assert [e["event"] for e in events] == ["journal", "note", "note", "note"]
    assert [e["n"] for e in events] == [0, 1, 2, 3]
    assert events[3]["text"] == "event 2"
    assert events[3]["value"] == 0.1 * 2


def test_a_second_opening_goes_on_counting(tmp_path):
    with Journal(written(tmp_path / "j")) as journal:
        assert len(journal.events) == 4
        journal.append("note", text="later")
        assert len(journal.events) == 4  # what is written since is in the file, and need not be kept
    assert [e["n"] for e in read_journal(tmp_path / "j")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_a_torn_last_line_is_cut_off_and_said(tmp_path, cut):
    path = written(tmp_path / "j")
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_journal(path)) == 3
    with Journal(path) as journal:
        assert "torn" in journal.repaired
        journal.append("note", text="after the crash")
    assert [e["n"] for e in read_journal(path)] == [0, 1, 2, 3]


def test_damage_in_the_middle_is_refused_with_its_line(tmp_path):
    path = written(tmp_path / "j")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"event 0", b"event 9")
    path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"j:2: the record is damaged in the middle"):
        read_journal(path)


def test_a_missing_line_is_damage(tmp_path):
    path = written(tmp_path / "j")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(UserError, match="j:2"):
        read_journal(path)


def test_there_is_one_writer(tmp_path):
    with Journal(tmp_path / "j"), pytest.raises(UserError, match="another search"):
        Journal(tmp_path / "j").__enter__()


def test_a_newer_record_is_refused(tmp_path):
    (tmp_path / "j").write_bytes(encode({"n": 0, "at": 0.0, "event": "journal", "version": 99}))
    with pytest.raises(UserError, match="newer vitnas"):
        read_journal(tmp_path / "j")


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path / "j") as journal:
        journal.append("note", text="kept")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(DiskFullError, match="No space left"):
                journal.append("note", text="lost")
        journal.append("note", text="after space was made")
    assert [e.get("text") for e in read_journal(tmp_path / "j")] == [None, "kept", "after space was made"]


def test_a_line_that_the_disk_took_in_part_leaves_whole_lines(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append("note", text="kept")
        before, limits = (tmp_path / "j").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 200, limits[1]))
        try:
            with pytest.raises(DiskFullError, match="File too large"):
                journal.append("note", text="lost" * 75)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "j").read_bytes() == before


def test_ctrl_c_while_writing_leaves_whole_lines(tmp_path, monkeypatch):
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with Journal(tmp_path / "j") as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.append("note", text="cut short")
        for text in ("one", "two"):
            journal.append("note", text=text)
    assert [e.get("text") for e in read_journal(tmp_path / "j")] == [None, "one", "two"]


def test_not_a_number_never_enters_the_record(tmp_path):
    with Journal(written(tmp_path / "j")) as journal, pytest.raises(ValueError):
        journal.append("finished", value=float("nan"))
    assert all(json.loads(line) for line in (tmp_path / "j").read_text().splitlines())


def test_a_journal_in_which_nothing_was_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "mine").mkdir()
    with Journal(tmp_path / "mine" / "runs" / "a" / "j"):
        assert (tmp_path / "mine" / "runs" / "a" / "j").is_file()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match=r"runs: cannot be written \("):
        Journal(tmp_path / "runs" / "j").__enter__()
