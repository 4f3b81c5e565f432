"""Minimal programs that run an exported .onnx file without evonas, in four languages.

Each reads a photo, crops and resizes it as the model card says, and prints the answer, or those of
several tasks, one output each. Normalisation and the reading of outputs are inside the file.
``@NAME@`` in a template (``example_templates/``) is a literal of the card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.core.files import keep
from evonas.errors import InputError, nearest
from evonas.tasks.common.prediction_format import Answer

_TEMPLATES = Path(__file__).with_name("example_templates")
#: Language -> ending of its file.
_ENDINGS = {"python": ".py", "cpp": ".cpp", "js": ".mjs", "kotlin": ".kt"}
LANGUAGES = tuple(_ENDINGS)
#: Language -> an output: name, kind, unit and names of the columns.
_OUTPUTS = {
    "python": "({}, {}, {}, [{}])",
    "cpp": "{{{}, {}, {}, {{{}}}}}",
    "js": "[{}, {}, {}, [{}]]",
    "kotlin": "Output({}, {}, {}, {})",
}


def check_language(language: str, kind: str) -> None:
    """Refuse a language without a template, and a file that ONNX Runtime does not run.

    Raises:
        InputError: there is no such template, or the format of the file is another.
    """
    if language not in _ENDINGS:
        raise InputError(
            f"--example {language!r}: no such language: {nearest(language, LANGUAGES)}"
        )
    if kind != "onnx":
        raise InputError(f"--example {language}: runs an .onnx file: leave out --format {kind}")


def write_example(file: Path, card: Mapping[str, Any], language: str) -> Path:
    """Write a program that runs an exported file beside it, and return the program's file.

    Args:
        file: the .onnx file.
        card: its model card.
        language: one of ``LANGUAGES``.
    """
    ending = _ENDINGS[language]
    template = (_TEMPLATES / f"{language}{ending}.template").read_text("utf-8")
    program = file.with_name(f"{file.stem}_example{ending}")
    framing = card["crop"]
    outputs = []
    for name, answer in Answer.from_dict(card["answer"]).outputs.items():
        texts = [_literal(text, language) for text in (name, answer.kind, answer.unit)]
        columns = ", ".join(_literal(column, language) for column in answer.columns)
        outputs.append(_OUTPUTS[language].format(*texts, columns))
    square = framing["shape"] != "image"
    literals = {
        "NAME": file.name,
        "PROGRAM": program.name,
        "FILE": _literal(file.name, language),
        "SIDE": card["input"]["size"],
        "OUTPUTS": ", ".join(outputs),
        "SQUARE": square if language == "python" else str(square).lower(),
        "SIZE": framing["size"],
        "MARGIN": framing["margin"],
    }
    for name, literal in literals.items():
        template = template.replace(f"@{name}@", str(literal))
    keep(program, template)
    return program


def _literal(text: str, language: str) -> str:
    """Return a string as a literal, which all four languages write as JSON does."""
    found = json.dumps(text, ensure_ascii=False)
    return found.replace("$", "\\$") if language == "kotlin" else found
