"""The rebuilt spaces of ViT-Bench-101: published sizes of their best-known members, and what varies in them."""

import json

import pytest
import torch
import vit_bench
import zero_cost

from evaluators.cost import cost_metrics
from search_spaces.zoo import ZOO

DEIT_TI = {"hidden_dim": 192, "depth": 12, "num_heads": [3] * 12, "mlp_ratio": [4] * 12}
PIT_TI = {"base_dim": 32, "depth": [2, 6, 4], "num_heads": [2, 4, 8], "mlp_ratio": 4}
ARCHS = [DEIT_TI, PIT_TI]


def test_equal_layers_make_a_deit_of_the_zoo():
    subject, entry = vit_bench.subject(DEIT_TI, 1000), ZOO["deit_tiny"]
    costs = cost_metrics(entry.build(224), image_size=224, classes=1000)
    assert subject.params_m * 1e6 == 5_717_416
    assert (subject.params_m, subject.depth) == (costs["params_m"], 12)
    assert subject.macs_g == pytest.approx(costs["macs_g"], rel=1e-3)


def test_pit_ti_has_its_published_size():
    subject = vit_bench.subject(PIT_TI, 1000)
    assert subject.params_m == pytest.approx(4.85, abs=0.005)
    assert subject.macs_g == pytest.approx(0.70, abs=0.005)
    assert subject.depth == 12


@pytest.mark.parametrize("arch", ARCHS, ids=["autoformer", "pit"])
def test_it_classifies_from_what_its_features_say(arch):
    network = vit_bench.seeded(arch, 10, seed=1).eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = network.features(images)
        read = tokens[:, 1:].mean(1) if "hidden_dim" in arch else tokens[:, 0]
        assert torch.equal(network(images), network.head(read))
    assert torch.equal(network.head.weight, vit_bench.seeded(arch, 10, seed=1).head.weight)


def test_each_block_has_its_own_heads_and_ratio():
    arch = {"hidden_dim": 216, "depth": 2, "num_heads": [3, 4], "mlp_ratio": [3.5, 4.0]}
    blocks = vit_bench.network(arch, 10).blocks
    assert [b.mixer.head_dim for b in blocks] == [72, 54]
    assert [b.ffn.fc1.out_features for b in blocks] == [756, 864]


def test_tau_of_a_score_is_given_the_other_sizes():
    scores = [{"params": p, "macs": 1.0, "depth": 2.0, "best": p + (p % 3)} for p in range(12)]
    accuracy = [s["best"] for s in scores]
    assert zero_cost.taus(scores, "best", accuracy) == (1.0, pytest.approx(1.0))
    plain, partial = zero_cost.taus(scores, "params", accuracy)
    assert plain == pytest.approx(partial)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match="no such file or folder"):
        zero_cost.main(["--tables", str(tmp_path / "none")])


def test_scores_that_are_kept_are_not_taken_again(tmp_path, monkeypatch, capsys):
    rows = [{"arch": DEIT_TI} | {t: float(i) for t in vit_bench.TARGETS} for i in range(3)]
    (tmp_path / vit_bench.FILES["AutoFormer-Ti"]).write_text(json.dumps(rows))
    values = [{"params": i, "macs": 1, "depth": 1, "snip": i} for i in range(3)]
    lines = [json.dumps({"key": ["AutoFormer-Ti", i, 0], "values": v}) for i, v in enumerate(values)]
    (tmp_path / "kept").write_text("\n".join(lines))
    monkeypatch.setattr(zero_cost, "enlarged", lambda *_: [])
    named = ["--tables", str(tmp_path), "--images", str(tmp_path), "--spaces", "AutoFormer-Ti"]
    zero_cost.main([*named, "--keep", str(tmp_path / "kept")])
    assert "snip | 1.00 / -" in capsys.readouterr().out
