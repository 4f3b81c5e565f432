"""Export a retrained network with its preprocessing and decoding to one file, and check it.

The exported network takes images and returns predictions in the units of the labels: degrees,
years, probabilities of classes, positions of key points. The file is kept only if its
predictions on images of the experiment equal PyTorch's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from evonas.core.files import draft_of, move_into_place, writing
from evonas.core.optional_imports import library
from evonas.deployment import onnx_file
from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.deployment.export.formats import FORMATS, TorchSource, name_of
from evonas.deployment.export.model_card import model_card
from evonas.deployment.export.parity_check import PARITY, check_parity
from evonas.deployment.merged_onnx import EMBEDDING, embedding_of, merged
from evonas.deployment.quantization.capture import trace
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError, RunError, UnreadableImage
from evonas.estimation.cost.latency import compared, processor, threads
from evonas.estimation.features.views import View
from evonas.models.backbones.onnx import Onnx
from evonas.models.files.onnx_session import session
from evonas.models.files.quantized_network import SUFFIXES, Quantized
from evonas.tasks.base import Task

#: Number of images on which the file is compared with PyTorch.
IMAGES = 32


class DecodedNetwork(nn.Module):
    """A network followed by the task's decoding: images in 0..255 -> predictions."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, images: Tensor) -> Tensor:
        """Return the predictions in the units of the labels (``Task.answer``)."""
        return self._task.decode(self.network(images))


