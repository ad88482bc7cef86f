"""Storage that fails: each fault has its own error and command, nothing is overrun, and the next run is right."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.checksum import closed
from ooc_solve.codegen.packing import CommandRow
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.tables import FLAG_STORE, Tables
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import pack_input, run
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, RegionName, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import SCHEDULERS

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)

IMAGE, PORT, RECORD, TIMEOUT, DIGEST, TRUNCATED, SHORT, FULL, RANGE = -2, -3, -4, -6, -9, -10, -11, -12, -13
SANITIZE = "EXTRA_CFLAGS=-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Werror"
TOLD = re.compile(
    r"ooc: error (-\d+), ([^(\n]*)(?: \(stream (\d+), command (\d+)\))?(?: \(port error (-\d+)\))?$"
)


@dataclass(frozen=True)
class Failure:
    """What the program told on stderr: error, stream and command (-1: none), port error."""

    error: int
    stream: int
    command: int
    port_error: int


@dataclass(frozen=True)
class Device:
    """A network built for the host with sanitizers, its input and its right output."""

    folder: Path
    tables: Tables
    plan: Plan
    expected: bytes

    def run(self, *arguments: object) -> tuple[bytes | None, Failure | None]:
        """Output (None if there is none) and the failure told, if any."""
        out = self.folder / "result.bin"
        out.unlink(missing_ok=True)
        granule = str(self.tables.store_granule(0))
        files = ["net.bin", "in.bin", "result.bin", "--granule", granule]
        done = subprocess.run(
            [self.folder / "build" / "net", *files, *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        lines = done.stderr.splitlines()
        assert len(lines) <= 1, done.stderr  # neither a sanitizer nor the guards around the arena complain
        assert (done.returncode == 0) == out.exists()
        told = TOLD.match(lines[0]) if lines else None
        assert bool(told) == bool(lines), done.stderr
        failure = None
        if told:
            stream, command = (int(told[k]) if told[k] else -1 for k in (3, 4))
            failure = Failure(int(told[1]), stream, command, int(told[5] or 0))
        return (out.read_bytes() if out.exists() else None), failure

    def failure(self, *arguments: object) -> Failure:
        """The failure of a run that must not give an output."""
        output, failure = self.run(*arguments)
        assert output is None
        assert failure is not None
        return failure

    def command(self, failure: Failure) -> CommandRow:
        """The command that a failure names."""
        return self.tables.stream[failure.stream].commands[failure.command]

    def transfers(self) -> Iterator[int]:
        """Numbers of all transfers of a run, from 1."""
        statistics = subprocess.run(
            [self.folder / "build" / "net", "net.bin", "in.bin", "result.bin", "--stats"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        counts = dict(line.split() for line in statistics.splitlines())
        yield from range(1, int(counts["reads"]) + int(counts["writes"]) + 1)

    def writes(self) -> range:
        """Numbers of all writes of a run, from 1."""
        count = sum(self.failure("--fail", t).error == PORT and self.is_store(t) for t in self.transfers())
        return range(1, count + 1)

    def is_store(self, number: int) -> bool:
        """Whether a transfer goes to storage."""
        return bool(self.command(self.failure("--fail", number)).word[3] & FLAG_STORE)


def built(problem: Problem, plan: Plan, folder: Path) -> Device:
    """Write and compile a network, with an input from a fixed seed."""
    project = write_project(problem, plan, folder, "net")
    result = subprocess.run(["make", "-s", SANITIZE], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (name,) = problem.network.inputs
    tensor = problem.network.tensors[name]
    shape = tensor.graph_shape or (tensor.height, tensor.width, tensor.channels)
    data = np.random.default_rng(3).integers(-128, 128, shape, dtype=np.int8)
    (folder / "in.bin").write_bytes(pack_input(problem.network, name, data))
    expected = run(problem.network, {name: data})[problem.network.outputs[0]].tobytes()
    device = Device(folder, project.tables, plan, expected)
    assert device.run() == (expected, None)
    return device


@pytest.fixture(scope="module")
def small(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """The small network on an SD card, most of it spilled."""
    problem = workshop.problem(load_target("f746-sd"))
    return built(
        problem, workshop.plan(problem, workshop.selection), tmp_path_factory.mktemp("small") / "out"
    )


def tight(name: str, kib: int, folder: Path) -> Device:
    """A network of the zoo in so little SRAM that its activations are spilled."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), kib * 1024, IoPlace.STORAGE)
    plan = SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    return built(problem, plan, folder / "out")


