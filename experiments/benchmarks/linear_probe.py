"""What a linear model on pooled features reaches: ridge regression in closed form.

python experiments/benchmarks/linear_probe.py experiments/quickstart.yaml

The yardstick for the trained linear probe: is it undertrained, or are the features
at their end? The best of five penalties is shown, which flatters it a little.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console

from evonas.core import experiment as config
from evonas.core.progress_bars import progress_bars
from evonas.workflows.components import Components


def main() -> None:
    """Print a line for each tap of the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("overrides", nargs="*", help="key=value")
    args = parser.parse_args()
    components = Components(config.load(args.experiment, args.overrides))
    with progress_bars(Console()) as progress:
        features = components.features(components.backbone, components.taps(), progress)
    task, splits = components.task, components.dataset.splits
    side = "test" if "test" in splits else "validation"
    plain = task.targets(components.dataset)
    mirrored = task.flip_targets(plain)
    for tap in components.taps():
        pooled = [maps.astype(np.float32).mean((2, 3)) for maps in features.open(tap)]
        x = np.concatenate([view[splits["train"]] for view in pooled])
        targets = [mirrored if view.flip else plain for view in features.views]
        y = np.concatenate([target[splits["train"]] for target in targets])
        mean, scale = x.mean(0), x.std(0) + 1e-6
        z, centre = (x - mean) / scale, y.mean(0)
        errors = {}
        for penalty in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
            gram = z.T @ z / len(z) + penalty * np.eye(z.shape[1])
            weights = np.linalg.solve(gram, z.T @ (y - centre) / len(z))
            guess = (pooled[0][splits[side]] - mean) / scale @ weights + centre
            metrics = task.metrics(guess.astype(np.float32), plain[splits[side]])
            errors[penalty] = metrics[task.metric]
        best = min(errors, key=errors.__getitem__)
        print(f"{tap}: {task.metric} {errors[best]:.2f} {task.unit} on {side}, penalty {best:g}")


if __name__ == "__main__":
    main()
