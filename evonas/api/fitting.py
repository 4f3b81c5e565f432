"""``evonas.fit``: from a folder of photos and a backbone to one file that answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evonas.api.evaluation import Evaluation
from evonas.api.initializing import Ask, InitialExperiment, initialize, name_of
from evonas.api.reporting import Report, write_report
from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.api.search_result import SearchResult
from evonas.api.steps import DONE, Step, claim, held_out, searched, take
from evonas.core import experiment as config
from evonas.core.experiment import FREE_ON_RESUME, Experiment
from evonas.core.files import keep, make_folder, read_json
from evonas.core.overrides import Override, Word, given
from evonas.errors import InputError
from evonas.report.price import price
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.comparison_schemas import REFITTED, read_tests
from evonas.runs.run_store import read_journal
from evonas.workflows.evaluation import Retrained
from evonas.workflows.standard_baselines import CONSTANT

_ARGUMENTS = "fit.json"
#: Shares of the minutes for the search and for the retraining; the rest is for what comes last.
_SEARCH, _RETRAINING = 0.7, 0.2

#: What a step of a fit returns.
FitStep = InitialExperiment | SearchResult | RetrainedModel | Evaluation | Report | Path


@dataclass(frozen=True)
class FitResult:
    """What a fit left.

    Attributes:
        folder: with experiment.yaml, report.html, model.onnx and a folder for each longer step.
        sentences: error on the held-out photos, price, and how the file is used.
    """

    folder: Path
    sentences: tuple[str, ...]

    @property
    def file(self) -> Path:
        """The exported network, backbone and head; see ``load_exported``."""
        return self.folder / "model.onnx"

    @property
    def files(self) -> tuple[Path, ...]:
        """What a person opens: the network, its description, the report and the experiment."""
        names = ("model.onnx", "model.json", "report.html", "experiment.yaml")
        return tuple(self.folder / name for name in names)

    @property
    def model(self) -> RetrainedModel:
        """The networks, trained, with the baselines beside the winner."""
        return RetrainedModel(self.folder / "retrained")


def fit(
    folder: str | Path,
    backbone: str | Path = "",
    *,
    label: str = "",
    group: str = "",
    table: str = "",
    share: float | None = None,
    max_ms: float | None = None,
    minutes: float | None = None,
    run_dir: str | Path | None = None,
    ask: Ask | None = None,
    callbacks: Iterable[Callback] = (),
    on_step: Callable[[int, int, str], None] | None = None,
    on_result: Callable[[FitStep], None] | None = None,
    overrides: Iterable[Word] = (),
    **changes: Any,
) -> FitResult:
    """Write an experiment for a folder of photos, search, retrain, evaluate, report and export.

    What was stopped goes on with the same call: the search from its journal, everything else from
    the step that was interrupted.

    Args:
        folder, backbone, label, group, table, share, max_ms: see ``initialize``.
        minutes: for all of it, about: the search has 70 % of them, the retraining as many epochs
            as fit; None: 32 networks and all epochs.
        run_dir: folder of all results; by default ``runs/NAME``.
        ask: see ``initialize``; an experiment that is there already asks nothing.
        callbacks: receive messages, progress and the events of the search.
        on_step: called before a step with its number, from 1, the number of steps and its name.
        on_result: called with the result of each step.
        overrides: changes to the experiment as ``key=value`` words.
        changes: changes to the experiment, as ``Experiment.load`` takes them.

    Raises:
        InputError: as ``initialize``; or a library for the export is missing, or the folder holds
            the results of other values.

    Examples:
        >>> print(evonas.fit("own_faces", "face.onnx", label="age", minutes=10).sentences[0])
    """
    arguments = {
        **{"folder": str(folder), "backbone": str(backbone), "label": label, "group": group},
        **{"table": table, "share": share, "max_ms": max_ms},
    }
    place = Path(run_dir) if run_dir is not None else Path("runs") / name_of(Path(folder))
    words = (*overrides, *given(changes))
    work = _Fit(arguments, place, minutes, ask, CallbackList(callbacks), words)
    work.check()
    take(work.steps(), work.callback, on_step, on_result)
    result = FitResult(place, tuple(work.sentences()))
    keep(place / "fit.md", "\n\n".join(result.sentences) + "\n")
    return result


@dataclass(frozen=True)
class _Fit:
    """The steps of one fit."""

    arguments: Mapping[str, Any]
    folder: Path
    minutes: float | None
    ask: Ask | None
    callback: Callback
    words: tuple[Word, ...]

    @property
    def _file(self) -> Path:
        return self.folder / "experiment.yaml"

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment of the folder, which must be that of an earlier start."""
        amount = [] if self.minutes is None else [_minutes(self.minutes)]
        experiment = config.load(self._file, [*self.words, *amount])
        claim(experiment, self.folder, FREE_ON_RESUME)
        return experiment

    def check(self) -> None:
        """Refuse other values than those of an earlier start.

        Raises:
            InputError: a value differs.
        """
        path = self.folder / _ARGUMENTS
        if self._file.is_file() and path.is_file():
            before = read_json(path)
            for name, value in self.arguments.items():
                if value and value != before.get(name):
                    raise InputError(
                        f"{self.folder}: was begun with {name} {before.get(name) or 'not given'}, "
                        f"got {value}: choose another folder with --run-dir, or give the same value"
                    )
            _ = self.experiment
            return
        make_folder(self.folder, "--run-dir")
        keep(path, json.dumps(self.arguments, indent=2) + "\n")

    def steps(self) -> list[Step[FitStep]]:
        """Return the steps in their order."""
        found, trained = self.folder / "search", self.folder / "retrained"
        return [
            Step("init", self._file, self._begun),
            Step("search", found / DONE, lambda: searched(self.experiment, found, self.callback)),
            Step("retrain", trained / "comparison.json", self._retrained),
            Step(
                "evaluate",
                trained / "test.json",
                lambda: held_out(self.experiment, trained, self.callback),
            ),
            Step("report", self.folder / "report.html", self._report),
            Step("export", self.folder / "model.json", self._exported),
        ]

    def _begun(self) -> InitialExperiment:
        return initialize(
            **self.arguments,
            minutes=self.minutes and self.minutes * _SEARCH,
            out=self._file,
            probe_dir=self.folder / "probe",
            ask=self.ask,
            callbacks=[self.callback],
            overrides=self.words,
        )

    def _retrained(self) -> RetrainedModel:
        search = self.folder / "search"
        epochs = _epochs(self.experiment, search, self.minutes)
        if epochs is not None:
            self.callback.on_message(f"retraining: {epochs} epochs fit into the minutes")
        trained = self.folder / "retrained"
        return retrain(search, epochs=epochs, out=trained, callbacks=[self.callback])

    def _report(self) -> Report:
        return write_report(self.folder / "search", self.folder / "report.html")

    def _exported(self) -> Path:
        model, file = RetrainedModel(self.folder / "retrained"), self.folder / "model.onnx"
        return model.export(file, callbacks=[self.callback])

    def sentences(self) -> list[str]:
        """Return what came out: the error, the price, and how the file is used."""
        model = RetrainedModel(self.folder / "retrained")
        retrained = Retrained(model.folder)
        metric, unit = retrained.task.metric, retrained.task.unit
        rows = {row["network"]: row for row in reversed(model.table)}
        tested = read_tests(model.folder / "test.json")
        named = {one["network"]: one for one in tested}
        mine = named.get(REFITTED) or named["winner"]
        images = f"{mine['images']} photos ({mine['test_set'].partition(', ')[2]})"
        constant = rows.get(CONSTANT, {}).get("errors", {}).get(metric)
        against = "" if constant is None else f" against {constant:.4g} of a constant answer"
        error = f"{_mean(mine, metric):.4g}{f' {unit}' if unit else ''}"
        first = f"Error on {images}: {error}{against}."
        under = read_json(self.folder / "search" / "best.json").get("backbone_cost")
        head, counts = rows["winner"]["head"], self.experiment.objective.counts
        cost = price(head["macs"], head["params"], under, counts)
        file, verdict = self.folder / "model.onnx", model.verdict
        if verdict and REFITTED in named:
            plain = f"{verdict[0].lower()}{verdict[1:]}"
            verdict = f"Before it learnt the validation photos too: {plain}"
        return [
            " ".join(filter(None, [first, mine.get("warning"), verdict])),
            cost or f"The head has {head['macs']:,} multiply-adds.",
            f"{file} takes photos and answers: evonas predict {file} PHOTOS",
        ]


def _minutes(minutes: float) -> Override:
    return Override(("minutes",), minutes * _SEARCH, f"--minutes {minutes:g}")


def _epochs(experiment: Experiment, search: Path, minutes: float | None) -> int | None:
    """Return how many epochs of a retraining fit; None: as the experiment says."""
    seconds = [trial.seconds for trial in read_journal(search) if trial.succeeded]
    if minutes is None or not seconds:
        return None
    networks = 2 + len(read_json(search / "best.json").get("baselines", []))
    epoch = float(np.mean(seconds)) / experiment.training.epochs
    fits = int(60 * minutes * _RETRAINING / (networks * epoch))
    wanted = experiment.retraining.epochs
    return None if fits >= wanted else max(fits, min(experiment.training.epochs, wanted))


def _mean(tested: Mapping[str, Any], metric: str) -> float:
    return float(np.mean([repeat[metric] for repeat in tested["repeats"]]))
