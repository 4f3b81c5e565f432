"""``evonas export --example``: programs that run an exported file without evonas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, said
from exported import pictures, retrained
from PIL import Image

from evonas import load_exported
from evonas.deployment.export.examples import LANGUAGES, write_example
from evonas.workflows.components import Components

CARD: dict[str, Any] = {
    "input": {"size": 24},
    "output": "values",
    "answer": {"kind": "values", "columns": ['the "$age"', "smile"], "unit": "years", "label": ""},
    "crop": {"shape": "whole", "size": 0, "margin": 0.0},
}


#: Where Debian puts the headers of libonnxruntime-dev and libstb-dev; others by CPATH.
INCLUDES = ["-I/usr/include/onnxruntime", "-isystem", "/usr/include/stb"]
HEADERS = (
    "#include <onnxruntime_cxx_api.h>\n#include <stb_image.h>\n#include <stb_image_resize2.h>\n"
)


#: Packages of npm.
MODULES = Path(os.environ.get("NODE_PATH", "node_modules"))


def cpp_misses() -> str:
    """Return what is missing for the program in C++; empty if nothing is."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    words = ["g++", "-std=c++17", *INCLUDES, "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(words, input=HEADERS, capture_output=True, text=True, check=False)
    return "no headers of ONNX Runtime or stb (CPATH)" if done.returncode else ""


def node_misses() -> str:
    """Return what is missing for the program in JavaScript; empty if nothing is."""
    if shutil.which("node") is None:
        return "node is not installed"
    found = all((MODULES / name).is_dir() for name in ("onnxruntime-node", "sharp"))
    return "" if found else "no onnxruntime-node and sharp in NODE_PATH"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A network of two tasks, whose file has an output for each."""
    tasks = {"pose": {"name": "head_pose"}, "mouth": {"name": "regression", "labels": "mouth_open"}}
    folder = tmp_path_factory.mktemp("several")
    return retrained(components, folder, task={"name": "several", "tasks": tasks})


def numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value, *_ in map(str.split, text.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("language", ["python", "cpp", "js"])
def test_a_program_gives_the_answers_of_several_tasks(
    evonas: Cli, several: Path, tmp_path: Path, language: str
) -> None:
    """The program in C++ is compiled against the library of the Python package."""
    misses = {"cpp": cpp_misses, "js": node_misses}
    if language in misses and (missing := misses[language]()):
        pytest.skip(missing)
    words = ("--out", tmp_path / "head.onnx", "--example", language)
    code, _, err = evonas("export", several, *words)
    assert (code, err) == (0, "")
    photo = pictures(several, tmp_path / "photos", [3])[0]
    run = [sys.executable, str(tmp_path / "head_example.py")]
    if language == "cpp":
        import onnxruntime

        (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
        run = [str(tmp_path / "example")]
        program = str(tmp_path / "head_example.cpp")
        warn = ["-Wall", "-Werror", "-std=c++17"]
        (tmp_path / "libonnxruntime.so.1").symlink_to(library)
        link = [str(library), f"-Wl,-rpath,{tmp_path}", "-o", run[0]]
        subprocess.run(["g++", *warn, program, *INCLUDES, *link], check=True, timeout=120)
    if language == "js":
        (tmp_path / "node_modules").symlink_to(MODULES.resolve())
        run = ["node", str(tmp_path / "head_example.mjs")]
    done = subprocess.run(
        [*run, str(photo)], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    expected = load_exported(tmp_path / "head.onnx").predict(photo)
    flat = {f"{task}.{name}": v for task, part in expected.items() for name, v in part.items()}
    assert numbers(done.stdout) == pytest.approx(flat, abs=0.02)


@pytest.mark.slow
def test_the_python_program_answers_as_predict_does(
    evonas: Cli, components: Components, tmp_path: Path
) -> None:
    folder = retrained(components, tmp_path)
    code, out, err = evonas("export", folder, "--out", "out/head.onnx", "--example", "python")
    assert (code, err) == (0, "")
    assert "out/head_example.py" in out
    photo = pictures(folder, tmp_path / "photos", [3])[0]
    words = [sys.executable, tmp_path / "out/head_example.py", photo]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    expected = load_exported(tmp_path / "out/head.onnx").predict(photo)
    assert [(name, unit) for name, _, unit in lines] == [(name, "degrees") for name in expected]
    for (_, value, _), angle in zip(lines, expected.values(), strict=True):
        assert float(value) == pytest.approx(angle, abs=0.01)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_has_the_literals_of_its_card(tmp_path: Path, language: str) -> None:
    program = write_example(tmp_path / "age.onnx", CARD, language)
    text = program.read_text("utf-8")
    assert not [word for word in text.split() if word.strip(",;").startswith("@")]
    assert '"age.onnx"' in text
    name = '"the \\"\\$age\\""' if language == "kotlin" else '"the \\"$age\\""'
    assert name in text
    if language == "python":
        compile(text, str(program), "exec")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("crop", [{}, {"shape": "image", "margin": 0.1}])
def test_the_program_for_node_crops_as_pillow_does(tmp_path: Path, crop: dict[str, Any]) -> None:
    card = {**CARD, "crop": {**CARD["crop"], **crop}}
    program = write_example(tmp_path / "age.onnx", card, "js")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 4), np.uint8)
    script = (
        f"import {{ crop }} from {json.dumps(str(program))};"
        f"const found = crop({pixels.ravel().tolist()}, 40, 60);"
        "console.log(JSON.stringify(Array.from(found)));"
    )
    words = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    found = np.array(json.loads(done.stdout)).reshape(3, 24, 24)
    photo, box = Image.fromarray(pixels[:, :, :3]), (4.0, 6.0, 36.0, 54.0)
    if not crop:
        square = Image.new("RGB", (60, 60))
        square.paste(photo, (10, 0))
        photo, box = square, (0.0, 0.0, 60.0, 60.0)
    expected = np.asarray(photo.resize((24, 24), Image.Resampling.BILINEAR, box=box), float)
    inner = (slice(None), slice(2, -2), slice(2, -2))  # at the edges the filters differ
    np.testing.assert_allclose(found[inner], expected.transpose(2, 0, 1)[inner], atol=1.01)


def test_a_program_that_cannot_be_is_refused(evonas: Cli, tmp_path: Path) -> None:
    assert "no such language: did you mean" in said(evonas("export", "x", "--example", "kotlinn"))
    line = said(evonas("export", "x", "--example", "js", "--format", "torch_export"))
    assert line == "--example js: runs an .onnx file: leave out --format torch_export"
