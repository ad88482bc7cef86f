"""Damaged files: whatever is wrong with a model or a target, the tool says so and stops.

Real files are changed at random, in their bytes and in their meaning, and given to the command line. It must end
with an exit code of its own, without traceback, within ten seconds of CPU time and 1 GiB of memory, and must
leave a whole project or nothing. Models in QOperator form that it takes compute what onnxruntime computes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from ooc_solve.models.onnx_handlers import HANDLERS, INSTEAD
from ooc_solve.models.target import target_tables
from ooc_solve.models.toml_writer import toml_text
from ooc_solve.models.zoo import zoo_network
from tests.models.onnx_export import export
from tests.random_networks import RandomModel

HERE = Path(__file__).parent
MOST_BYTES = 1 << 30
CODES = (0, 1, 2, 3)
LARGEST_FILE_BYTES = 400_000
WHOLE_NUMBERS = (0, -1, 1, 2, 3, 7, 255, 256, 65537, 2**31 - 1, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -1.0, 1e-40, 1e-300, 1e30, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "é/;: ", "\x1b[31m", "../..", "a" * 5000, "CON", "%s%n", "'\"\\", "if", "∞" * 40)
KINDS = (*HANDLERS, *INSTEAD, "If", "Loop", "Constant", "ConstantOfShape", "Cast", "Nonsense")
PLACES = ("/dev/zero", "/etc/passwd", "../model.onnx", "absent.bin", "", ".", "model.onnx")


# ---------------------------------------------------------------------------- real files


@lru_cache(maxsize=1)
def exported_models() -> tuple[bytes, ...]:
    """Small built-in networks in QOperator form, and random ones with all operators."""
    built_in = [export(zoo_network(name)) for name in ("ds_cnn", "resnet8")]
    random = [RandomModel(seed).model(12) for seed in range(20)]
    return tuple(model.SerializeToString() for model in (*built_in, *random))


@lru_cache(maxsize=1)
def target_files() -> tuple[str, ...]:
    """Built-in targets, each with its board and its storage in one file."""
    names = ("f746-sd", "l4r5-sdspi", "f746-qspi-sdram", "n6-npu", "esp32s3-psram")
    return tuple(toml_text(target_tables(name)) for name in names)


# ----------------------------------------------------------------------------- mutations


def any_of(rng: np.random.Generator, items: Any) -> Any:
    """One of a sequence."""
    return items[int(rng.integers(len(items)))]


def with_other_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Flip, drop, repeat, insert or cut off bytes."""
    data = bytearray(content)
    for _ in range(int(rng.geometric(0.4))):
        at, size = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
        part = data[at : at + size]
        way = int(rng.integers(5))
        if way == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif way == 1:
            del data[at : at + size]
        elif way == 2:
            data[at:at] = part * int(rng.integers(1, 4))
        elif way == 3:
            data[at : at + size] = rng.bytes(size)
        elif rng.integers(4) == 0:
            del data[at:]
    return bytes(data)


def with_other_meaning(rng: np.random.Generator, content: bytes) -> bytes:
    """Change nodes, constants, inputs, outputs or versions of a model that still parses."""
    model = onnx.load_model_from_string(content)
    for _ in range(int(rng.geometric(0.5))):
        any_of(rng, MEANINGS)(rng, model)
    return bytes(model.SerializeToString())