@pytest.fixture(scope="module", params=[("ds_cnn", 16), ("resnet8", 24)], ids=["ds_cnn", "resnet8"])
def spilling(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Real networks at a tight SRAM size."""
    name, kib = request.param
    return tight(name, kib, tmp_path_factory.mktemp(name))


# ------------------------------------------------------------------ single transfers


@pytest.mark.parametrize(
    ("fault", "error", "port_error"),
    [("--fail", PORT, -101), ("--partial", SHORT, -1001), ("--hang", TIMEOUT, 0)],
)
def test_failed_transfer_names_its_command_and_the_next_run_is_right(
    small: Device, fault: str, error: int, port_error: int
) -> None:
    """Whichever transfer fails, is cut short or hangs: its error, its command; repaired, the network is right."""
    named = set()
    for number in small.transfers():
        # latency model and unpredictable completion in turn; the same state again, or after a power cycle
        for retry, seed in ((1, 0), (2, number)):
            output, failure = small.run(fault, number, "--seed", seed, "--retry", retry)
            assert failure is not None
            assert (failure.error, failure.port_error) == (error, port_error)
            assert small.command(failure).is_transfer
            assert output == small.expected
            named.add((failure.stream, failure.command))
    transfers = sum(c.is_transfer for row in small.tables.stream for c in row.commands)
    assert len(named) == transfers


def test_silently_short_reads_are_found(small: Device) -> None:
    """A read that ends early without a word from the port is an error of its own; a write is not seen."""
    unseen = 0
    for number in small.transfers():
        store = small.is_store(number)
        output, failure = small.run("--short", number, "--seed", number, "--retry", 1 + number % 2)
        if store:
            unseen += failure is None
            continue
        assert failure is not None
        assert failure.error == SHORT
        assert output == small.expected
    assert unseen  # what SPEC.md says is not detected


def test_flipped_bits_of_weights_are_found(small: Device) -> None:
    """One wrong bit in any read of the image is a wrong checksum, and the task that read it is named."""
    found = 0
    for number in small.transfers():
        failed = small.failure("--fail", number)
        if small.command(failed).word[2] != 0:
            continue
        output, failure = small.run("--flip", number, "--seed", number, "--retry", 1 + number % 2)
        assert failure is not None
        assert failure.error == RECORD
        assert output == small.expected
        index = small.plan.streams.order[failure.stream][failure.command]
        task = small.plan.graph.tasks[index]
        assert task.kind is TaskKind.LOAD
        assert task.transfer is not None
        assert task.transfer.region is RegionName.IMAGE
        found += 1
    assert found > 10


def test_full_storage_is_told(small: Device) -> None:
    """Whichever write finds the storage full says so, and with room again the network is right."""
    for number in small.writes():
        output, failure = small.run("--full", number, "--seed", number, "--retry", 1 + number % 2)
        assert failure is not None
        assert (failure.error, failure.port_error) == (FULL, -1002)
        assert small.command(failure).word[3] & FLAG_STORE
        assert output == small.expected


def test_power_may_go_in_any_write(small: Device) -> None:
    """After power went in the middle of any write, the next run on the same stores is right."""
    for number in small.writes():
        assert small.failure("--cut", number).port_error == -102
        for seed in (0, number):
            output, failure = small.run("--cut", number, "--retry", 2, "--seed", seed)
            assert failure is not None
            assert failure.error == PORT
            assert output == small.expected


def test_power_may_go_in_any_write_of_a_real_network(spilling: Device) -> None:
    """The same for networks whose activations are spilled because SRAM is short."""
    stores = [t for t in spilling.plan.graph.tasks if t.kind is TaskKind.STORE]
    scratch = [t for t in stores if t.transfer is not None and t.transfer.region is RegionName.SCRATCH]
    assert len(scratch) > 5
    for number in range(1, len(stores) + 1):
        output, failure = spilling.run("--cut", number, "--retry", 2, "--seed", number)
        assert failure is not None
        assert failure.port_error == -102
        assert output == spilling.expected


def test_faults_in_a_real_network(spilling: Device) -> None:
    """Failed, short and hanging transfers all over a real network are told, and repaired it is right."""
    numbers = list(spilling.transfers())
    for k, number in enumerate(numbers[:: max(1, len(numbers) // 12)]):
        fault, error = (("--fail", PORT), ("--partial", SHORT), ("--hang", TIMEOUT))[k % 3]
        output, failure = spilling.run(fault, number, "--seed", number, "--retry", 1 + k % 2)
        assert failure is not None
        assert failure.error == error
        assert output == spilling.expected


# ----------------------------------------------------------------------- the image


@pytest.fixture
def image(small: Device) -> Iterator[bytearray]:
    """The image of the small network, put back after the test."""
    path = small.folder / "net.bin"
    content = path.read_bytes()
    yield bytearray(content)
    path.write_bytes(content)


def fails_with(small: Device, image: bytes | bytearray) -> int:
    (small.folder / "net.bin").write_bytes(image)
    failure = small.failure()
    return failure.error


def test_damaged_header_is_no_image(small: Device, image: bytearray) -> None:
    """A flipped bit in any byte of the header is found when the image is opened."""
    for at in range(64):
        image[at] ^= 1 << at % 8
        assert fails_with(small, image) == IMAGE
        image[at] ^= 1 << at % 8


def test_image_of_other_tables_is_told(workshop: Any, small: Device, image: bytearray) -> None:
    """The image of the same network with other tables is refused as such."""
    image[16:48] = bytes(32)
    image[:64] = closed(bytes(image[:60]))
    assert fails_with(small, image) == DIGEST


def test_truncated_image_is_known_before_the_run(small: Device, image: bytearray) -> None:
    """Wherever behind its header the image ends, opening it says so."""
    for length in range(512, len(image), 512):
        assert fails_with(small, image[:length]) == TRUNCATED
    assert fails_with(small, image[:-4]) == TRUNCATED
    assert fails_with(small, image[:40]) == IMAGE
    assert fails_with(small, b"") == IMAGE


def test_flipped_bits_in_the_image_are_found(small: Device, image: bytearray) -> None:
    """A bit that is wrong for good in any weight record is a wrong checksum."""
    for at in range(512, len(image) - 4, 509):
        image[at] ^= 4
        assert fails_with(small, image) == RECORD
        image[at] ^= 4


def test_small_storage_is_refused(small: Device) -> None:
    """A store that lacks one granule is refused before anything is transferred."""
    failure = small.failure("--shrink", 512)
    assert (failure.error, failure.stream) == (RANGE, -1)


def test_header_alone_is_an_image(workshop: Any, tmp_path: Path) -> None:
    """A network without weights has an image of one granule, which opens and runs."""
    device = built(*_weightless(workshop), tmp_path / "out")
    image = (device.folder / "net.bin").read_bytes()
    assert len(image) == 512
    assert image[12:16] == bytes(4)


def _weightless(workshop: Any) -> tuple[Problem, Plan]:
    """One pooling layer and its plan."""
    network = zoo_network("resnet8")
    pool = next(op for op in network.ops if op.kind.value == "average_pool")
    names = (pool.inputs[0], pool.output)
    tensors = {name: network.tensors[name] for name in names}
    single = type(network)("pool", tensors, (pool,), names[:1], names[1:])
    problem = Problem(single, load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE)
    plan = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    return problem, plan
