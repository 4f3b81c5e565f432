"""Export: a retrained network with its preprocessing and its answer, as one file that is checked.

What is written takes images and gives the task's answer in the labels' own units: degrees,
years, shares of classes, places of points. It is kept only if it answers like PyTorch on
images of the experiment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from evonas.core.files import draft_of
from evonas.core.optional_imports import library
from evonas.deployment.export import onnx_file
from evonas.deployment.export.exported_model import CARD, CARD_FILE, running
from evonas.deployment.export.model_card import model_card
from evonas.deployment.export.parity_check import checked
from evonas.deployment.quantization import pt2e as quantize_pt2e
from evonas.deployment.quantization.capture import trace
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError, UnreadableImage
from evonas.estimation.cost.latency import compared, processor, threads
from evonas.estimation.features.views import View
from evonas.models.files.exported_programs import unlifted
from evonas.models.files.quantized_network import SUFFIXES, Quantized
from evonas.tasks.base import Task

Format = Literal["onnx", "torch_export"]
#: Format -> suffix of the file.
FORMATS: Mapping[str, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
_RUNTIMES = {"onnx": "ONNX Runtime", "torch_export": "torch.export"}
#: Images that the file is held against PyTorch on.
IMAGES = 32


class Answering(nn.Module):
    """A network, and what its outputs say: images in 0..255 in, a task's answers out."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers, in the labels' own units (``Task.answer``)."""
        return self._task.decode(self.network(images))


@dataclass
class Export:
    """One network of a retraining on its way to a file.

    Args:
        network: what is exported.
        kind: of the file.

    Raises:
        InputError: there is no such network, a library is missing, or the network is
            quantised for the other kind.

    Attributes:
        notes: what was done otherwise than asked for, in words.
    """

    network: RetrainedNetwork
    kind: Format
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind == "onnx":
            onnx_file.check_extra()
        source = Path(self.network.contender["weights"][0]).suffix
        self.quantised = source in SUFFIXES
        if self.quantised and source != FORMATS[self.kind]:
            other, road = ("onnx", "pt2e") if source == ".onnx" else ("torch_export", "onnx")
            raise InputError(
                f"--format {self.kind}: this network is quantised into {source}, expected --format "
                f"{other}; or quantise it again with --backend {road}"
            )

    @property
    def task(self) -> Task:
        """The task, with what the training labels settled."""
        return self.network.retrained.task

    @property
    def side(self) -> int:
        """Of the images, pixels."""
        return int(self.network.assembly.backbone.input_size)

    def run(self, path: Path) -> dict[str, Any]:
        """Write the file, check it, and return what it is and takes.

        Args:
            path: of the file; it is there only if the file answers like PyTorch.

        Raises:
            InputError: an operator has no form in the file, or it cannot be written.
            RunError: the file answers otherwise than PyTorch.
        """
        start = time.perf_counter()
        card, images = model_card(self.network, self.quantised), self.images
        with _draft(path) as draft:
            self._write(draft, card)
            with threads(1):
                found = running(draft)
                parity = self._parity(found, images)
            written = time.perf_counter() - start
            with threads(1), torch.inference_mode():
                one = images[:1]
                runs = {self._here: partial(self._answering, one)}
                runs[f"{_RUNTIMES[self.kind]}, the file"] = partial(found, one.numpy())
                times = compared(runs)
            size = draft.stat().st_size
        packages = ("torch", *(("onnx", "onnxruntime") if self.kind == "onnx" else ()))
        return {
            "file": path.name,
            "kind": self.kind,
            **card,
            "parity": parity,
            "bytes": size,
            "latency": {name: asdict(one) for name, one in times.items()},
            "cpu": processor(),
            "packages": {name: version(name) for name in packages},
            "seconds": {
                "exporting": round(written, 2),
                "measuring": round(time.perf_counter() - start - written, 2),
            },
            "notes": [*self.notes, *self.network.assembly.warnings()],
        }

    @cached_property
    def images(self) -> Tensor:
        """Images of the split that judges, as the network takes them, (n, 3, side, side)."""
        dataset = self.network.assembly.dataset
        judges = dataset.sides()[self.network.side]
        places = np.linspace(0, len(judges) - 1, min(IMAGES, len(judges))).round().astype(int)
        crops, wrong = [], ""
        for index in judges[np.unique(places)].tolist():
            try:
                image = dataset.image(index)
            except UnreadableImage as error:
                wrong = str(error)
            else:
                crops.append(View().apply(image, index, self.side, dataset.margin))
        if not crops:
            raise InputError(f"data: no image of the {self.network.side} split is left: {wrong}")
        return torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32))

    @cached_property
    def _answering(self) -> Answering:
        """The network in PyTorch; of a quantised one, what runs its file."""
        network = self.network.head if self.quantised else self.network.whole
        return Answering(network, self.task).eval()

    @property
    def _here(self) -> str:
        return "the quantised file" if self.quantised else "PyTorch, eager"

    def _write(self, path: Path, card: Mapping[str, Any]) -> None:
        text = json.dumps(card)
        if self.kind == "onnx":
            output = self.task.answer.output
            if self.quantised:
                made = onnx_file.joined(
                    library("onnx", "exporting to ONNX", "export").load(str(self._source)),
                    Answering(nn.Identity(), self.task),
                    self.network.head(self.images[:1]).expand(2, *self._outputs),
                    output,
                )
            else:
                made = onnx_file.model(self._program(self._answering), output)
            plain = {
                "input_size": str(self.side),
                "output": output,
                "columns": ", ".join(self.task.answer.columns),
                "unit": self.task.answer.unit,
                "task": str(card["task"]),
            }
            onnx_file.save(made, path, {CARD: text, **plain})
            return
        module: nn.Module = self._answering
        if self.quantised:
            quantised: Quantized = self.network.head  # type: ignore[assignment]
            assert quantised.program is not None
            module = Answering(quantised.program, self.task)
        program = self._program(module)
        _own_operators(program)
        # Traced twice: the first program has also the weights that the network does not use.
        plainer = self._program(unlifted(program))
        quantize_pt2e.save(plainer, path, {CARD_FILE: text})

    @property
    def _source(self) -> Path:
        name = self.network.contender["weights"][self.network.repeat]
        return self.network.retrained.folder / Path(name).name

    @property
    def _outputs(self) -> tuple[int, ...]:
        return tuple(self.network.head(self.images[:1]).shape[1:])

    def _program(self, module: nn.Module) -> ExportedProgram:
        try:
            return trace(module, self.side, any_batch=True)
        except InputError:
            # A backbone that was itself exported for single images, say.
            program = trace(module, self.side, any_batch=False)
            note = "the file takes one image at a time, as its backbone does"
            self.notes += [note] if note not in self.notes else []
            return program

    def _parity(self, run: Any, images: Tensor) -> dict[str, Any]:
        """Return how far the file's answers are from PyTorch's.

        Raises:
            RunError: too far.
        """
        parts = [part for part in (images[:1], images[1:8], images[8:]) if len(part)]
        with torch.inference_mode():
            outputs = torch.cat([self._answering.network(part) for part in parts])
        expected = self.task.read(outputs.numpy())
        found = np.concatenate([run(part.numpy()) for part in parts])
        hint = f"try --format {'torch_export' if self.kind == 'onnx' else 'onnx'}"
        said = checked(self.task.answer, expected, found, hint)
        return {"images": len(images), "split": f"{self.network.side} split", **said}


def _own_operators(program: ExportedProgram) -> None:
    """Refuse a program with operators that opening a file would refuse.

    Raises:
        InputError: one is not torch's own.
    """
    for node in program.graph.nodes:
        space = getattr(node.target, "namespace", "aten")
        if node.op == "call_function" and space not in ("aten", "quantized_decomposed"):
            raise InputError(
                f"a .pt2 file holds torch's own operators alone, and module "
                f"{onnx_file.place(node)!r} of the network calls {node.target}: replace it there"
            )


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a file beside the one that is meant; it is moved there if nothing went wrong.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path, f".draft{path.suffix}") as draft:
            yield draft
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}): choose another file with --out"
        ) from error
