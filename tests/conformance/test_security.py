"""Files that a stranger hands over: none runs code, reaches out of its folder or fills memory."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import Cli, said
from mutations import command, owed, watched
from run_folder import run_folder
from small_modules import ConvNet, export

import evonas as package
from evonas.api import search
from evonas.core import experiment as config
from evonas.core.files import read_yaml
from evonas.errors import InputError
from evonas.models.backbones.common.tfjs_weights import read_weights

PACKAGE = Path(package.__file__).parent

#: Modules that run what they read; of pickle, only the name of its error is used.
FORBIDDEN = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "pickle", "subprocess", "code"}
CALLS = {"eval", "exec", "compile", "__import__"}
#: (file, what): why it is allowed there.
ALLOWED = {
    ("models/files/state_dicts.py", "import pickle"): "catches pickle.UnpicklingError",
    (
        "deployment/export/model_card.py",
        "import subprocess",
    ): "asks git for its revision: fixed words, no shell",
    ("testing/ask_tell.py", "import subprocess"): "a new interpreter of a test",
    (
        "models/files/program_runner.py",
        "torch.jit.load",
    ): "runs no Python; its operators reach files, as the backbone's first lines say",
    ("models/files/exported_programs.py", "torch.export.load"): "the archive was vetted before",
    ("core/files.py", "yaml.load"): "the safe loader, which refuses repeated keys besides",
}


def suspects() -> Iterator[tuple[str, str]]:
    """Every place of the package that could run what it reads: (file, what)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        where = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree):
            yield from ((where, what) for what in _imports(node))
            if isinstance(node, ast.Call) and (what := _call(node)):
                yield where, what


def _imports(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module]
    yield from (f"import {name}" for name in names if name.split(".")[0] in FORBIDDEN)


def _call(node: ast.Call) -> str:
    """What a call would be reproached with; empty: nothing."""
    called = ast.unparse(node.func)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    safe = {
        "torch.load": given.get("weights_only") == "True",
        "np.load": given.get("allow_pickle", "False") == "False",
        "yaml.load": given.get("Loader") in ("yaml.SafeLoader", "yaml.CSafeLoader"),
        **dict.fromkeys(("torch.jit.load", "torch.export.load", "yaml.unsafe_load"), False),
        **dict.fromkeys(("yaml.full_load", "yaml.load_all", "torch.hub.load"), False),
        **dict.fromkeys(("os.system", "os.popen", "os.execv", "torch.package"), False),
    }
    if called in CALLS or not safe.get(called, True):
        return called
    return f"{called}(shell=)" if given.get("shell", "False") != "False" else ""


def test_nothing_in_the_package_runs_what_it_reads() -> None:
    found = set(suspects())
    assert found - set(ALLOWED) == set()
    stale = set(ALLOWED) - found
    assert stale == set(), "reasons that are no longer needed"


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "yaml.load(x, Loader=yaml.Loader)",
        "eval(x)",
        "os.system(x)",
        "run(x, shell=True)",
    ],
)
def test_the_walk_sees_what_it_is_for(code: str) -> None:
    assert _call(ast.parse(code).body[0].value)  # type: ignore[attr-defined]


