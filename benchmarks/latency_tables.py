"""Published tables of measured costs as rows of features: as listed, and with the sums that an architecture implies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """x: (n, f) features, listed: the columns of the table alone, costs: (n,) per device or part; group: (n,)."""

    x: np.ndarray
    listed: np.ndarray
    costs: dict[str, np.ndarray]
    group: np.ndarray


def hat(part: str, path: Path) -> Table:
    """Encoder or decoder of transformers for translation: averages over its own layers. The other's say nothing."""
    frame = pd.read_csv(path)
    listed = frame[[c for c in frame if not c.startswith("latency")]]
    own = listed[[c for c in listed if c.startswith(part)]].to_numpy(float)
    costs = {part: frame[f"latency_mean_{part}"].to_numpy(float)}
    return Table(x=own, listed=listed.to_numpy(float), costs=costs, group=np.arange(len(own)))


def ofa(path: Path) -> Table:
    """Once-for-all MobileNetV3: blocks beyond a stage's depth are not there; sums by stage."""
    frame = pd.read_csv(path)
    listed = frame[[c for c in frame if not c.startswith("lat_ms")]].to_numpy(float)
    side, depth = listed[:, :1], listed[:, 1:6]
    there = np.arange(4) < depth[:, :, None]
    kernel, ratio = (listed[:, i : i + 20].reshape(-1, 5, 4) * there for i in (6, 26))
    blocks = [kernel.reshape(-1, 20), ratio.reshape(-1, 20)]
    stages = [ratio.sum(2), kernel.sum(2), (ratio * kernel**2).sum(2), side**2 * ratio.sum(2)]
    whole = [depth.sum(1, keepdims=True), ratio.sum((1, 2))[:, None]]
    x = np.hstack([side, depth, *blocks, *stages, *whole])
    return _table(listed, x, _latencies(frame), replace=True)


def accel(path: Path) -> Table:
    """EfficientNets: expansion, kernel, layers, squeeze of seven stages, and their products. Throughput as ms."""
    frame = pd.read_csv(path)
    given = {"a100": "throughput_a100__mean", "3090": "throughput_3090__mean",
             "zcu102": "latency_zcu102__mean", "vck190": "latency_vck190__mean"}  # fmt: skip
    frame = frame[frame[list(given.values())].notna().all(axis=1)]
    listed = frame[[c for c in frame if c.startswith("block")]].to_numpy(float)
    e, k, n, se = (listed.reshape(-1, 7, 4)[:, :, i] for i in range(4))
    sums = np.hstack([e * n, e * k**2 * n, se * n, se * e * n, k * n])
    costs = {name: frame[column].to_numpy(float) for name, column in given.items()}
    return _table(listed, sums, {n: 1000 / c if "throughput" in given[n] else c for n, c in costs.items()})


def nasbench201(path: Path) -> Table:
    """Six operations of five kinds, and how many there are of each kind."""
    frame = pd.read_csv(path)
    operations = frame["arch_str"].str.findall(r"(\w+)~").to_list()
    kinds = sorted({operation for row in operations for operation in row})
    return _choices(np.array([[kinds.index(o) for o in row] for row in operations]), _latencies(frame))


def fbnet(path: Path) -> Table:
    """22 blocks of nine kinds."""
    frame = pd.read_csv(path)
    return _choices(frame[[f"op{i}" for i in range(22)]].to_numpy(int), _latencies(frame))


def timm(path: Path) -> Table:
    """Real networks: GMACs, activations and parameters, on a logarithmic scale, as costs are."""
    frame = pd.read_csv(path).dropna()
    listed = np.log(frame[["infer_gmacs", "infer_macts", "param_count"]].clip(lower=0.005).to_numpy(float))
    cost = 1000 / frame["infer_samples_per_sec"].to_numpy(float)
    return Table(x=listed, listed=listed, costs={"ms per picture": cost}, group=_codes(frame["model"]))


def ecnas(path: Path) -> Table:
    """Training on a GPU: its times (s) and parameters; energy (J) is the cost. Repeats stay on one side of a split."""
    frame = pd.read_csv(path)
    times = frame["total_time_s"].to_numpy(float)
    epochs, params = frame["e4_train_time_s"].to_numpy(float), np.log(frame["params"].to_numpy(float))
    listed = np.column_stack([times, epochs, params])
    derived = np.column_stack([times - epochs, np.log(times), np.log(epochs), np.log(times / epochs)])
    table = _table(listed, derived, {"energy": frame["gpu_energy_j"].to_numpy(float)})
    return Table(x=table.x, listed=listed, costs=table.costs, group=_codes(frame["arch_hash"]))


TABLES: dict[str, tuple[str, Callable[[Path], Table]]] = {
    "hat_titanxp_encoder": ("hat_wmt14ende_titanxp_latency.csv.gz", partial(hat, "encoder")),
    "hat_titanxp_decoder": ("hat_wmt14ende_titanxp_latency.csv.gz", partial(hat, "decoder")),
    "hat_xeon_encoder": ("hat_wmt14ende_xeon_latency.csv.gz", partial(hat, "encoder")),
    "hat_xeon_decoder": ("hat_wmt14ende_xeon_latency.csv.gz", partial(hat, "decoder")),
    "ofa": ("ofa_mbv3_latency.csv.gz", ofa),
    "accel_nasbench": ("accel_nasbench.csv.gz", accel),
    "timm_infer_4090_eager": ("timm_infer_4090_eager.csv.gz", timm),
    "timm_infer_4090_compiled": ("timm_infer_4090_compiled.csv.gz", timm),
    "timm_infer_i9_cpu_compiled": ("timm_infer_i9_cpu_compiled.csv.gz", timm),
    "ecnas_energy": ("ecnas_energy.csv.gz", ecnas),
    "nasbench201": ("nasbench201.csv.gz", nasbench201),
    "fbnet_latency": ("fbnet_latency.csv.gz", fbnet),
}


def _table(listed: np.ndarray, sums: np.ndarray, costs: dict[str, np.ndarray], replace: bool = False) -> Table:
    x = sums if replace else np.hstack([listed, sums])
    return Table(x=x, listed=listed, costs=costs, group=np.arange(len(x)))


def _choices(choice: np.ndarray, costs: dict[str, np.ndarray]) -> Table:
    one_hot = np.eye(choice.max() + 1)[choice]
    x = np.hstack([one_hot.reshape(len(choice), -1), one_hot.sum(axis=1)])
    return Table(x=x, listed=choice.astype(float), costs=costs, group=np.arange(len(x)))


def _latencies(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    prefix = "lat_ms__"
    return {c.removeprefix(prefix): frame[c].to_numpy(float) for c in frame if c.startswith(prefix)}


def _codes(names: pd.Series) -> np.ndarray:
    return pd.factorize(names)[0]
