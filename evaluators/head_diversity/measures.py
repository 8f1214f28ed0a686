"""How much the heads of one layer differ: in what they put out, and in where they look.

Effective heads are the Vendi score (Friedman and Dieng, TMLR 2023, arXiv 2210.02410) of the cosines between outputs.
Mean attention distance as in Dosovitskiy et al. (ICLR 2021, arXiv 2010.11929) and Raghu et al. (NeurIPS 2021, arXiv
2108.08810), in patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def output_cosines(outputs: Tensor) -> Tensor:
    """Outputs (B, h, L, d) -> (h, h): cosine between two heads at the same token, averaged over tokens and images."""
    unit = F.normalize(outputs.double(), dim=3)
    cosines = torch.einsum("bhld,bgld->hg", unit, unit) / (outputs.shape[0] * outputs.shape[2])
    return cosines.fill_diagonal_(1)  # also of a head that puts out nothing


def effective_heads(cosines: Tensor) -> float:
    """exp of the entropy of the eigenvalues of K / h: 1 for h equal heads, h for orthogonal ones."""
    values = torch.linalg.eigvalsh(cosines.double() / len(cosines)).clamp_min(0)
    return torch.xlogy(values, values).sum().neg().exp().item()


def mean_cosine(cosines: Tensor) -> float:
    """Of two different heads."""
    heads = len(cosines)
    return ((cosines.sum() - cosines.trace()) / (heads * (heads - 1))).item()


def entropy(maps: Tensor) -> Tensor:
    """Rows that sum to 1, (..., M) -> (...), in nats."""
    return -torch.xlogy(maps, maps).sum(dim=-1)


def disagreement(maps: Tensor) -> float:
    """Generalised Jensen-Shannon divergence H(mean of the heads) - mean of H(head) of maps (B, h, R, M): 0 to log h."""
    return (entropy(maps.mean(dim=1)) - entropy(maps).mean(dim=1)).mean().item()


def attention_distance(maps: Tensor, queries: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, h, R, N) of the patches `queries` (B, R) -> (h,): Σ_j A_ij |p_i - p_j| in patches, averaged."""
    rows, columns = torch.arange(grid[0]), torch.arange(grid[1])
    places = torch.cartesian_prod(rows, columns).to(maps.device, maps.dtype)  # (N, 2)
    away = torch.cdist(places[queries], places, compute_mode="donot_use_mm_for_euclid_dist")  # (B, R, N)
    return (maps * away.unsqueeze(1)).sum(dim=3).mean(dim=(0, 2))
