"""Conditions as JSON and in words."""

import json
from dataclasses import replace

import pytest

from evaluators.latency.conditions import Conditions, conditions_here, differences
from nas.errors import UserError

HERE = Conditions(
    device="A Processor", kind="cpu", threads=1, batch=1, in_chans=3, image_size=(32, 48), dtype="float32",
    runtime="eager", versions=(("torch", "2.13.0"),),
)  # fmt: skip


def test_json_and_back_is_the_same():
    assert Conditions.from_json(json.loads(json.dumps(HERE.to_json()))) == HERE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": "two"}, "F: threads: expected a whole number, found 'two'"),
        ({"threads": True}, "F: threads: expected a whole number"),
        ({"batch": 0}, "batch: 0 is too small"),
        ({"image_size": 32}, r"F: image_size: expected \[height, width\]"),
        ({"runtime": "eagre"}, "unknown runtime 'eagre'; did you mean 'eager'"),
        ({"dtype": "int8"}, "unknown number format 'int8'"),
        ({"versions": {"torch": 2}}, "F: versions.torch: expected a word, found 2"),
        ({"thread": 1}, "F: unknown key 'thread'; did you mean 'threads'"),
    ],
)
def test_json_with_a_mistake_is_refused_by_name(change, words):
    with pytest.raises(UserError, match=words):
        Conditions.from_json(HERE.to_json() | change, "F")


def test_a_missing_key_is_named():
    data = HERE.to_json()
    del data["dtype"]
    with pytest.raises(UserError, match="conditions: dtype is missing"):
        Conditions.from_json(data)


def test_differences_are_words_and_none_where_all_is_equal():
    versions = (("torch", "2.12"), ("cuda", "13"))
    other = replace(HERE, device="Another", threads=4, image_size=(32, 32), versions=versions)
    assert differences(HERE, HERE) == []
    assert differences(HERE, other) == [
        "device: asked for A Processor, found Another",
        "threads: asked for 1, found 4",
        "image: asked for 32x48, found 32x32",
        "version of cuda: asked for none, found 13",
        "version of torch: asked for 2.13.0, found 2.12",
    ]


def test_the_conditions_here_name_the_libraries_that_work():
    eager, onnx = (conditions_here("cpu", image_size=8, runtime=r) for r in ("eager", "onnxruntime"))
    assert eager.image_size == (8, 8)
    assert dict(eager.versions).keys() == {"torch"}
    assert dict(onnx.versions).keys() == {"torch", "onnxruntime"}