class Armed:
    """A pickle of it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Path]:
    """The folder that no command may make."""
    folder = tmp_path / "ran"
    yield folder
    assert not folder.exists(), "code of the file was run"


def test_the_pickle_is_armed(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    pickle.loads(pickle.dumps(Armed(tmp_path / "there")))
    assert (tmp_path / "there").is_dir()


def armed(path: Path, ran: Path) -> Path:
    """Write a file with code, in the format that its ending suggests."""
    if path.suffix in (".pt", ".pth", ".bin"):
        torch.save({"a": Armed(ran)}, path)
    elif path.suffix == ".pt2":
        inner = io.BytesIO()
        torch.save((Armed(ran),), inner)
        whole = export(ConvNet(), path.with_name("whole.pt2"))
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for entry in old.infolist():
                sample = entry.filename.endswith("sample_inputs/model.pt")
                new.writestr(entry.filename, inner.getvalue() if sample else old.read(entry))
    elif path.suffix in (".yaml", ".json"):
        path.write_text(f"!!python/object/apply:os.mkdir ['{ran}']\n", encoding="utf-8")
    else:
        path.write_bytes(pickle.dumps(Armed(ran)))
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors", ".npy"])
@pytest.mark.parametrize("key", ["backbone", "start"])
def test_weights_with_code_are_refused(
    tiny: dict[str, Any], tmp_path: Path, ran: Path, suffix: str, key: str
) -> None:
    path = armed(tmp_path / f"weights{suffix}", ran)
    tiny["features"] = {"cache": str(tmp_path / "cache")}
    if key == "backbone":
        tiny["backbone"] = {"name": "light_cnn", "weights": str(path)}
    else:
        tiny["training"] = {"start": str(path)}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    for verb in ("validate", "search"):
        code, out, err = command(tmp_path, verb, "one.yaml")
        owed((code, out, err))
        assert code == 2


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_networks_with_code_are_refused(tmp_path: Path, ran: Path, suffix: str) -> None:
    path = armed(tmp_path / f"net{suffix}", ran)
    for words in (
        ("predict", path, tmp_path),
        ("backbones", "show", "exported", f"path={path}"),
        ("export", path),
    ):
        code, out, err = command(tmp_path, *words)
        owed((code, out, err))
        assert code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "{yaml}"),
        ("search", "{yaml}"),
        ("compare", "{yaml}"),
        ("retrain", "{yaml}"),
        ("retrain", "{json}"),
        ("probe", "{yaml}"),
        ("validate", "quickstart", "space={yaml}"),
        ("validate", "quickstart", "space.tap=@{json}"),
        ("validate", "quickstart", "seed=!!python/object/apply:os.mkdir ['{ran}']"),
        ("data", "check", "image_table", "root=!!python/object/apply:os.mkdir ['{ran}']"),
        ("search", "--resume", "--run-dir", "{run}"),
        ("search", "quickstart", "--from", "{run}"),
        ("report", "{run}"),
        ("predict", "{json}", "{run}"),
    ],
)
def test_yaml_with_code_is_refused(tmp_path: Path, ran: Path, words: tuple[str, ...]) -> None:
    run = run_folder(tmp_path / "run")
    places = {"yaml": armed(tmp_path / "bad.yaml", ran), "json": armed(tmp_path / "bad.json", ran)}
    armed(run / "experiment.yaml", ran)
    code, out, err = command(tmp_path, *(w.format(**places, run=run, ran=ran) for w in words))
    owed((code, out, err))
    assert code == 2


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "..", ".hidden", "a\nb", "a\x00b", "x" * 300, ""]
)
def test_a_name_of_an_experiment_is_no_path(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({**tiny, "name": name}), encoding="utf-8")
    with watched(tmp_path / "nowhere"):
        assert "name: " in said(evonas("search", path))
    assert os.listdir(tmp_path) == ["one.yaml"]


def test_a_checked_name_stays_below_runs(tiny: dict[str, Any], tmp_path: Path) -> None:
    for name in ("tiny", "a..b", "a-1_2.x"):
        experiment = config.check({**tiny, "name": name}, "here")
        assert search._free_folder(experiment)[0].parent == Path("runs")


@pytest.mark.parametrize("weights", ["../../secret", "/etc/passwd", "a\\b", ""])
def test_a_comparison_names_no_weights_elsewhere(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, weights: str
) -> None:
    costs = {"macs": 1, "params": 1, "megabytes": 0.1}
    contender = {
        **{"name": "winner", "tap": "block3", "architecture": None, "weights": [weights]},
        **{"results": [{"mae": 1.0}], "head": costs, "backbone_up_to_tap": costs},
    }
    content = {
        **{"format": 1, "experiment": tiny, "task": ["head_pose", {}, {}], "data": ""},
        **{"protocol": "", "leaky": "", "contenders": [contender]},
    }
    folder = tmp_path / "retrained"
    folder.mkdir()
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    for words in (
        ("evaluate", folder, "synthetic_faces"),
        ("export", folder),
        ("prune", folder),
        ("quantize", folder),
    ):
        assert "contenders.0.weights.0" in said(evonas(*words))


def test_a_tarball_is_read_and_never_unpacked(tmp_path: Path) -> None:
    listing = json.dumps([{"weights": [{"name": "a", "shape": [2], "dtype": "float32"}]}]).encode()
    inside = {"../../m.json": listing, "/w.bin": np.ones(2, np.float32).tobytes()}
    path = tmp_path / "deep" / "package.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in inside.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with watched(tmp_path / "nowhere"):
        assert list(read_weights(path, "m.json", "w.bin")) == ["a"]
    assert os.listdir(tmp_path) == ["deep"]


def test_a_link_in_a_tarball_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("m.json", "w.bin"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            archive.addfile(member)
    with pytest.raises(InputError, match=r"holds no m\.json"):
        read_weights(path, "m.json", "w.bin")


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "a: " + "[" * 100_000,
        "a: " + "x" * 2_000_000,
    ],
    ids=["laughs", "itself", "itself by key", "deep", "large"],
)
def test_a_yaml_bomb_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert len(str(caught.value)) < 2000
    owed(command(tmp_path, "validate", path))


def test_what_a_file_holds_does_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text('"\\e[31mred\\nline\\u202e": 1\n', encoding="utf-8")
    code, out, err = command(tmp_path, "validate", path)
    owed((code, out, err))
    assert not set("\x1b\u202e") & set(out + err)


def test_a_run_of_a_stranger_writes_no_script_into_the_page(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>"
    run = run_folder(tmp_path / "run", name=bad, tap=bad)
    rows = (run / "journal.jsonl").read_text(encoding="utf-8").replace("relu", bad)
    (run / "journal.jsonl").write_text(rows, encoding="utf-8")
    (run / "environment.json").unlink()
    assert command(tmp_path, "report", run)[0] == 0
    assert "<script>alert(1)" not in (run / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(run)
