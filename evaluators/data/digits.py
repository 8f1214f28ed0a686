"""Handwritten digits (Alpaydin and Kaynak, UCI 1998), which come with scikit-learn."""

import numpy as np

from evaluators.data.builtin import DATASETS
from evaluators.data.source import Source, Split, named_source


@DATASETS.register("digits")
def open_digits() -> Source:
    """Handwritten digits of scikit-learn: 1,797 grey 8x8 pictures, 10 classes, no download."""
    from sklearn.datasets import load_digits  # here, since it takes a second to import

    found = load_digits()
    pictures = np.round(found.images * (255 / 16)).astype(np.uint8)
    split = Split(pictures=pictures, labels=found.target.astype(np.int64))
    names = [str(n) for n in found.target_names]
    return named_source("digits", "digits", {"train": split}, names, stamp="sklearn-digits")
