"""What distinctiveness does to classification heads, beside what chance would find.

python experiments/benchmarks/distinctiveness.py --out distinctiveness.md

The heads are those of the published case (Singhi, "Facial recognition with neural network and
transfer learning"): 2048 features of a frozen network -> 7 classes, and 2048 -> 100 -> 7.
Here the features are the last map of the shipped recognition network, 128 x 4 x 4, and the
classes are seven equally frequent ranges of yaw (borders from the training images) of rendered
faces; people are split, so nobody is in training and test. Yaw is no emotion: what carries
over are the numbers of units, of classes and of outputs, not accuracies. Each head is
trained with several seeds and loses units without training, in four ways: vectors of
weights or of activations, merged literally (as published) or exactly. Differences are
paired: after minus before of the same head; beside each, what dropping as many units at
random does.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evonas.core.settings import TrainingSettings
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.deployment.distinctiveness import tables as distinctiveness
from evonas.deployment.distinctiveness.linear_layers import weights, without
from evonas.deployment.distinctiveness.study import Removal, Study
from evonas.deployment.distinctiveness.unit_similarity import Merged
from evonas.estimation.training.training import TrainingData, predict, train, validate
from evonas.models.backbones.synthetic_face import SyntheticFace
from evonas.models.networks.common.regression_head import make_end
from evonas.report.tables import Table, markdown
from evonas.tasks.classification import Classification

CLASSES = 7
TAP = "block4"
SHAPE = (128, 4, 4)
PATTERNS = 1000


def features(faces: SyntheticFaces) -> np.ndarray:
    """Return the maps of all images, (n, 128, 4, 4) in half precision."""
    backbone = SyntheticFace()
    parts = []
    for start in range(0, len(faces), 250):
        images = faces.images(start, min(start + 250, len(faces)))
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            parts.append(backbone(batch, [TAP])[TAP].half().numpy())
    return np.concatenate(parts)


def classes(faces: SyntheticFaces) -> np.ndarray:
    """Return the number of each image's range of yaw, (n, 1)."""
    yaw = faces.labels["yaw"]
    borders = np.quantile(yaw[faces.splits["train"]], np.arange(1, CLASSES) / CLASSES)
    return np.digitize(yaw, borders).astype(np.float32)[:, None]


def head(hidden: int, seed: int) -> nn.Module:
    """Return a fresh head: norm, flattened features, and one or two linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        end = make_end("flatten", SHAPE, CLASSES, hidden=hidden, dropout=0.5, act="relu")
        return nn.Sequential(nn.BatchNorm2d(SHAPE[0]), end)


@dataclass(frozen=True)
class Case:
    """One removal, and the accuracy with as many units dropped at random."""

    removal: Removal
    control: float

    @property
    def key(self) -> tuple[str, ...]:
        """What trainings with other seeds share."""
        one = self.removal
        layer = f"{one.layer.units} -> {one.layer.outputs}"
        return one.network, layer, one.vectors, one.merge


def studied(data: TrainingData, test: np.ndarray, seeds: int, epochs: int) -> list[Case]:
    """Train both heads with every seed and take units from their layers."""
    task = Classification({"yaw": [f"range {k + 1}" for k in range(CLASSES)]})
    settings = TrainingSettings(epochs=epochs, learning_rate=1e-3)
    patterns = data.train[:: max(1, len(data.train) // PATTERNS)][:PATTERNS]

    def judge(module: nn.Module) -> dict[str, float]:
        return validate(module, data, task, test)

    found: list[Case] = []
    for name, hidden in (("2048 -> 7", 0), ("2048 -> 100 -> 7", 100)):
        for seed in range(seeds):
            module = head(hidden, seed)
            module.load_state_dict(train(module, data, task, settings, seed).state)
            removals = Study(seed=seed).removals(
                (name, TAP, f"seed {seed}"),
                module,
                SHAPE,
                lambda module: predict(module, data, patterns),
                judge,
            )
            found += [Case(one, dropped(module, one, seed, judge)) for one in removals]
            print(f"{name}, seed {seed}: {found[-1].removal.before['accuracy']:.2f}", flush=True)
    return found


def dropped(
    module: nn.Module,
    removal: Removal,
    seed: int,
    judge: Callable[[nn.Module], dict[str, float]],
) -> float:
    """Return the mean accuracy over three draws of as many units, dropped at random."""
    layer, rng = removal.layer, np.random.default_rng(seed)
    weight, bias = weights(module, layer)
    accuracies = []
    for _ in range(3):
        kept = np.sort(rng.permutation(layer.units)[removal.removed :])
        small = without(module, layer, Merged(kept, weight[:, kept], bias))
        accuracies.append(judge(small)["accuracy"])
    return statistics.mean(accuracies)


def paired(cases: Sequence[Case], images: int) -> Table:
    """Return the change of accuracy in each of the ways, of the same heads."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(case.key, []).append(case)
    rows = []
    for key, group in groups.items():
        before = [case.removal.before["accuracy"] for case in group]
        after = [case.removal.after["accuracy"] for case in group]
        control = [case.control for case in group]
        removed = statistics.mean(case.removal.removed for case in group)
        rows.append([*key, f"{removed:.0f}", _difference(after, before)])
        rows[-1].append(_difference(control, before))
    heads = ["head", "layer", "vectors", "merge", "removed", "change", "dropped at random"]
    note = (
        f"accuracy in percentage points, mean ± sd (standard error); one of {images} test images "
        f"is {100 / images:.2f}"
    )
    return Table("Accuracy, after minus before, same trainings", heads, rows, [note], 4)


def _difference(after: Sequence[float], before: Sequence[float]) -> str:
    changes = [one - other for one, other in zip(after, before, strict=True)]
    spread = statistics.stdev(changes) if len(changes) > 1 else 0.0
    error = spread / math.sqrt(len(changes))
    return f"{statistics.mean(changes):+.2f} ±{spread:.2f} ({error:.2f})"


def main() -> None:
    """Train, remove units, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python experiments/benchmarks/distinctiveness.py --seeds 2 --people 40",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each head")
    parser.add_argument("--people", type=int, default=250, help="rendered people, 20 images each")
    parser.add_argument("--epochs", type=int, default=15, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("distinctiveness.md"), help="Markdown")
    args = parser.parse_args()
    torch.set_num_threads(1)
    faces = SyntheticFaces(identities=args.people, seed=11)
    maps, targets = features(faces), classes(faces)
    sides = faces.splits
    data = TrainingData([maps], targets[None], sides["train"], sides["validation"])
    test = sides["test"]
    found = studied(data, test, args.seeds, args.epochs)
    notes = [
        f"{len(sides['train'])} training and {len(test)} test images; activations of "
        f"{min(PATTERNS, len(sides['train']))} training images"
    ]
    removals = [case.removal for case in found]
    tables = [*distinctiveness.tables(removals, "percent", notes), paired(found, len(test))]
    args.out.write_text("\n".join(map(markdown, tables)), encoding="utf-8")
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
