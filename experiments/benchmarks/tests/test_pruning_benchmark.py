"""The benchmark of pruning: what is trained, and what its table says of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pruning
import pytest
import searches
import yaml

from evonas.api.retraining import retrain
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, components: Components) -> RetrainedNetwork:
    """A residual head on the second block, barely trained."""
    folder = tmp_path_factory.mktemp("benchmark")
    plain = components.experiment.model_dump(mode="json")
    plain["baselines"] = [
        {"name": "head", "network": "residual_head", "settings": {"width": 6, "tap": "block2"}}
    ]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    words = ["retraining.epochs=1"]
    retrain(folder / "tiny.yaml", out=folder / "out", overrides=words)
    return RetrainedNetwork(Retrained(folder / "out"))


def test_the_whole_network_is_trained_on_and_a_pruned_one_is_smaller(
    network: RetrainedNetwork, tmp_path: Path
) -> None:
    rows = [pruning.row(network, name, 0, 1) for name in ("0.3", "whole")]
    small, whole = rows
    assert float(whole.cut) == pytest.approx(float(whole.before), abs=1e-3)
    assert int(small.params) < int(whole.params)
    assert int(small.macs) < int(whole.macs)
    cost = network.contender["head"]["params"] + network.contender["backbone_up_to_tap"]["params"]
    assert int(whole.params) == cost
    assert float(small.less_params) > float(whole.less_params) > 0
    for one in rows:
        searches.append(tmp_path / "rows.csv", asdict(one))
    assert [
        pruning.Row(**row) for row in searches.finished(tmp_path / "rows.csv", pruning.COLUMNS)
    ] == rows
    made = pruning.table(rows, "degrees")
    assert [cells[0] for cells in made.rows] == ["t = 0.3", "whole"]
    pruning.draw(rows, "degrees", tmp_path / "rows.png")
    assert (tmp_path / "rows.png").stat().st_size > 5000
