"""What a parent's weights are worth: mutated children trained from them and afresh, side by side.

python experiments/benchmarks/inheritance.py evopose2d_synthetic --children 20 --seeds 3
python experiments/benchmarks/inheritance.py pointing04 data.root=DIR backbone.weights=WEIGHTS

Parents are trained for ``inherit.fresh_epochs``; every child has one gene changed by the rules of
its space. Child, seed, batches and epochs are the same in every start; a third start, for
children of which only a kernel changed, does what the published code of EvoPose2D does there:
kernels of equal channels are not copied. Rows go to a CSV, one a training; what it holds is not
trained again. ``--report`` prints its tables.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from inheritance_report import report
from rich.progress import track
from safetensors.torch import load_file, save_file
from searches import finished, one_thread_each

from evonas.core import experiment as config
from evonas.errors import EvonasError, InputError
from evonas.estimation.estimator import Split
from evonas.estimation.training.training import Training, TrainingData, predict
from evonas.models.weight_inheritance import inherit, shapes
from evonas.space import Architecture, Mutation, SearchSpace
from evonas.workflows.components import Components
from evonas.workflows.loop import candidate_seed

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One training: ``start`` is fresh, inherited or published."""

    experiment: str
    seed: int
    group: str
    child: str
    gene: str
    start: str
    epochs: int
    share: float = 0.0
    loss: float = 0.0
    error: float = 0.0
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it this training and no other."""
        return tuple(str(getattr(self, name)) for name in COLUMNS[:7])


COLUMNS = [field.name for field in fields(Row)]


@dataclass(frozen=True)
class Work:
    """A training to do: the row to fill, the network, and the file of its parent."""

    row: Row
    words: tuple[str, ...]  # the experiment and its overrides
    architecture: Architecture
    parent: str = ""
    keep: str = ""  # where to leave the weights


def main() -> None:
    """Train what the file lacks; print the tables."""
    args = arguments()
    one_thread_each()
    try:
        if not args.report:
            measure(args)
        print(report(args.out))
    except (EvonasError, OSError) as error:
        raise SystemExit(f"inheritance: {' '.join(str(error).split())}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted: {args.out} has what is done; start again") from None


def measure(args: argparse.Namespace) -> None:
    """Do all trainings of an experiment that the file has not."""
    words = (args.experiment, *args.overrides)
    components = prepared(words)
    name, done = components.experiment.name, known(args.out)
    fresh = components.experiment.inherit.fresh_epochs or components.experiment.training.epochs
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool,
    ):
        for seed in range(args.seeds):
            family = Family(components, seed, args.parents, Path(folder))
            wanted = [
                work
                for work in family.works(words, args.children, args.kernels, args.epochs, args.long)
                if work.row.key not in done
            ]
            if not wanted:
                continue
            first = Row(name, seed, "parent", "", "", "fresh", fresh)
            births = [
                Work(replace(first, child=a.digest), words, a, keep=family.file(a))
                for a in family.parents
            ]
            for stage, some in (("parents", births), ("children", wanted)):
                title = f"{name}, seed {seed}, {stage}"
                futures = [pool.submit(trained, work) for work in some]
                for future in track(as_completed(futures), title, len(futures)):
                    if future.result().key not in done:
                        write(args.out, future.result())


class Family:
    """Parents and their children, drawn from one seed."""

    def __init__(self, components: Components, seed: int, parents: int, folder: Path) -> None:
        self.components, self.seed, self._folder = components, seed, folder
        self.space: SearchSpace = components.space
        self._rng = np.random.default_rng([seed, 77])
        self._mutation = Mutation(self.space)
        self.parents = list(self.space.ancestors) or self._strangers(parents)

    def file(self, parent: Architecture) -> str:
        """Return where a parent's weights lie while this runs."""
        return str(self._folder / f"{self.seed}-{parent.digest}.safetensors")

    def works(
        self,
        words: tuple[str, ...],
        children: int,
        kernels: int,
        epochs: Sequence[int],
        long: Sequence[int],
    ) -> Iterator[Work]:
        """Yield the children's trainings."""
        name = self.components.experiment.name
        for group, count in (("any", children), ("kernel", kernels)):
            starts = ["fresh", "inherited", *(["published"] if group == "kernel" else [])]
            for number, (parent, child, gene) in enumerate(self._children(count, group)):
                row = Row(name, self.seed, group, child.digest, gene, "", 0)
                # a few fresh ones for longer: when do they get as far?
                further = long if group == "any" and number < children // 3 else ()
                for start, some in ((s, epochs) for s in starts):
                    for length in (*some, *(further if start == "fresh" else ())):
                        file = "" if start == "fresh" else self.file(parent)
                        filled = replace(row, start=start, epochs=length)
                        yield Work(filled, words, child, parent=file)

    def _strangers(self, count: int) -> list[Architecture]:
        found: dict[str, Architecture] = {}
        while len(found) < count:
            drawn = self.space.decode(self._rng.random(self.space.dim))
            if self.components.objective.feasible(self.components.cost(drawn)):
                found[drawn.digest] = drawn
        return list(found.values())

    def _children(self, count: int, group: str) -> Iterator[tuple[Architecture, Architecture, str]]:
        """Yield parent, child and the gene that changed; every child once."""
        seen = {parent.digest for parent in self.parents}
        number = tries = 0
        while number < count and tries < 100_000:
            tries += 1
            parent = self.parents[number % len(self.parents)]
            genome = self._mutation.child(self.space.encode(parent), self._rng)
            child = self.space.decode(genome)
            gene = self._changed(parent, child)
            feasible = self.components.objective.feasible(self.components.cost(child))
            wanted = feasible and (group == "any" or gene.startswith("kernel"))
            if child.digest in seen or not wanted or not self._mutation.fits(genome):
                continue
            seen.add(child.digest)
            number += 1
            yield parent, child, gene

    def _changed(self, parent: Architecture, child: Architecture) -> str:
        for gene in self.space.genes:  # the first: others may follow from it
            if parent.settings.get(gene.name) != child.settings.get(gene.name):
                return gene.name
        return ""


