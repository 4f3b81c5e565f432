"""Minimal programs that run an exported .onnx file without evonas, in four languages.

Each reads a photo, crops and resizes it as the model card says, and prints the answer.
Normalisation and the reading of outputs are inside the file. ``@NAME@`` in a template is a literal
of the card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evonas.core.files import keep
from evonas.errors import InputError, nearest

_PYTHON = '''"""Runs @NAME@: python @PROGRAM@ PHOTO. Needs numpy, onnxruntime and pillow."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MODEL = Path(__file__).with_name(@FILE@)
SIDE, KIND, UNIT = @SIDE@, @KIND@, @UNIT@
COLUMNS = @COLUMNS@
# Training saw crops like the box of a face detector would give; crop photos of more than that.
SQUARE, SIZE, MARGIN = @SQUARE@, @SIZE@, @MARGIN@


def crop(path):
    """Return a photo as (1, 3, SIDE, SIDE), RGB in 0..255."""
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = photo.size
    if SQUARE:  # the photo in a black square
        side = max(width, height)
        square = Image.new("RGB", (side, side))
        square.paste(photo, ((side - width) // 2, (side - height) // 2))
        photo = square.resize((SIZE, SIZE), Image.Resampling.BICUBIC) if SIZE else square
        box = None
    else:
        x, y = width * MARGIN, height * MARGIN
        box = (x, y, width - x, height - y)
    photo = photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(photo, np.float32).transpose(2, 0, 1)[None]


session = onnxruntime.InferenceSession(MODEL)
answer = session.run(None, {"images": crop(sys.argv[1])})[0][0]
if KIND == "classes":
    best = int(answer.argmax())
    print(COLUMNS[best], f"{answer[best]:.4f}")
elif KIND == "points":  # x and y in sides of the crop, confidence
    for name, point in zip(COLUMNS, answer):
        print(name, *(f"{number:.4f}" for number in point))
else:
    for name, value in zip(COLUMNS, answer):
        print(name, f"{value:.4f}", UNIT)
'''

_JS = """// Runs @NAME@: npm install onnxruntime-node sharp, then node @PROGRAM@ PHOTO.
// In a browser: import * as ort from "onnxruntime-web", take the pixels of a canvas with
// getImageData, and call answers(ort, session, data, width, height).
const FILE = @FILE@;
const SIDE = @SIDE@, KIND = @KIND@, UNIT = @UNIT@;
const COLUMNS = @COLUMNS@;
// Training saw crops like the box of a face detector would give; crop photos of more than that.
const SQUARE = @SQUARE@, MARGIN = @MARGIN@;

// Returns the share of each pixel, and the first of them, in the SIDE pixels of an axis.
function shares(start, length) {
  const scale = length / SIDE, reach = Math.max(scale, 1), found = [];
  for (let i = 0; i < SIDE; i++) {
    const centre = start + (i + 0.5) * scale, first = Math.floor(centre - reach), own = [];
    for (let k = first; k < centre + reach; k++)
      own.push(Math.max(0, 1 - Math.abs(k + 0.5 - centre) / reach));
    const all = own.reduce((a, b) => a + b, 0);
    found.push([first, own.map((share) => share / all)]);
  }
  return found;
}

// Returns (3, SIDE, SIDE), RGB in 0..255, for the RGBA pixels of a photo.
export function crop(rgba, width, height) {
  const side = Math.max(width, height);
  const xs = SQUARE
    ? shares((width - side) / 2, side) : shares(width * MARGIN, width * (1 - 2 * MARGIN));
  const ys = SQUARE
    ? shares((height - side) / 2, side) : shares(height * MARGIN, height * (1 - 2 * MARGIN));
  // outside of the photo a square is black; else the edge goes on
  const place = (k, length) => (SQUARE ? k : Math.min(Math.max(k, 0), length - 1));
  const images = new Float32Array(3 * SIDE * SIDE);
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++)
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        ys[y][1].forEach((down, j) => xs[x][1].forEach((across, i) => {
          const row = place(ys[y][0] + j, height), column = place(xs[x][0] + i, width);
          if (row >= 0 && row < height && column >= 0 && column < width)
            sum += down * across * rgba[4 * (row * width + column) + channel];
        }));
        images[(channel * SIDE + y) * SIDE + x] = sum;
      }
  return images;
}

// Returns the answer as lines of text.
export async function answers(ort, session, rgba, width, height) {
  const images = new ort.Tensor("float32", crop(rgba, width, height), [1, 3, SIDE, SIDE]);
  const found = (await session.run({ images }))[session.outputNames[0]].data;
  if (KIND === "classes") {
    const best = found.indexOf(Math.max(...found));
    return [`${COLUMNS[best]} ${found[best].toFixed(4)}`];
  }
  if (KIND === "points") // x and y in sides of the crop, confidence
    return COLUMNS.map((name, i) =>
      [name, ...Array.from(found.slice(3 * i, 3 * i + 3), (v) => v.toFixed(4))].join(" "));
  return COLUMNS.map((name, i) => `${name} ${found[i].toFixed(4)} ${UNIT}`.trim());
}

if (typeof process !== "undefined" && import.meta.url === `file://${process.argv[1]}`) {
  const ort = await import("onnxruntime-node"), { default: sharp } = await import("sharp");
  const photo = sharp(process.argv[2]).rotate().ensureAlpha().raw();
  const { data, info } = await photo.toBuffer({ resolveWithObject: true });
  const session = await ort.InferenceSession.create(new URL(FILE, import.meta.url).pathname);
  for (const line of await answers(ort, session, data, info.width, info.height)) console.log(line);
}
"""

_CPP = """// Runs @NAME@. Needs ONNX Runtime, and stb_image.h and stb_image_resize2.h of
// https://github.com/nothings/stb beside this file:
//   g++ -std=c++17 @PROGRAM@ -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o example
//   ./example PHOTO
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>
#define STB_IMAGE_IMPLEMENTATION
#include "stb_image.h"
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include "stb_image_resize2.h"

const char* const FILE_NAME = @FILE@;
const int SIDE = @SIDE@;
const std::string KIND = @KIND@, UNIT = @UNIT@;
const std::vector<std::string> COLUMNS = @COLUMNS_BRACES@;
// Training saw crops like the box of a face detector would give; crop photos of more than that.
const bool SQUARE = @SQUARE@;
const double MARGIN = @MARGIN@;

int main(int count, char** words) {
  int width, height, channels;
  unsigned char* photo =
      count > 1 ? stbi_load(words[1], &width, &height, &channels, 3) : nullptr;  // RGB
  if (!photo) return std::fprintf(stderr, "give a photo that can be read\\n"), 1;

  // the photo in a black square, or without its margin
  int left = SQUARE ? 0 : int(width * MARGIN), top = SQUARE ? 0 : int(height * MARGIN);
  int across = width - 2 * left, down = height - 2 * top;
  int wide = SQUARE ? std::max(width, height) : across, high = SQUARE ? wide : down;
  std::vector<unsigned char> inner(size_t(wide) * high * 3, 0), small(size_t(SIDE) * SIDE * 3);
  for (int y = 0; y < down; y++)
    std::copy_n(photo + (size_t(y + top) * width + left) * 3, size_t(across) * 3,
                inner.begin() + (size_t(y + (high - down) / 2) * wide + (wide - across) / 2) * 3);
  stbi_image_free(photo);
  stbir_resize(inner.data(), wide, high, 0, small.data(), SIDE, SIDE, 0, STBIR_RGB,
               STBIR_TYPE_UINT8, STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE);

  std::vector<float> images(small.size());  // (1, 3, SIDE, SIDE), in 0..255
  for (int i = 0; i < SIDE * SIDE; i++)
    for (int channel = 0; channel < 3; channel++)
      images[size_t(channel) * SIDE * SIDE + i] = small[size_t(i) * 3 + channel];

  Ort::Env environment;
  Ort::Session session(environment, FILE_NAME, Ort::SessionOptions());
  Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const int64_t shape[] = {1, 3, SIDE, SIDE};
  Ort::Value input =
      Ort::Value::CreateTensor<float>(memory, images.data(), images.size(), shape, 4);
  const char *in = "images", *out = @OUTPUT@;
  auto found = session.Run(Ort::RunOptions(), &in, &input, 1, &out, 1);
  const float* answer = found[0].GetTensorData<float>();

  const size_t columns = COLUMNS.size();
  if (KIND == "classes") {
    size_t best = std::max_element(answer, answer + columns) - answer;
    std::printf("%s %.4f\\n", COLUMNS[best].c_str(), answer[best]);
  } else if (KIND == "points") {  // x and y in sides of the crop, confidence
    for (size_t i = 0; i < columns; i++)
      std::printf("%s %.4f %.4f %.4f\\n", COLUMNS[i].c_str(), answer[3 * i], answer[3 * i + 1],
                  answer[3 * i + 2]);
  } else {
    for (size_t i = 0; i < columns; i++)
      std::printf("%s %.4f %s\\n", COLUMNS[i].c_str(), answer[i], UNIT.c_str());
  }
}
"""

_KOTLIN = """// Runs @NAME@ on Android, from the folder assets of the app. In build.gradle:
//   implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0")
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import java.nio.FloatBuffer

const val FILE = @FILE@
const val SIDE = @SIDE@
const val KIND = @KIND@
const val UNIT = @UNIT@
val COLUMNS = listOf(@COLUMNS_INNER@)
// Training saw crops like the box of a face detector would give; crop photos of more than that.
const val SQUARE = @SQUARE@
const val MARGIN = @MARGIN@f

class Network(context: Context) {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(context.assets.open(FILE).readBytes())

    /** Returns an upright photo as (1, 3, SIDE, SIDE), RGB in 0..255. */
    private fun crop(photo: Bitmap): FloatBuffer {
        val small = Bitmap.createBitmap(SIDE, SIDE, Bitmap.Config.ARGB_8888)
        val across = photo.width * (1 - 2 * MARGIN)
        val down = photo.height * (1 - 2 * MARGIN)
        // the photo in a black square, or without its margin
        val x = if (SQUARE) SIDE / maxOf(photo.width, photo.height).toFloat() else SIDE / across
        val y = if (SQUARE) x else SIDE / down
        val width = photo.width * x
        val height = photo.height * y
        val left = (SIDE - width) / 2
        val top = (SIDE - height) / 2
        Canvas(small).apply {
            drawColor(Color.BLACK)
            val place = RectF(left, top, left + width, top + height)
            drawBitmap(photo, null, place, Paint(Paint.FILTER_BITMAP_FLAG))
        }
        val pixels = IntArray(SIDE * SIDE)
        small.getPixels(pixels, 0, SIDE, 0, 0, SIDE, SIDE)
        val images = FloatBuffer.allocate(3 * SIDE * SIDE)
        for (shift in listOf(16, 8, 0)) for (pixel in pixels)
            images.put(((pixel shr shift) and 0xff).toFloat())
        images.rewind()
        return images
    }

    /** Returns the answer as lines of text. */
    fun answers(photo: Bitmap): List<String> {
        val shape = longArrayOf(1, 3, SIDE.toLong(), SIDE.toLong())
        OnnxTensor.createTensor(environment, crop(photo), shape).use { images ->
            session.run(mapOf("images" to images)).use { result ->
                val buffer = (result[0] as OnnxTensor).floatBuffer
                val found = FloatArray(buffer.remaining()).also { buffer.get(it) }
                return when (KIND) {
                    "classes" -> {
                        val best = found.indices.maxByOrNull { found[it] }!!
                        listOf("%s %.4f".format(COLUMNS[best], found[best]))
                    }
                    // x and y in sides of the crop, confidence
                    "points" -> COLUMNS.mapIndexed { i, name ->
                        "%s %.4f %.4f %.4f".format(
                            name, found[3 * i], found[3 * i + 1], found[3 * i + 2]
                        )
                    }
                    else -> COLUMNS.mapIndexed { i, name ->
                        "%s %.4f %s".format(name, found[i], UNIT).trim()
                    }
                }
            }
        }
    }
}
"""

#: Language -> ending of its file, and template.
_TEMPLATES = {
    "python": (".py", _PYTHON),
    "cpp": (".cpp", _CPP),
    "js": (".mjs", _JS),
    "kotlin": (".kt", _KOTLIN),
}
LANGUAGES = tuple(_TEMPLATES)


def check_language(language: str, kind: str) -> None:
    """Refuse a language without a template, and a file that ONNX Runtime does not run.

    Raises:
        InputError: there is no such template, or the format of the file is another.
    """
    if language not in _TEMPLATES:
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
    ending, template = _TEMPLATES[language]
    program = file.with_name(f"{file.stem}_example{ending}")
    answer, framing = card["answer"], card["crop"]
    columns = [_literal(name, language) for name in answer["columns"]]
    square = framing["shape"] != "image"
    literals = {
        "NAME": file.name,
        "PROGRAM": program.name,
        "FILE": _literal(file.name, language),
        "SIDE": card["input"]["size"],
        "KIND": _literal(answer["kind"], language),
        "UNIT": _literal(answer["unit"], language),
        "OUTPUT": _literal(card["output"], language),
        "COLUMNS": f"[{', '.join(columns)}]",
        "COLUMNS_BRACES": f"{{{', '.join(columns)}}}",
        "COLUMNS_INNER": ", ".join(columns),
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
