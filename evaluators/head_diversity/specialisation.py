"""Which labels each head recognises (Koresh et al., Physica A 666, 2025, arXiv 2501.12900).

A linear probe reads the heads' outputs. With all its weights silenced but those of one node j, the mean field on label
b of images of label a is M_j[a, b] = μ_j[a] w_j[b]: the class means and the probe say it for all nodes at once, without
a pass for each. Fields of a head are the sum over its nodes. Ours: the probe is ridge regression in closed form.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RIDGE = 1e-3  # times the mean variance of a node
THRESHOLD = 0.4  # of the largest field; the paper's exact value is not published
OWNED = 0.5  # a head owns the labels on which it is this good, next to its best


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialisation:
    """Of the heads of one layer, on images that the probe has not seen.

    accuracy: of the probe with all heads; solo, without: with one head alone, with all but it. by_label: share of the
    images of a label that one head alone recognises. degrees: 1 - H(by_label) / log K per head, 0 for one that is as
    good on all labels. overlap: mean Jaccard index of the labels that two heads own. coverage: share of labels that a
    head owns. clusters, cluster_size, noise: see Clusters.
    """

    accuracy: float
    solo: tuple[float, ...]
    without: tuple[float, ...]
    by_label: tuple[tuple[float, ...], ...]
    degrees: tuple[float, ...]
    overlap: float | None
    coverage: float
    clusters: tuple[int, ...]
    cluster_size: tuple[float, ...]
    noise: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """Diagonal blocks of a thresholded field matrix: labels of a block excite each other, directly or in a chain.
    noise: pairs above the threshold outside every block."""

    labels: tuple[tuple[int, ...], ...]
    noise: int

    @property
    def size(self) -> float:
        return sum(map(len, self.labels)) / len(self.labels) if self.labels else 0.0


def specialisation(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    heads: int,
    *,
    threshold: float = THRESHOLD,
    owned: float = OWNED,
) -> Specialisation | None:
    """Of nodes (n, heads · d) and labels (n,), for the probe and for what is read off it.

    None if they share fewer than two labels.
    """
    known = torch.unique(train[1][torch.isin(train[1], test[1])])
    if len(known) < 2:
        return None
    (x, y), (held, labels) = (_among(known, *split) for split in (train, test))
    centre = x.mean(dim=0)
    probe, held = ridge_probe(x - centre, y), held - centre
    nodes, weights = held.unflatten(1, (heads, -1)), probe.unflatten(0, (heads, -1))
    fields = torch.einsum("nhd,hdk->hnk", nodes, weights)  # of each head on each output
    by_label = torch.stack([accuracy_by_label(f, labels) for f in fields])
    found = [clusters(m, threshold) for m in head_fields(class_means(held, labels), probe, heads)]
    owns = by_label > owned * by_label.amax(dim=1, keepdim=True)
    total = fields.sum(dim=0)
    return Specialisation(
        accuracy=_accuracy(total, labels),
        solo=tuple(_accuracy(f, labels) for f in fields),
        without=tuple(_accuracy(total - f, labels) for f in fields),
        by_label=tuple(tuple(row) for row in by_label.tolist()),
        degrees=tuple(map(degree, by_label)),
        overlap=overlap(owns) if heads > 1 else None,
        coverage=owns.any(dim=0).double().mean().item(),
        clusters=tuple(len(c.labels) for c in found),
        cluster_size=tuple(c.size for c in found),
        noise=tuple(c.noise for c in found),
    )


def ridge_probe(x: Tensor, y: Tensor) -> Tensor:
    """Centred nodes (n, D) and labels (n,) -> weights (D, K) that least squares against the one-hot labels gives."""
    gram, targets = x.T @ x, F.one_hot(y).to(x)
    penalty = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.solve(gram + penalty * torch.eye(len(gram)).to(x), x.T @ targets)


def class_means(x: Tensor, y: Tensor) -> Tensor:
    """Nodes (n, D) -> (K, D), the mean over the images of each label."""
    shares = F.one_hot(y).to(x)
    return shares.T @ x / shares.sum(dim=0)[:, None]


def head_fields(means: Tensor, probe: Tensor, heads: int) -> Tensor:
    """Class means (K, D) and probe (D, K) -> (heads, K, K). With as many heads as nodes: the fields of each node."""
    return torch.einsum("lhd,hdk->hlk", means.unflatten(1, (heads, -1)), probe.unflatten(0, (heads, -1)))


def accuracy_by_label(fields: Tensor, y: Tensor) -> Tensor:
    """(n, K) -> (K,): the share of a label's images on which its field is the largest."""
    labels = F.one_hot(y, fields.shape[1]).double()
    return (fields.argmax(dim=1) == y).double() @ labels / labels.sum(dim=0)


def degree(by_label: Tensor) -> float:
    """1 - H / log K of accuracies as shares of their sum: 0 when equal, 1 for a single label; 0 when all are zero."""
    if by_label.sum() == 0:
        return 0.0
    shares = by_label / by_label.sum()
    return max(0.0, (1 + torch.xlogy(shares, shares).sum() / torch.tensor(len(shares)).log()).item())


def overlap(owns: Tensor) -> float:
    """(heads, K) whether a head owns a label -> mean Jaccard index over pairs of heads."""
    own = owns.double()
    common = own @ own.T
    either = own.sum(dim=1, keepdim=True) + own.sum(dim=1) - common
    pairs = torch.triu_indices(len(own), len(own), 1)
    return (common / either.clamp_min(1))[pairs[0], pairs[1]].mean().item()


def clusters(fields: Tensor, threshold: float = THRESHOLD) -> Clusters:
    """Of one field matrix (K, K): ones are fields above `threshold` of the largest."""
    ones = fields > threshold * fields.max().clamp_min(1e-12)
    alive = ones.diagonal()
    near = ones & ones.T & alive & alive[:, None]
    group = torch.where(alive, torch.arange(len(near)), -1)
    for _ in range(len(near)):  # the least label that is reached, one step at a time
        reached = torch.where(near, group, len(near)).amin(dim=1)
        group, before = torch.where(alive, reached, -1), group
        if torch.equal(group, before):
            break
    inside = (group[:, None] == group) & alive[:, None]
    labels = tuple(tuple((group == g).nonzero().flatten().tolist()) for g in torch.unique(group[alive]).tolist())
    return Clusters(labels=labels, noise=int((ones & ~inside).sum()))


def _among(known: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The images of these labels, in double precision, with labels from 0."""
    kept = torch.isin(y, known)
    return x[kept].double(), torch.searchsorted(known, y[kept])


def _accuracy(fields: Tensor, y: Tensor) -> float:
    return (fields.argmax(dim=1) == y).double().mean().item()