@dataclass
class Export:
    """Export of one network of a retraining.

    Args:
        network: the retrained network.
        kind: format of the file: a name in ``FORMATS``.
        keep_embedding: whether the file gives the backbone's own embedding as well.

    Raises:
        InputError: there is no such network, the network is quantised into the other format,
            or its backbone does not allow the format or the embedding.

    Attributes:
        notes: deviations from the settings, for the user.
    """

    network: RetrainedNetwork
    kind: str
    keep_embedding: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._format = FORMATS[self.kind]
        source = Path(self.network.contender["weights"][0]).suffix
        self.quantised = source in SUFFIXES
        if self.quantised and source != self._format.suffix:
            backend = self._format.backend
            raise InputError(
                f"--format {self.kind}: this network is quantised into {source}, expected --format "
                f"{name_of(source)}"
                + (f"; or quantise it again with --backend {backend}" if backend else "")
            )
        backbone = self.network.components.backbone
        if self._format.of_torch:
            backbone.require_torch(f"--format {self.kind}")
        self._graph = backbone if isinstance(backbone, Onnx) else None
        if self.keep_embedding and self.kind != "onnx":
            raise InputError(
                f"--keep-embedding: needs --format onnx, got {self.kind}: leave it out"
            )
        if self.keep_embedding and self._graph is None:
            raise InputError(
                "--keep-embedding: expected a backbone from an .onnx file (backbone 'onnx'), got "
                f"{self.network.components.experiment.backbone.name!r}: leave it out"
            )

    @property
    def task(self) -> Task:
        """The task, with the options that it derived from the training labels."""
        return self.network.task

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        return int(self.network.components.backbone.input_size)

    def run(self, path: Path) -> dict[str, Any]:
        """Write and check the file, and return its model card, size and latency.

        Args:
            path: file to write; it is not created if its predictions differ from PyTorch's.

        Raises:
            InputError: the format lacks an operator, or the file cannot be written.
            RunError: the predictions of the file differ from PyTorch's.
        """
        start = time.perf_counter()
        _ = self.network.head  # refuses a training that there is not
        card, images = model_card(self.network, self.quantised), self.images
        if self._graph is not None and self.keep_embedding:
            sizes = self._graph.sizes_of(embedding_of(self._graph))
            card["embedding"] = {"output": EMBEDDING, "size": sizes[1]}
        with _draft(path) as draft:
            self._write(draft, card)
            with threads(1):
                run = self._format.run(draft, tuple(self.task.answer.parts), 1)
                parity = self._parity(run, images)
                if self._graph is not None and self.keep_embedding:
                    parity |= _same_embedding(self._graph, draft, images)
            written = time.perf_counter() - start
            with threads(1), torch.inference_mode():
                image = images[:1]
                runs = {self._original: partial(self._decoded, image)}
                runs[f"{self._format.runtime}, the file"] = partial(run, image.numpy())
                runs |= self._others(path, card, image.numpy())
                times = compared(runs)
            size = sum(file.stat().st_size for file in (draft, *self._format.others(draft)))
        packages = ("torch", *self._format.packages)
        return {
            "file": path.name,
            "kind": self.kind,
            **card,
            "parity": parity,
            "bytes": size,
            "latency": {name: asdict(latency) for name, latency in times.items()},
            "cpu": processor(),
            "packages": {name: version(name) for name in packages},
            "seconds": {
                "exporting": round(written, 2),
                "measuring": round(time.perf_counter() - start - written, 2),
            },
            "notes": [*self.notes, *self.network.components.warnings()],
        }

    @cached_property
    def images(self) -> Tensor:
        """Evenly spaced images of the evaluation split, (n, 3, side, side) RGB in 0..255."""
        dataset = self.network.components.dataset
        judges = dataset.sides()[self.network.side]
        chosen = np.linspace(0, len(judges) - 1, min(IMAGES, len(judges))).round().astype(int)
        crops, last_error = [], ""
        for index in judges[np.unique(chosen)].tolist():
            try:
                image = dataset.image(index)
            except UnreadableImage as error:
                last_error = str(error)
            else:
                crops.append(View().apply(image, index, self.side, dataset.margin_of(index)))
        if not crops:
            raise InputError(
                f"data: no image of the {self.network.side} split can be read: {last_error}"
            )
        return torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32))

    @cached_property
    def _decoded(self) -> DecodedNetwork:
        """The network before export: in PyTorch, or from its file if it is quantised."""
        network = self.network.head if self.quantised else self.network.full_network
        return DecodedNetwork(network, self.task).eval()

    @property
    def _original(self) -> str:
        if self.quantised:
            return "the quantised file"
        return "PyTorch, eager" if self._graph is None else "backbone, then head"

    def _write(self, path: Path, card: Mapping[str, Any]) -> None:
        answer = self.task.answer
        facts = {
            "input_size": str(self.side),
            "output": ", ".join(answer.outputs),
            "columns": ", ".join(answer.columns),
            "unit": answer.unit,
            "task": str(card["task"]),
        }
        source = self._torch_source() if self._format.of_torch else self._onnx_model()
        self._format.write(source, path, json.dumps(card), facts)

    def _onnx_model(self) -> Any:
        """Return the network with its decoding as an ONNX model, with an output for each task."""
        answer = self.task.answer
        if self.quantised:
            model = onnx_file.joined(
                library("onnx", "exporting to ONNX").load(str(self._source)),
                DecodedNetwork(nn.Identity(), self.task),
                self.network.head(self.images[:1]).expand(2, *self._output_shape),
                answer.output,
            )
        elif self._graph is not None:
            head = DecodedNetwork(self.network.head, self.task).eval()
            tap, embedding = self.network.tap, self.keep_embedding
            model = merged(self._graph, tap, head, answer.output, embedding)
            if self._graph.sessions.batch:
                self._note_single_images()
        else:
            model = onnx_file.model(self._program(self._decoded), answer.output)
        if answer.parts:
            widths = {name: len(part.columns) for name, part in answer.parts.items()}
            onnx_file.split_output(model, answer.output, widths)
        return model

    def _torch_source(self) -> TorchSource:
        """Return the network with its decoding as a torch module, with one output."""
        module: nn.Module = self._decoded
        if self.quantised:
            quantised: Quantized = self.network.head  # type: ignore[assignment]
            assert quantised.program is not None
            module = DecodedNetwork(quantised.program, self.task)
        if self._format.single:
            self._note_single_images(self._format.single)
        if self.task.members:
            self.notes.append("the predictions of the tasks are columns of one output")
        return TorchSource(module, self.images[:1], self._program)

    def _others(
        self, path: Path, card: Mapping[str, Any], image: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Return what runs the other formats of this network that lie in the file's folder.

        Files that cannot be opened, perhaps because their runtime is not installed, are left out.
        """
        same = ("architecture", "network", "repeat", "tap", "quantised", "hashes")
        found: dict[str, Any] = {}
        for form in FORMATS.values():
            files = path.parent.glob(f"[!.]*{form.suffix}") if form is not self._format else ()
            for file in sorted(files):
                with suppress(InputError):
                    other = ExportedNetwork.load(file)
                    if all(other.card.get(key) == card[key] for key in same):
                        found[f"{form.runtime}, {file.name}"] = partial(other.run, image)
        return found

    @property
    def _source(self) -> Path:
        name = self.network.contender["weights"][self.network.repeat]
        return self.network.retrained.folder / Path(name).name

    @property
    def _output_shape(self) -> tuple[int, ...]:
        return tuple(self.network.head(self.images[:1]).shape[1:])

    def _program(self, module: nn.Module) -> ExportedProgram:
        try:
            return trace(module, self.side, any_batch=True)
        except InputError:
            # The backbone may be a program that was exported for single images.
            program = trace(module, self.side, any_batch=False)
            self._note_single_images()
            return program

    def _note_single_images(self, why: str = "as its backbone does") -> None:
        note = f"the file takes one image at a time, {why}"
        self.notes += [note] if note not in self.notes else []

    def _parity(self, run: Any, images: Tensor) -> dict[str, Any]:
        """Return the largest difference between the predictions of the file and of PyTorch.

        Raises:
            RunError: the difference is too large.
        """
        batches = [part for part in (images[:1], images[1:8], images[8:]) if len(part)]
        with torch.inference_mode():
            outputs = torch.cat([self._decoded.network(batch) for batch in batches])
        expected = self.task.read(outputs.numpy())
        got = np.concatenate([run(batch.numpy()) for batch in batches])
        hint = f"try --format {self._format.alternative}"
        result = check_parity(self.task.answer, expected, got, hint)
        return {"images": len(images), "split": f"{self.network.side} split", **result}


def _same_embedding(backbone: Onnx, file: Path, images: Tensor) -> dict[str, Any]:
    """Return the largest difference between the embeddings of a file and of its backbone.

    Raises:
        RunError: it is larger than rounding explains.
    """
    (expected,) = backbone.sessions.run(images.numpy(), (embedding_of(backbone),))
    got = session(file, outputs=(EMBEDDING,))(images.numpy())
    largest, scale = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    if not largest <= PARITY * scale:
        raise RunError(
            f"the exported file gives other embeddings than the backbone: expected differences of "
            f"at most {PARITY * scale:.1e} on {len(images)} images, got {largest:.1e}; no file is "
            "left: leave out --keep-embedding"
        )
    return {"embedding_difference": largest}


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, which replaces ``path`` if no exception is raised.

    Raises:
        InputError: the file cannot be written.
    """
    form = FORMATS[name_of(path.suffix)]
    with writing(path, "choose another file with --out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path, f".draft{path.suffix}") as draft:
            try:
                yield draft
                for weights in form.others(draft):
                    move_into_place(weights, path.with_suffix(weights.suffix))
            finally:
                for weights in form.others(draft):
                    weights.unlink()
