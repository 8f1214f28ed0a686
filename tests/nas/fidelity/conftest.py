"""Trials whose learning curves have a known end."""

from collections.abc import Callable

import numpy as np
import pytest
from curve_worker import curve

from nas.genotype import Atom, Genotype, Stage
from nas.trial import Trial

EPOCHS = 20
NETWORK = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1, a=Atom("softmax")),))


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    """Trained in full unless `until` says to which epoch, where it waits then."""

    def make(
        number: int, final: float, macs_g: float, until: int = EPOCHS, rng: np.random.Generator | None = None
    ) -> Trial:
        points, done = curve(final, EPOCHS, rng=rng)[:until], until == EPOCHS
        values = {"macs_g": macs_g} | ({"accuracy": points[-1].accuracy} if done else {})
        return Trial(
            number=number, kind="search", name=f"trial {number}", state="complete" if done else "paused",
            genotype=NETWORK, hash=str(number), code={}, values=values, curve=points,
        )  # fmt: skip

    return make
