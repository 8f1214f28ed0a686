"""Taxonomy class of a mechanism and of a whole network, and the colours the classes keep in every chart."""

from collections import Counter

from nas.genotype import NONE, Genotype, Stage

UNKNOWN = "not registered"  # the mechanism came with a package that is not installed here

# Okabe and Ito, "Color Universal Design" (2008): eight colours that colour-blind readers tell apart.
COLOURS = {
    "baseline": "#4d4d4d",
    "complexity reduction": "#0072B2",
    "hierarchy": "#E69F00",
    "channel and spatial": "#009E73",
    "tokenization": "#CC79A7",
    "other": "#D55E00",
    UNKNOWN: "#999999",
}


def class_of(mechanism: str) -> str:
    """The taxonomy class that a mixer declares for itself."""
    from search_spaces.mixers.base import MIXERS

    return MIXERS[mechanism].about.taxonomy if mechanism in MIXERS else UNKNOWN


def main_class(genotype: Genotype) -> str:
    """The class of the mechanism that most blocks use."""
    return class_of(main_mechanism(genotype))


def main_mechanism(genotype: Genotype) -> str:
    """The mechanism that most blocks use; the first used wins a tie, and any wins over blocks that mix nothing."""
    blocks: Counter[str] = Counter()
    for stage in genotype.stages:
        blocks.update(block_shares(stage))
    return max(blocks, key=lambda kind: (kind != NONE.kind, blocks[kind]))


def block_shares(stage: Stage) -> Counter[str]:
    """Mechanism -> how many of the stage's blocks it fills; two that divide the heads count by their share."""
    blocks: Counter[str] = Counter()
    for atoms in stage.mixers():
        shares = (1.0,) if len(atoms) == 1 else (stage.share, 1 - stage.share)
        for atom, share in zip(atoms, shares, strict=True):
            blocks[atom.kind] += share  # type: ignore[assignment]  # Counter adds fractions as well as whole blocks
    return blocks


def colours_of(classes: set[str]) -> tuple[list[str], list[str]]:
    """Domain and range of a colour scale with the classes that occur, in a fixed order."""
    present = [c for c in COLOURS if c in classes]
    return present, [COLOURS[c] for c in present]
