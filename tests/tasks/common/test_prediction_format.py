"""Every kind of answer as an .onnx file: the same numbers for any number of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from evonas.core.optional_imports import quiet
from evonas.core.rotations import geodesic, matrices
from evonas.deployment import onnx_file
from evonas.deployment.export.exporter import DecodedNetwork
from evonas.errors import InputError
from evonas.models.files.onnx_session import Run, session
from evonas.tasks.base import Task
from evonas.tasks.classification import Classification
from evonas.tasks.common.prediction_format import Answer
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.key_points import KeyPoints
from evonas.tasks.regression import Regression

ALL: dict[str, Any] = {"yaw": (), "pitch": (), "roll": ()}
TWO: dict[str, Any] = {"yaw": (), "pitch": ()}
POINTS: dict[str, Any] = {"eye.x": (), "eye.y": (), "nose.x": (), "nose.y": ()}
SCALES: dict[str, Any] = {"centre": [40.0, 1e-3], "scale": [12.0, 2e-4]}
TASKS: dict[str, Task] = {
    "angles": HeadPose(TWO),
    "bins": HeadPose(ALL, output="bins"),
    "distribution": HeadPose(ALL, output="distribution"),
    "rotation": HeadPose(ALL, output="rotation6d"),
    "rotation without roll": HeadPose(TWO, output="rotation6d"),
    "regression": Regression({"age": (), "share": ()}, **SCALES),
    "classification": Classification({"mood": ("sad", "even", "glad")}),
    "key points": KeyPoints(POINTS),
}
CELLS = 7


def written(task: Task, path: Path) -> Run:
    """The reading of outputs alone as a file; its input has four dimensions, as images have."""

    class Flat(nn.Module):
        def forward(self, outputs: torch.Tensor) -> torch.Tensor:
            return outputs if task.dense else outputs.flatten(1)

    example = torch.zeros(2, task.n_outputs, *((CELLS, CELLS) if task.dense else (1, 1)))
    with torch.no_grad(), quiet():
        module = DecodedNetwork(Flat(), task).eval()
        program = torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch")},))
    onnx_file.save(onnx_file.model(program, task.answer.output), path, {"evonas": "{}"})
    return session(path)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "angles"])  # test_export.py
def test_a_file_answers_as_the_task_predicts(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    run = written(task, tmp_path / "answers.onnx")
    rng = np.random.default_rng(0)
    cells = (CELLS, CELLS) if task.dense else (1, 1)
    every = rng.normal(0, 1, (40, task.n_outputs, *cells)).astype(np.float32)
    outputs = every if task.dense else every[:, :, 0, 0]
    expected = task.read(outputs)
    found = np.concatenate([run(every[:1]), run(every[1:8]), run(every[8:])])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-4)
    if name != "classification":
        np.testing.assert_array_equal(expected.reshape(40, -1), task.predictions(outputs))


def test_a_head_in_profile_is_read_in_single_precision() -> None:
    """An arc sine of a float near 1 would be off by hundredths of a degree."""
    task, poses = TASKS["rotation"], np.array([[89.9, 4, -3], [-89.5, 0, 8], [90, 0, 0]])
    columns = matrices(poses)[:, :, :2].transpose(0, 2, 1).reshape(3, 6)
    outputs = torch.from_numpy((columns - [1, 0, 0, 0, 1, 0]).astype(np.float32))
    found = task.decode(outputs).numpy()
    np.testing.assert_allclose(found[:, 0], poses[:, 0], atol=1e-3)
    assert geodesic(matrices(found), matrices(poses)).max() < 1e-3


def test_the_lowest_maps_have_their_peak_in_a_cell() -> None:
    """A map without any peak is read as well, and within half a cell of its first highest."""
    flat = np.zeros((2, 2, CELLS, CELLS), np.float32)
    found = TASKS["key points"].read(flat)
    assert np.isfinite(found).all()
    assert (np.abs(found[..., :2] - 0.5 / CELLS) <= 0.5 / CELLS + 1e-6).all()


@pytest.mark.parametrize(
    "wrong", [{"kind": "boxes"}, {"columns": []}, {"columns": [1]}, {"columns": "yaw"}, {"unit": 4}]
)
def test_other_data_are_no_answer(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected an answer with a kind"):
        Answer.from_dict(TASKS["angles"].answer.to_dict() | wrong)
