"""Rank correlation of a shared network: do heads with shared weights rank as trained heads do?

export PYTHONPATH=experiments/benchmarks
python experiments/benchmarks/shared_network.py experiments/headbench/heads.yaml \
    experiments/headbench/pointing04.csv data.root=DIR backbone.weights=DIR --epochs 24

All heads of a table of learning curves are trained at once: the weights of each are the leading
channels of the widest tensors with the same names (Yu and Huang 2019, arXiv 1903.05134; Cai et
al. 2020, arXiv 1908.09791). A step trains one of the widest heads, one of the narrowest and others
drawn at random. Then every head has its error on the validation images, with batch norm statistics
of its own from training images, and the errors are compared with those of separate trainings.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from curve_table import CurveTable
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn
from torch.func import functional_call

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.progress_bars import progress_bars
from evonas.space import Architecture
from evonas.tasks.base import Task
from evonas.workflows.components import Components

_BATCH = 32
_RATE = 2e-3
_AVERAGE = 0.99  # decay of the moving average of the shared weights, per step
_CALIBRATION = 512  # training images for the batch norm statistics of a head


class SharedNetwork:
    """Weights that all heads of a space share, and the modules that compute with them.

    Args:
        architectures: all heads.
        shapes: tap -> shape of its map.
        n_outputs: length of the output.

    Attributes:
        weights: name -> widest tensor; stems belong to a tap, all other layers to all taps.
    """

    def __init__(
        self,
        architectures: list[Architecture],
        shapes: dict[str, tuple[int, int, int]],
        n_outputs: int,
    ) -> None:
        self.weights: dict[str, nn.Parameter] = {}
        self._modules, self._taps = [], []
        for architecture in architectures:
            tap = str(architecture.settings["tap"])
            family = registry.load("network", architecture.network)()
            module = family.build(architecture, shapes[tap], n_outputs)
            self._modules.append(module)
            self._taps.append(tap)
            for name, value in module.named_parameters():
                known = self.weights.get(key := _key(name, tap, value))
                if known is None or value.numel() > known.numel():
                    self.weights[key] = nn.Parameter(value.detach().clone())

    def module(self, row: int) -> nn.Module:
        """Return the module of a head; its own parameters are not used."""
        return self._modules[row]

    def tap(self, row: int) -> str:
        """Return the tap that a head reads."""
        return self._taps[row]

    def parameters(self, row: int) -> dict[str, Tensor]:
        """Return the parameters of a head, which are parts of the shared ones."""
        tap = self._taps[row]
        return {
            name: self.weights[_key(name, tap, value)][tuple(map(slice, value.shape))]
            for name, value in self._modules[row].named_parameters()
        }

    def __call__(self, row: int, maps: Tensor) -> Tensor:
        """Return the outputs of a head, (n, n_outputs), of (n, c, h, w) maps of its tap."""
        outputs: Tensor = functional_call(self._modules[row], self.parameters(row), (maps,))
        return outputs


def _key(name: str, tap: str, value: Tensor) -> str:
    """Return what two weights have in common that are one: name, kernel, and the tap of a stem."""
    kernel = "x".join(map(str, value.shape[2:]))
    return f"{name} {kernel} {tap if name.startswith('stem') else ''}"


class Images:
    """Cached maps and targets of an experiment.

    Args:
        components: of the experiment.
        taps: names of the taps.
    """

    def __init__(self, components: Components, taps: list[str]) -> None:
        with progress_bars(Console(stderr=True)) as progress:
            features = components.features(components.backbone, taps, progress)
        sides = components.dataset.sides()
        self.maps = {tap: features.open(tap) for tap in taps}
        plain = components.task.targets(components.dataset)
        flipped = components.task.flip_targets(plain)
        self.targets = np.stack([flipped if view.flip else plain for view in features.views])
        self.train, self.validation = sides["train"], sides["validation"]

    def batch(self, tap: str, view: NDArray[np.intp], rows: NDArray[np.intp]) -> Tensor:
        """Return the maps of images, each in its view."""
        maps = self.maps[tap]
        picked = [maps[v][row] for v, row in zip(view.tolist(), rows.tolist(), strict=True)]
        return torch.from_numpy(np.stack(picked)).float()


def train(
    shared: SharedNetwork,
    groups: list[NDArray[np.intp]],
    images: Images,
    task: Task,
    epochs: int,
    paths: int,
) -> None:
    """Train the shared weights; they are replaced by their moving average at the end.

    Args:
        shared: changed in place.
        groups: rows of the widest heads, of the narrowest, and of all.
        images: what to train on.
        task: gives the loss.
        epochs: passes over the training images.
        paths: heads in each step.
    """
    rng = np.random.default_rng(0)
    values = list(shared.weights.values())
    optimizer = torch.optim.AdamW(values, lr=_RATE, weight_decay=1e-2)
    steps = len(images.train) // _BATCH
    average, count = [value.detach().clone() for value in values], 0
    for _ in range(epochs):
        order = rng.permutation(images.train)
        for step in range(steps):
            rows = order[step * _BATCH : (step + 1) * _BATCH]
            views = rng.integers(0, len(images.targets), _BATCH)
            targets = torch.from_numpy(images.targets[views, rows])
            optimizer.param_groups[0]["lr"] = _rate(count, epochs * steps)
            optimizer.zero_grad()
            for path in range(paths):
                row = int(rng.choice(groups[min(path, len(groups) - 1)]))
                shared.module(row).train()
                outputs = shared(row, images.batch(shared.tap(row), views, rows))
                task.loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(values, 5.0 * paths)
            optimizer.step()
            count += 1
            keep = min(_AVERAGE, count / (count + 10.0))
            torch._foreach_lerp_(average, [value.detach() for value in values], 1.0 - keep)
    with torch.no_grad():
        for value, mean in zip(values, average, strict=True):
            value.copy_(mean)


def _rate(step: int, total: int) -> float:
    rising = 0.1 * total
    if step < rising:
        return _RATE * (step + 1) / (rising + 1)
    return _RATE * 0.5 * (1.0 + math.cos(math.pi * (step - rising) / (total - rising)))


def errors(shared: SharedNetwork, count: int, images: Images, task: Task) -> NDArray[np.float64]:
    """Return the validation error of every head with the shared weights, (count,)."""
    rng = np.random.default_rng(1)
    rows = rng.choice(images.train, min(_CALIBRATION, len(images.train)), replace=False)
    views = rng.integers(0, len(images.targets), len(rows))
    targets = images.targets[0, images.validation]
    plain = np.zeros(len(images.validation), np.intp)
    found, ready = np.zeros(count), {}
    for row in range(count):
        tap, module = shared.tap(row), shared.module(row)
        if tap not in ready:
            ready[tap] = (
                images.batch(tap, views, rows),
                images.batch(tap, plain, images.validation),
            )
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_running_stats()
                part.momentum = 1.0  # the statistics of the one batch
        with torch.no_grad():
            module.train()
            shared(row, ready[tap][0])
            module.eval()
            outputs = torch.cat([shared(row, part) for part in ready[tap][1].split(256)])
        found[row] = task.validate(outputs.numpy(), targets)[task.metric]
    return found


def partial(
    first: NDArray[np.float64], second: NDArray[np.float64], by: NDArray[np.float64]
) -> float:
    """Return the rank correlation of two columns with that of a third taken out of both."""
    a, b, c = (rankdata(column) for column in (first, second, by))
    rest = [column - np.polyval(np.polyfit(c, column, 1), c) for column in (a, b)]
    return float(np.corrcoef(*rest)[0, 1])


def main() -> None:
    """Print the correlations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment", help="space and data of the table")
    parser.add_argument("table", type=Path, help="CSV of learning curves")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--epochs", type=int, default=24, help="of the shared training")
    parser.add_argument("--paths", type=int, default=4, help="heads in each step")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = CurveTable(args.table)
    components = Components(config.load(args.experiment, args.overrides))
    fixed = {gene.name: gene.values[0] for gene in components.space.genes}
    heads = table.architectures
    architectures = [Architecture("master_module", {**fixed, **one.settings}) for one in heads]
    shared = SharedNetwork(architectures, dict(components.backbone.taps), components.task.n_outputs)
    images = Images(components, [str(tap) for tap in table.genes["tap"]])
    widths = np.array([float(one.settings["stem"]) for one in heads])
    rows = np.arange(len(heads))
    groups = [rows[widths == widths.max()], rows[widths == widths.min()], rows]
    start = time.process_time()
    train(shared, groups, images, components.task, args.epochs, args.paths)
    trained = time.process_time() - start
    found = errors(shared, len(heads), images, components.task)
    whole, alone = table.errors[:, -1], float(np.median(table.seconds) * table.epochs)
    print(
        f"{len(heads)} heads, {args.epochs} epochs of {args.paths} heads: {trained:.0f} s of "
        f"training, as {trained / alone:.0f} separate trainings; errors {found.min():.2f} to "
        f"{found.max():.2f}, trained apart {whole.min():.2f} to {whole.max():.2f}"
    )
    best = np.argsort(whole)[: len(whole) // 10]
    for name, column in {
        "shared weights": found,
        "multiply-adds": -table.macs,
        "after epoch 1": table.errors[:, 0],
        "after epoch 2": table.errors[:, 1],
    }.items():
        print(
            f"{name}: rank correlation {spearmanr(column, whole)[0]:.2f}, with multiply-adds taken "
            f"out {partial(column, whole, table.macs):.2f}, among the best tenth "
            f"{spearmanr(column[best], whole[best])[0]:.2f}"
        )


if __name__ == "__main__":
    main()
