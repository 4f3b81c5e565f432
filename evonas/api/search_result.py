"""The result of a search, read from its run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evonas.api.reporting import draw_lineage, write_report
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.report.page.run_data import Run
from evonas.runs import result_files as results
from evonas.runs.run_store import Trial
from evonas.space import Architecture

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class EvaluatedNetwork:
    """A network of a search and what it reached.

    Attributes:
        architecture: name of the network family, and settings.
        error: on the validation split, in the unit of the metric; a mean where ``seeds`` > 1.
        macs: multiply-adds of the head network for one image.
        params: parameters of the head network.
        seeds: trainings that ``error`` is the mean of.
        fitness: what the search minimised: the error with its penalty on cost.
        metrics: all metrics of the validation split, means as ``error`` is.
        spread: their sample standard deviations; empty with fewer than two further seeds.
        latency_ms: milliseconds of the head network for one image; 0: not measured.
    """

    architecture: Architecture
    error: float
    macs: int
    params: int
    seeds: int
    fitness: float
    metrics: Mapping[str, float] = field(repr=False)
    spread: Mapping[str, float] = field(repr=False)
    latency_ms: float = 0.0

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the architecture."""
        return self.architecture.digest


@dataclass(frozen=True)
class SearchResult:
    """Result of a search that has finished, was stopped, or is running, read from its files.

    Files are read when they are first asked for.

    Args:
        run_dir: the run directory.

    Examples:
        >>> result = evonas.load_run("runs/quickstart")
        >>> result.best.error, result.best.macs
        (5.25, 1039104)
        >>> result.report("quickstart.html")
    """

    run_dir: Path

    @property
    def best_file(self) -> Path:
        """best.json: all that a retraining needs beside the data."""
        return self.run_dir / "best.json"

    @cached_property
    def best(self) -> EvaluatedNetwork:
        """The winner: of the finals where they were held, else the lowest fitness.

        Raises:
            InputError: nothing was trained successfully yet, or a file is damaged.
        """
        return self._networks(self.best_file)[0]

    @cached_property
    def pareto_front(self) -> list[EvaluatedNetwork]:
        """The networks that no other beats on all axes of the objective, the cheapest first.

        Their errors are of one short training each.

        Raises:
            InputError: front.json is missing or damaged.
        """
        return self._networks(self.run_dir / "front.json")

    @property
    def trials(self) -> list[Trial]:
        """All trials of the journal, by generation and index.

        Raises:
            InputError: there is no run, or its journal is damaged.
        """
        return list(self._run.trials)

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment as it was searched.

        Raises:
            InputError: experiment.yaml is missing or damaged.
        """
        return config.load(self.run_dir / "experiment.yaml")

    @property
    def metric(self) -> str:
        """Name of the metric that counts as the error."""
        return self._run.error[0]

    @property
    def unit(self) -> str:
        """Unit of the error, such as ``degrees``; empty if it has none."""
        return self._run.error[1]

    @property
    def verdict(self) -> str:
        """What the search was worth: the winner's error against the best baseline's, in words.

        Empty where the search has not finished, or had no baselines.
        """
        return str(self._run.best.get("verdict", ""))

    def trials_dataframe(self) -> pandas.DataFrame:
        """Return a row for each trial of the journal.

        Columns are the fields of ``Trial``; settings and metrics have one each, named
        ``settings.NAME`` and ``metrics.NAME``, with nan where a trial has none.

        Raises:
            InputError: pandas is not installed; or as ``trials``.

        Examples:
            >>> table = result.trials_dataframe()
            >>> table[table.status == "ok"].nsmallest(5, "fitness")
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError(
                "trials_dataframe() needs pandas, which is not installed: pip install pandas, or "
                "take result.trials, which holds the same"
            ) from error
        return pandas.DataFrame([_row(trial) for trial in self.trials])

    def report(self, path: str | Path | None = None, *, figures: bool = False) -> Path:
        """Write the report of the search as one HTML page; return its file.

        Args:
            path: of the page; by default ``report.html`` in the run directory.
            figures: also save every chart as PNG and SVG, in ``figures`` beside the page.

        Raises:
            InputError: a file of the run is damaged, or the page cannot be written.
        """
        return write_report(self, path, figures=figures).path

    def lineage(self, path: str | Path | None = None) -> Path:
        """Draw the networks below their parents, and what changed on the way to the winner.

        Args:
            path: of the figure, SVG or PNG; by default ``lineage.svg`` in the run directory.

        Raises:
            InputError: no network has a parent, or the file cannot be written.
        """
        return draw_lineage(self.run_dir, path)

    @cached_property
    def _run(self) -> Run:
        return Run.read(self.run_dir)

    def _networks(self, path: Path) -> list[EvaluatedNetwork]:
        """Return the networks of a best.json or front.json.

        Raises:
            InputError: the file is missing, damaged, or of another run.
        """
        metric = self.metric
        found = []
        for content in results.networks(path):
            metrics = content["metrics"]
            if metric not in metrics:
                raise InputError(
                    f"{path}: has no {metric!r}, which environment.json calls the error: restore "
                    "the files of one run"
                )
            found.append(
                EvaluatedNetwork(
                    architecture=Architecture.from_dict(content["architecture"]),
                    error=float(metrics[metric]),
                    macs=content["macs"],
                    params=content["params"],
                    seeds=content.get("seeds", 1),
                    fitness=float(content["fitness"]),
                    metrics=metrics,
                    spread=content.get("spread", {}),
                    latency_ms=float(content.get("latency_ms", 0.0)),
                )
            )
        return found


def load_run(path: str | Path) -> SearchResult:
    """Return the result of a search that has a run directory, finished or not.

    Args:
        path: the run directory, or its best.json.

    Raises:
        InputError: there is no run, it has no trial yet, or a file is damaged.

    Examples:
        >>> evonas.load_run("runs/quickstart").best.architecture.settings
    """
    place = Path(path)
    result = SearchResult(place.parent if place.name == "best.json" else place)
    _ = result.trials  # what is wrong with it is said here
    return result


def _row(trial: Trial) -> dict[str, Any]:
    row = trial.row()
    settings = row.pop("architecture")["settings"]
    metrics = row.pop("metrics")
    row |= {f"settings.{name}": value for name, value in settings.items()}
    return row | {f"metrics.{name}": value for name, value in metrics.items()}