def change_attribute(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Give an attribute another value, length or type."""
    node = any_of(rng, model.graph.node)
    if not node.attribute:
        return
    item = any_of(rng, node.attribute)
    if item.ints and rng.integers(2):
        item.ints[int(rng.integers(len(item.ints)))] = any_of(rng, WHOLE_NUMBERS)
    elif item.ints:
        item.ints.append(1) if rng.integers(2) else item.ints.pop()
    elif rng.integers(4) == 0:
        item.type = int(rng.integers(15))
    elif item.type == onnx.AttributeProto.INT:
        item.i = any_of(rng, WHOLE_NUMBERS)
    elif item.type == onnx.AttributeProto.STRING:
        item.s = any_of(rng, TEXTS).encode()
    else:
        item.f = any_of(rng, REALS[:-5])


def add_attribute(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Add one that some operators know."""
    node = any_of(rng, model.graph.node)
    name = any_of(rng, ("axis", "pads", "group", "auto_pad", "ceil_mode", "keepdims", "block_size", "perm"))
    value = any_of(rng, (1, -3, [1, 1], [], "SAME_UPPER", 0.5, 2**40))
    node.attribute.append(onnx.helper.make_attribute(name, value, attr_type=_type_of(value)))


def _type_of(value: object) -> int:
    if isinstance(value, list):
        return int(onnx.AttributeProto.INTS)
    kinds = {int: onnx.AttributeProto.INT, str: onnx.AttributeProto.STRING, float: onnx.AttributeProto.FLOAT}
    return int(kinds[type(value)])


def change_edges(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Let a node read or write another tensor, or none."""
    node = any_of(rng, model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    side = node.input if rng.integers(3) else node.output
    way = int(rng.integers(3))
    if side and way == 0:
        side[int(rng.integers(len(side)))] = any_of(rng, (*names, "", "absent"))
    elif side and way == 1:
        side.pop()
    else:
        side.append(any_of(rng, names))


def change_nodes(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Drop, repeat, move or rename a node, or make it another operator."""
    nodes, way = model.graph.node, int(rng.integers(5))
    node = any_of(rng, nodes)
    if way == 0 and len(nodes) > 1:
        nodes.remove(node)
    elif way == 1:
        nodes.append(node)
    elif way == 2:
        node.name = any_of(rng, TEXTS)
    elif way == 3:
        node.op_type = any_of(rng, KINDS).removeprefix("com.microsoft.")
    else:
        node.domain = any_of(rng, ("", "ai.onnx", "com.microsoft", "ai.onnx.ml", "x.y"))


def change_constant(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Give an initialiser another shape, type, content or place."""
    if not model.graph.initializer:
        return
    item, way = any_of(rng, model.graph.initializer), int(rng.integers(6))
    if way == 0 and item.dims:
        item.dims[int(rng.integers(len(item.dims)))] = any_of(rng, WHOLE_NUMBERS)
    elif way == 1:
        item.dims.append(any_of(rng, WHOLE_NUMBERS))
    elif way == 2:
        item.data_type = int(rng.integers(-1, 26))
    elif way == 3:
        item.raw_data = item.raw_data[: int(rng.integers(len(item.raw_data) + 1))]
    elif way == 4:
        item.data_location = TensorProto.EXTERNAL
        for key, value in (("location", any_of(rng, PLACES)), ("offset", "4"), ("length", str(2**40))):
            item.external_data.add(key=key, value=value)
    else:
        _fill(rng, item)


def _fill(rng: np.random.Generator, item: TensorProto) -> None:
    """Put extreme numbers into a constant."""
    array = onnx.numpy_helper.to_array(item).copy()
    if array.size:
        flat, extreme = array.reshape(-1), any_of(rng, REALS if array.dtype.kind == "f" else WHOLE_NUMBERS)
        with np.errstate(all="ignore"):
            value = np.array(extreme).astype(array.dtype)
        flat[: int(rng.integers(1, flat.size + 1))] = value
        item.CopyFrom(onnx.numpy_helper.from_array(flat.reshape(array.shape), item.name))


def change_ends(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Give an input or output of the graph another shape, type or name."""
    item = any_of(rng, [*model.graph.input, *model.graph.output])
    kind, way = item.type.tensor_type, int(rng.integers(5))
    if way == 0 and kind.shape.dim:
        any_of(rng, kind.shape.dim).dim_value = any_of(rng, WHOLE_NUMBERS)
    elif way == 1:
        kind.shape.dim.add(dim_value=any_of(rng, WHOLE_NUMBERS))
    elif way == 2 and kind.shape.dim:
        any_of(rng, kind.shape.dim).dim_param = any_of(rng, TEXTS)
    elif way == 3:
        kind.elem_type = int(rng.integers(26))
    else:
        item.name = any_of(rng, TEXTS)


def change_version(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Another operator set or file version."""
    if rng.integers(2):
        any_of(rng, model.opset_import).version = any_of(rng, (-5, 0, 1, 6, 7, 9, 11, 13, 18, 21, 25, 99))
    else:
        model.ir_version = any_of(rng, (-1, 0, 2, 3, 4, 13, 99, 2**40))


Change = Callable[[np.random.Generator, onnx.ModelProto], None]
MEANINGS: tuple[Change, ...] = (
    *(change_attribute, add_attribute, change_edges, change_nodes),
    *(change_constant, change_ends, change_version),
)


def with_other_lines(rng: np.random.Generator, text: str) -> bytes:
    """Change values, keys and lines of a TOML file."""
    lines = text.splitlines()
    for _ in range(int(rng.geometric(0.5))):
        at, way = int(rng.integers(len(lines))), int(rng.integers(6))
        if way == 0 and len(lines) > 2:
            del lines[at]
        elif way == 1:
            lines.insert(at, any_of(rng, lines))
        elif way == 2:
            lines[at] = re.sub(r"^\w+", any_of(rng, ("schema", "x", "storage", '"é"')), lines[at])
        else:
            lines[at] = re.sub(r"= .*", lambda _: f"= {any_of(rng, VALUES)}", lines[at])
    return "\n".join(lines).encode()


VALUES = (
    *map(str, WHOLE_NUMBERS[:8]), str(2**63 - 1), "10" * 400, "1e-300", "1e308", "-0.0", "nan", "inf", "true",
    *('""', '"f746-sd"', '"../../x.toml"', '"a\\u0000b"', "[]", "{}", "[[[[1]]]]", "[1, 2]", "{ x = 1 }"),
    *("1979-05-27", '"S: x"', '"' + "é" * 3000 + '"', "[" * 3000 + "]" * 3000),
)  # fmt: skip


# ---------------------------------------------------------------------------------- runs


class Server:
    """The process that runs command lines for us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """How a request ended, and what was printed meanwhile."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        log = self.folder / "log.txt"
        self.process.stdin.write(json.dumps(request | {"log": str(log)}) + "\n")
        self.process.stdin.flush()
        end = json.loads(self.process.stdout.readline())
        return end, log.read_text(errors="replace")

    def compare(self, path: Path, case: str) -> None:
        """Compute a model that is taken; the result must be onnxruntime's, if that takes it too."""
        end, told = self.ask({"compare": str(path)})
        assert end["code"] == 0, f"{case}: {end}\n{told[-3000:]}"

    def check(self, arguments: list[str], case: str) -> int:
        """Run a command line that must end as it should; returns the exit code."""
        project = self.folder / "project"
        shutil.rmtree(project, ignore_errors=True)
        end, told = self.ask({"arguments": arguments})
        story = f"{case}: {end}\n{told[-3000:]}"
        assert end["code"] in CODES, story
        assert "Traceback" not in told, story
        assert "Warning" not in told, story
        assert end["peak_bytes"] < MOST_BYTES, story
        if end["code"] != 0:
            assert told.strip(), story
            assert not project.exists(), story
            assert not list(self.folder.glob(".project*")), story
        return int(end["code"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a folder for the files it is given."""
    made = Server(tmp_path_factory.mktemp("mutations"))
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(timeout=60)


PLAN = ("--scheduler", "demand-layering", "--time-limit", "2", "-o")


def check_model(server: Server, originals: tuple[bytes, ...], seed: int) -> int:
    """Damage a model and ask what is supported; plan one of six, which takes longer.

    Quantise/Dequantise forms are not compared: float32 kernels decide ties otherwise, and steps grow with the depth.
    """
    rng = np.random.default_rng([seed, 1])
    mutate = with_other_meaning if rng.integers(4) else with_other_bytes
    path, original = server.folder / "model.onnx", any_of(rng, originals)
    path.write_bytes(mutate(rng, original))
    surveyed = server.check([str(path), "--check"], f"model {seed} --check")
    if surveyed == 0 and b"QLinear" in original:
        server.compare(path, f"model {seed} computed")
    if seed % 6 > 1:
        return surveyed
    planned = server.check([str(path), *PLAN, str(server.folder / "project")], f"model {seed}")
    assert planned != 0 or surveyed == 0, f"model {seed}: --check refuses what can be planned"
    return planned


def check_target(server: Server, seed: int) -> int:
    """Damage a target file, and plan a small network for it."""
    rng = np.random.default_rng([seed, 2])
    text = any_of(rng, target_files())
    path = server.folder / "target.toml"
    content = with_other_lines(rng, text) if rng.integers(4) else with_other_bytes(rng, text.encode())
    path.write_bytes(content)
    arguments = ["zoo:autoencoder", "--target", str(path), *PLAN, str(server.folder / "project")]
    return server.check(arguments, f"target {seed}")


def check_cases(server: Server, originals: tuple[bytes, ...], seeds: range) -> None:
    """Every third case is a target; some of both kinds must be refused and some still work."""
    targets = [check_target(server, seed) for seed in seeds if seed % 3 == 0]
    models = [check_model(server, originals, seed) for seed in seeds if seed % 3]
    for codes in (targets, models):
        assert 0 in codes
        assert 1 in codes


@pytest.mark.parametrize("first", [0, 100, 200])
def test_damaged_files_are_refused_in_words(server: Server, first: int) -> None:
    """A hundred damaged models and targets, and as many twice more, end as they should."""
    check_cases(server, exported_models(), range(first, first + 100))


@pytest.mark.slow
def test_many_damaged_files_are_refused_in_words(server: Server, shared_models: Path) -> None:
    """Ten thousand of them, of published networks too."""
    published = [path.read_bytes() for path in sorted(shared_models.rglob("*.onnx"))]
    small = [content for content in published if len(content) < LARGEST_FILE_BYTES]
    check_cases(server, (*exported_models(), *small), range(1_000, 11_000))
