"""The result of a retraining, fine-tuning, pruning or quantisation, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.api.network_folders import network_folder
from evonas.core.overrides import Word, given
from evonas.errors import InputError
from evonas.report.tables import Table, held_out
from evonas.runs.callbacks import Callback, CallbackList

if TYPE_CHECKING:
    from evonas.api.evaluation import Data, Evaluation
    from evonas.deployment.distinctiveness.study import Removal
    from evonas.workflows.evaluation import Retrained
    from evonas.workflows.judging import Include

# The bodies of these methods return such objects themselves, and load torch: so they are imported
# when they are called.


@dataclass(frozen=True)
class DistinctivenessStudy:
    """Units of linear layers that repeat others, and what their removal does.

    Attributes:
        folder: with distinctiveness.md and distinctiveness.json.
        removals: a layer of a network, a way to compare and a way to remove each.
        tables: pairs of units beside those of null models, and errors without these units.
    """

    folder: Path
    removals: tuple[Removal, ...] = field(repr=False)
    tables: tuple[Table, ...] = field(compare=False, repr=False)


@dataclass(frozen=True)
class RetrainedModel:
    """Trained networks in a folder: weights, errors, costs.

    Args:
        folder: that a retraining, fine-tuning, pruning or quantisation wrote.
        tables: what the command line prints of it; none where the folder was loaded.
        notes: lines below the tables.

    Examples:
        >>> model = evonas.retrain("runs/quickstart", epochs=30)
        >>> model.prune(threshold=0.1).quantize(backend="onnx").export("head.onnx")
    """

    folder: Path
    tables: tuple[Table, ...] = field(default=(), compare=False, repr=False)
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> RetrainedModel:
        """Return the networks of a folder, or of a run directory with ``retrained`` in it.

        Raises:
            InputError: nothing retrained is there, or a file is damaged.

        Examples:
            >>> evonas.RetrainedModel.load("runs/quickstart/retrained").table
        """
        model = cls(network_folder(Path(folder)))
        _ = model.table  # what is wrong with it is said here
        return model

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each network: what the command line prints, as data.

        Keys: ``network`` and ``tap``; ``split``, whose images judged; ``errors`` and
        ``spread``, metric -> mean, and sample standard deviation of several trainings, in the
        task's units; ``trainings``, how many worked; ``head`` and ``backbone``, each with
        ``macs`` (multiply-adds of an image), ``params`` and ``megabytes`` (decimal); and
        ``failures``, a line each.

        Raises:
            InputError: nothing retrained is there, or a file is damaged.
        """
        content = self._retrained().content
        split = held_out(content.get("folds", 0), content.get("fold_by", ""))
        return [_row(one, split) for one in content["contenders"]]

    @property
    def verdict(self) -> str:
        """What the search was worth: the winner's error against the best baseline's, in words.

        Empty without a winner or baselines.

        Raises:
            InputError: nothing retrained is there, or a file is damaged.
        """
        return self._retrained().content.get("verdict", "")

    def evaluate(
        self,
        data: Data,
        *,
        flip: bool = False,
        include: Include = "unused",
        published: bool = False,
        callbacks: Iterable[Callback] = (),
        overrides: Iterable[Word] = (),
        **options: Any,
    ) -> Evaluation:
        """Test the networks on images that neither training nor validation used.

        Args:
            data: name of a data set, or several with their options.
            flip: average outputs with those for the mirrored images: twice the work.
            include: judge also images that validated (``validation``), or all (``trained``);
                the errors then flatter, and every table says so.
            published: add tables of published results.
            callbacks: receive progress.
            overrides: changes to the experiment as ``key=value`` words.
            options: of the data set, such as ``root="AFLW2000"``.

        Raises:
            InputError: the folder, the data set or an option is wrong, or no image is left to
                judge.

        Examples:
            >>> model.evaluate("aflw2000", root="AFLW2000", flip=True).table
        """
        from evonas.api.evaluation import evaluate

        return evaluate(
            self,
            data,
            flip=flip,
            include=include,
            published=published,
            callbacks=callbacks,
            overrides=overrides,
            **options,
        )

    def prune(
        self,
        *,
        threshold: float | None = None,
        epochs: int | None = None,
        network: str = "",
        repeat: int = 0,
        out: str | Path | None = None,
        callbacks: Iterable[Callback] = (),
        overrides: Iterable[Word] = (),
        **changes: Any,
    ) -> RetrainedModel:
        """Take out of the backbone what a network does not need, and train both on.

        A call that was stopped goes on when it is repeated.

        Args:
            threshold: of the knee of a characteristic curve, as a share of its range; None: as
                the experiment says.
            epochs: passes over the training images afterwards; None: as the experiment says.
            network: name in the table; empty: the refitted winner, or else the first.
            repeat: which training of it, from 0.
            out: folder; by default ``pruned-THRESHOLD`` in that of the network.
            callbacks: receive progress.
            overrides: changes to the experiment as ``key=value`` words.
            changes: changes to the experiment, as ``Experiment.load`` takes them.

        Returns:
            The pruned network, backbone and head, trained on.

        Raises:
            InputError: the network or a change is wrong, or the backbone cannot be traced.
            EvonasError: the pruned network does not compute what it should.

        Examples:
            >>> small = model.prune(threshold=0.1, epochs=5)
        """
        from evonas.api.pruning import prune

        words = [
            *overrides,
            *given({} if threshold is None else {"prune.threshold": threshold}),
            *given({} if epochs is None else {"prune.training.epochs": epochs}),
            *given(changes),
        ]
        return prune(self._retrained(words), network, repeat, _path(out), CallbackList(callbacks))

    def finetune(self, **options: Any) -> RetrainedModel:
        """Train a head further with the layers below it; see ``evonas.finetune``.

        Args:
            options: all that ``evonas.finetune`` takes besides the networks.

        Raises:
            InputError: an option is wrong, or the backbone cannot be cut.

        Examples:
            >>> tuned = model.finetune(frozen_up_to="block2", epochs=5)
        """
        from evonas.api.finetuning import finetune

        return finetune(self, **options)

    def quantize(
        self,
        *,
        backend: str | None = None,
        qat: bool | None = None,
        images: int | None = None,
        network: str = "",
        repeat: int = 0,
        compiling: bool = False,
        out: str | Path | None = None,
        callbacks: Iterable[Callback] = (),
        overrides: Iterable[Word] = (),
        **changes: Any,
    ) -> RetrainedModel:
        """Turn a network, backbone and head, into 8-bit integers.

        A training that was stopped goes on when the call is repeated.

        Args:
            backend: ``onnx`` (ONNX Runtime) or ``pt2e`` (a program of torch); None: as the
                experiment says.
            qat: train on with simulated rounding first (quantisation-aware training).
            images: of the training split, that ranges of activations are taken from.
            network: name in the table; empty: the refitted winner, or else the first.
            repeat: which training of it, from 0.
            compiling: also measure torch.compile, which takes minutes and a C++ compiler.
            out: folder; by default ``int8`` in that of the network.
            callbacks: receive progress.
            overrides: changes to the experiment as ``key=value`` words.
            changes: changes to the experiment, as ``Experiment.load`` takes them.

        Returns:
            The quantised network.

        Raises:
            InputError: the network or a change is wrong, a library is missing, or the network
                cannot be quantised.
            RunError: training diverged.

        Examples:
            >>> small = model.quantize(backend="onnx", images=512)
        """
        from evonas.api.quantization import quantize

        words = [
            *overrides,
            *given({} if backend is None else {"quantize.road": backend}),
            *given({} if qat is None else {"quantize.aware": qat}),
            *given({} if images is None else {"quantize.images": images}),
            *given(changes),
        ]
        callback = CallbackList(callbacks)
        retrained = self._retrained(words)
        return quantize(retrained, network, repeat, _path(out), compiling, callback)

    def export(
        self,
        path: str | Path | None = None,
        *,
        format: str | None = None,
        network: str = "",
        repeat: int = 0,
        keep_embedding: bool = False,
        callbacks: Iterable[Callback] = (),
        overrides: Iterable[Word] = (),
        **changes: Any,
    ) -> Path:
        """Write a network as one file: images in, degrees (or years, classes, points) out.

        The file is kept only if it answers as PyTorch does. Beside it lies a ``.json`` that says
        what goes in and out, and what it takes.

        Args:
            path: of the file; by default in ``export`` in the folder of the network.
            format: ``onnx``, ``torch_export``, ``openvino`` or ``litert``; None: as the ending of
                ``path`` says (.onnx, .pt2, .xml, .tflite), else ``onnx``.
            network: name in the table; empty: the refitted winner, or else the first.
            repeat: which training of it, from 0.
            keep_embedding: whether the file gives the embedding of its backbone as well; for
                backbones from .onnx files.
            callbacks: receive progress.
            overrides: changes to the experiment as ``key=value`` words.
            changes: changes to the experiment, as ``Experiment.load`` takes them.

        Returns:
            The file; see ``evonas.load_exported``.

        Raises:
            InputError: the network, the format or the path is wrong, a library is missing, or an
                operator has no form in the file.
            RunError: the file answers otherwise than PyTorch.

        Examples:
            >>> evonas.load_exported(model.export("head.onnx")).predict("photo.jpg")
        """
        from evonas.api.exporting import export

        retrained = self._retrained([*overrides, *given(changes)])
        callback = CallbackList(callbacks)
        return export(retrained, format, network, repeat, _path(path), callback, keep_embedding)

    def distinctiveness(
        self,
        *,
        network: str = "",
        similar: float = 15.0,
        complementary: float = 165.0,
        patterns: int = 1000,
        repeats: int = 20,
        seed: int = 0,
        callbacks: Iterable[Callback] = (),
        overrides: Iterable[Word] = (),
    ) -> DistinctivenessStudy:
        """Find units of the heads' linear layers that repeat others; measure the heads without.

        Nothing is trained. ``distinctiveness.md`` and ``.json`` are written in the folder
        ``distinctiveness`` beside the networks. Method: Gedeon and Harris 1991.

        Args:
            network: name in the table; empty: all with weights.
            similar, complementary: degrees below which two units are similar, and beyond which
                they are complementary.
            patterns: training images, at most, that activations are taken from.
            repeats: draws of each null model.
            seed: of these draws.
            callbacks: receive progress.
            overrides: changes to the experiment as ``key=value`` words.

        Raises:
            InputError: there is no such network, none ends in a linear layer, or a number is out
                of range.

        Examples:
            >>> model.distinctiveness(patterns=500).removals[0].removed
            3
        """
        from evonas.deployment.distinctiveness.run_study import StudyOptions, study

        options = StudyOptions(similar, complementary, patterns, repeats, seed)
        progress = CallbackList(callbacks).on_progress
        removals, tables = study(self._retrained(list(overrides)), network, options, progress)
        folder = self.folder / "distinctiveness"
        return DistinctivenessStudy(folder, tuple(removals), tuple(tables))

    def _retrained(self, words: Sequence[Word] = ()) -> Retrained:
        from evonas.workflows.evaluation import Retrained

        return Retrained(self.folder, tuple(words))


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _row(contender: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Return a row of ``RetrainedModel.table``; ``split`` is that of a cross-validation."""
    results: Sequence[Mapping[str, float]] = contender["results"]
    names = list(results[0]) if results else []
    prefix = "test_" if any(name.startswith("test_") for name in names) else ""
    shown = [n for n in names if n != "epoch" and n.startswith("test_") == bool(prefix)]
    values = {
        name.removeprefix(prefix): np.array([r[name] for r in results if r.get(name) is not None])
        for name in shown
    }
    return {
        "network": contender["name"],
        "tap": contender["tap"],
        "split": split or ("test" if prefix else "validation"),
        "trainings": len(results),
        "errors": {name: float(some.mean()) for name, some in values.items() if len(some)},
        "spread": {n: float(some.std(ddof=1)) for n, some in values.items() if len(some) > 1},
        "head": _cost(contender["head"]),
        "backbone": _cost(contender["backbone_up_to_tap"]),
        "failures": list(contender.get("failures", [])),
    }


def _cost(plain: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {name: plain[name] for name in ("macs", "params", "megabytes")}
    except KeyError as error:
        raise InputError(f"comparison.json: a cost has no {error}: retrain again") from error