def trained(work: Work) -> Row:
    """Do one training; return its row with what came out."""
    torch.set_num_threads(1)
    components, begun = prepared(work.words), time.perf_counter()
    settings = components.experiment.training.model_copy(update={"epochs": work.row.epochs})
    seed = candidate_seed(work.row.seed, work.architecture.digest, 1)  # alike in every start
    torch.manual_seed(seed)
    family = components.family(work.architecture)
    outputs = components.task.n_outputs
    module = family.build(work.architecture, components.shape(work.architecture), outputs)
    share = 0.0
    if work.parent:
        state = load_file(work.parent)
        if work.row.start == "published":
            own = shapes(module.state_dict())
            state = {k: v for k, v in state.items() if not missed(own.get(k, ()), v)}
        share = inherit(module, state).share
    data = maps(work.words, str(work.architecture.settings.get("tap", components.experiment.tap)))
    training = Training(module, data, components.task, settings, seed)
    training.run()
    module.load_state_dict(training.outcome.state)
    if work.keep:
        save_file(training.outcome.state, work.keep)
    answers = torch.from_numpy(predict(module, data, data.validation))
    targets = torch.from_numpy(data.targets[0, data.validation])
    loss = float(components.task.loss(answers, targets))
    error = training.outcome.metrics[components.task.metric]
    seconds = round(time.perf_counter() - begun, 2)
    return replace(work.row, share=round(share, 4), loss=loss, error=error, seconds=seconds)


def missed(own: tuple[int, ...], theirs: torch.Tensor) -> bool:
    """Whether the published code copies nothing: equal channels, another kernel."""
    return (
        len(own) == theirs.ndim == 4
        and own[:2] == tuple(theirs.shape[:2])
        and own != tuple(theirs.shape)
    )


@cache
def prepared(words: tuple[str, ...]) -> Components:
    """Return the parts of the experiment, once a process."""
    return Components(config.load(words[0], words[1:]))


@cache
def maps(words: tuple[str, ...], tap: str) -> TrainingData:
    """Return what to train on, once a process."""
    components = prepared(words)
    features = components.features(components.backbone, components.taps(), lambda *progress: None)
    sides = components.dataset.sides()
    split = Split(sides["train"], sides["validation"])
    setting = components.context({"backbone": features}, {"search": split})
    both = setting.splits["search"]
    return TrainingData(features.open(tap), setting.targets, both.train, both.validation)


def known(path: Path) -> set[tuple[str, ...]]:
    """Return the keys of the trainings that a file holds."""
    return {tuple(row[name] for name in COLUMNS[:7]) for row in finished(path, COLUMNS)}


def write(path: Path, row: Row) -> None:
    """Append a row; a new file gets its head first."""
    new = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))


def arguments() -> argparse.Namespace:
    """Return what was asked for.

    Raises:
        InputError: a number is out of range.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", default="evopose2d_synthetic")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--children", type=int, default=20)
    parser.add_argument("--kernels", type=int, default=4, help="more children of another kernel")
    parser.add_argument("--parents", type=int, default=4, help="where the space has no ancestors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--long", type=int, nargs="*", default=[10, 20], help="of fresh ones")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=HERE / "inheritance.csv")
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    if min(args.children, args.seeds, args.parents, args.workers, *args.epochs) < 1:
        raise InputError("expected numbers of at least 1")
    return args


if __name__ == "__main__":
    main()
