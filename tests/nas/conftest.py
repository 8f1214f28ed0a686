"""Campaigns that cost nothing, shared by the tests of the search."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from nas.campaign import Campaign


@pytest.fixture
def make_campaign() -> Callable[..., Campaign]:
    """A campaign on digits with exact objectives, serial unless said otherwise; keywords replace whole sections."""

    def make(trials: int = 8, **sections: Any) -> Campaign:
        data: dict[str, Any] = {
            "name": "test",
            "data": {"source": "digits"},
            "objectives": {"accuracy": "maximize", "macs_g": "minimize"},
            "sampler": {"name": "tpe", "startup": 4},
            "budget": {"trials": trials, "minutes": 10.0},
            "execution": {"backend": "inline"},
        }
        return Campaign.model_validate(data | sections)

    return make
