"""Programs with 8-bit integers: their four operators are taken, by full name, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from quantizable import Wide, images, made, quantised

from evonas.errors import InputError
from evonas.models.files.exported_programs import load_program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised(made(Wide), "pt2e", tmp_path_factory.mktemp("program"), images(4))[1]


def calling(program: Path, path: Path, name: str, other: str) -> Path:
    """Copy a program in which one operator is called instead of another."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("models/model.json"):
                text = data.decode()
                assert json.dumps(name) in text
                data = text.replace(json.dumps(name), json.dumps(other), 1).encode()
            new.writestr(entry.filename, data)
    return path


def test_it_opens_where_the_library_that_made_it_is_not(program: Path) -> None:
    code = (
        "import sys; sys.modules['torchao'] = None; import numpy as np\n"
        "from evonas.models.files.quantized_network import load_quantized\n"
        "print(load_quantized(sys.argv[1]).outputs(np.zeros((3, 3, 32, 32), np.uint8)).shape)"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, str(program)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "(3, 3)\n"


@pytest.mark.parametrize(
    "other",
    [
        "torch.ops.quantized_decomposed.quantize_per_tensor.tensor",
        "torch.ops.quantized_decomposed.choose_qparams.tensor",
        "torch.ops.quantized_decomposed.quantize_per_tensor.default.name",
        "torch.ops.quantized_decomposed_more.quantize_per_tensor.default",
        "xtorch.ops.quantized_decomposed.quantize_per_tensor.default",
        "torch.ops.quantized.linear_unpack.default",
        "torch.ops.torchao.quantize_affine.default",
        "torch.ops.onednn.qconv_prepack.default",
        "os.system",
    ],
)
def test_operators_of_other_names_are_refused(program: Path, tmp_path: Path, other: str) -> None:
    name = "torch.ops.quantized_decomposed.quantize_per_tensor.default"
    path = calling(program, tmp_path / "net.pt2", name, other)
    with pytest.raises(InputError) as caught:
        load_program(path, "the file")
    message = str(caught.value)
    assert message.startswith(f"the file: calls {other!r}, which is no operator of torch's own")
    assert "\n" not in message


def test_the_copy_itself_is_read(program: Path, tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    name = "torch.ops.quantized_decomposed.quantize_per_tensor.default"
    load_program(calling(program, tmp_path / "net.pt2", name, name))
