"""The cache of decoded pictures: made once, complete, and never needed."""

import multiprocessing

import pytest
import torch

from evaluators.data import cache
from evaluators.data.cache import cached

LARGE = cache.SMALL


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VITNAS_CACHE", str(tmp_path))
    return tmp_path


def make(value=3):
    return {"train_x": torch.full((2, 1, 2, 2), value, dtype=torch.uint8), "train_y": torch.tensor([0, 1])}, ["a note"]


def never():
    raise AssertionError("made again")


def test_the_second_time_comes_from_disk(folder):
    cached("key", LARGE, make)
    arrays, notes = cached("key", LARGE, never)
    assert torch.equal(arrays["train_x"], make()[0]["train_x"])
    assert arrays["train_y"].tolist() == [0, 1]
    assert notes == ["a note"]
    assert (folder / "key" / "train_x.npy").exists()


def test_writing_to_what_was_read_changes_nothing_on_disk():
    cached("key", LARGE, make)
    cached("key", LARGE, never)[0]["train_x"].zero_()
    assert cached("key", LARGE, never)[0]["train_x"].max() == 3


def test_small_data_leave_no_file(folder):
    cached("key", LARGE - 1, make)
    assert not list(folder.iterdir())


def test_a_failure_leaves_nothing_half_done(folder):
    with pytest.raises(AssertionError):
        cached("key", LARGE, never)
    assert [p.name for p in folder.iterdir()] == ["key.lock"]
    assert cached("key", LARGE, make)[1] == ["a note"]


def test_a_folder_that_cannot_be_written_is_done_without(folder, monkeypatch):
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("VITNAS_CACHE", str(folder / "file"))
    assert cached("key", LARGE, make)[1] == ["a note"]


def test_a_damaged_entry_is_made_again(folder):
    cached("key", LARGE, make)
    (folder / "key" / "train_x.npy").write_bytes(b"")
    assert cached("key", LARGE, make)[0]["train_x"].max() == 3
    assert not (folder / "key").exists()


def test_workers_that_start_together_decode_once(folder):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(folder, i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert len(list(folder.glob("made-*"))) == 1


def _work(folder, number):
    def slowly():
        (folder / f"made-{number}").touch()
        return make()

    cached("key", LARGE, slowly)
