"""Grid files: which points they mean, and one clear sentence for each that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.models.vocabulary import InputError
from ooc_solve.sweep_grid import read_grid

LEAST = 'schema = "ooc-sweep/1"\nmodels = ["zoo:ds_cnn"]\ntargets = ["f746-sd"]\nsram = ["64KiB"]\n'


def grid_file(folder: Path, text: str) -> Path:
    """The text as a grid file."""
    file = folder / "grid.toml"
    file.write_text(text)
    return file


def test_every_combination_is_a_point(tmp_path: Path) -> None:
    """All lists are combined; in a series only the SRAM differs, the least first, and none is there twice."""
    text = LEAST.replace('["64KiB"]', '["64KiB", 16384, "full", 65536, 286720]').replace(
        '["zoo:ds_cnn"]', '["zoo:ds_cnn", "zoo:autoencoder"]'
    )
    more = 'objectives = ["latency", "wear"]\nschedulers = ["serial", "cp-sat"]\nseeds = [1, 2]\ntime_limit = 3\n'
    grid = read_grid(grid_file(tmp_path, text + more))
    assert len(grid.series) == 2 * 2 * 2 * 2
    assert [point.sram_bytes for point in grid.series[0]] == [16384, 65536, 286720]
    assert len({point.key for point in grid.points}) == len(grid.points) == 3 * 16
    for series in grid.series:
        assert len({replace(point, sram_bytes=0).key for point in series}) == 1
    assert {point.budget.time_limit_s for point in grid.points} == {3.0}


def test_paths_are_relative_to_the_grid(tmp_path: Path) -> None:
    """A target beside the grid file is found wherever the command runs."""
    (tmp_path / "mine.toml").write_text(
        'schema = "ooc-profile/1"\nkind = "target"\nid = "mine"\ntitle = "Mine"\nboard = "stm32f746g-disco"\n'
        'runtime = "vendor_tuned"\n[weights]\nport = "sdmmc1"\nstorage = "sd-class10-tlc-32g"\n'
    )
    grid = read_grid(grid_file(tmp_path, LEAST.replace("f746-sd", "mine.toml")))
    assert [point.target.name for point in grid.points] == ["mine"]


def test_key_tells_work_apart(tmp_path: Path) -> None:
    """Points that ask for something else have other names, and the same point always has the same."""
    names = {
        read_grid(grid_file(tmp_path, LEAST + more)).points[0].key
        for more in ("", "seeds = [2]", "time_limit = 3", 'io = "sram"', "workers = 2", "write_budget = 0")
    }
    assert len(names) == 6
    point = read_grid(grid_file(tmp_path, LEAST)).points[0]
    assert point.key in names
    port = replace(point.target.weights.port, setup_ns=point.target.weights.port.setup_ns + 1)
    slower = replace(point.target, weights=replace(point.target.weights, port=port))
    assert replace(point, target=slower).key not in names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LEAST + "colour = 1", "'colour' is not a key of a grid"),
        (LEAST.replace("ooc-sweep/1", "ooc-sweep/9"), "'schema' must be 'ooc-sweep/1'"),
        ('schema = "ooc-sweep/1"\nmodels = ["zoo:ds_cnn"]', "'targets' must be a list with at least one"),
        (LEAST.replace('["64KiB"]', "[]"), "'sram' must be a list with at least one entry"),
        (LEAST.replace('["64KiB"]', '"64KiB"'), "'sram' must be a list with at least one entry"),
        (LEAST.replace("64KiB", "64KB"), "'sram[0]' must be one that can be used; a size looks like"),
        (LEAST.replace('"64KiB"', "6.5"), "'sram[0]' must be a size such as 65536"),
        (LEAST.replace('"64KiB"', "true"), "'sram[0]' must be a size such as 65536"),
        (LEAST.replace("zoo:ds_cnn", "none.onnx"), "'models[0]' must be one that can be used"),
        (LEAST.replace("f746-sd", "f746-sx"), "'targets[0]' must be one that can be used"),
        (LEAST.replace('"f746-sd"', '"f746-sd", "f746-sd"'), "'targets[1]' must not be there twice"),
        (LEAST.replace('"zoo:ds_cnn"', "7"), "'models[0]' must be a text"),
        (LEAST + 'objectives = ["speed"]', "'objectives[0]' must be one of latency, energy, wear"),
        (LEAST + 'schedulers = ["best"]', "'schedulers[0]' must be one of serial"),
        (LEAST + "seeds = [-1]", "'seeds[0]' must be a whole number from 0"),
        (LEAST + "time_limit = 0", "'time_limit' must be seconds above 0"),
        (LEAST + "workers = 1.5", "'workers' must be a whole number from 1"),
        (LEAST + 'io = "disk"', "'io' must be one of sram, storage"),
        (LEAST + 'write_budget = "much"', "'write_budget' must be one that can be used"),
        ("models = [", "the grid must be valid TOML"),
    ],
)
def test_wrong_grids_are_refused_in_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """What is wrong is named with its file and entry, and said in one line."""
    file = grid_file(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        read_grid(file)
    told = str(refusal.value)
    assert told.startswith(f"{file}: ")
    assert words in told
    assert "\n" not in told
    assert told.endswith(".")


def test_a_missing_grid_is_refused(tmp_path: Path) -> None:
    """A grid that is not there is an input error, too."""
    with pytest.raises(InputError, match="must be a file to read"):
        read_grid(tmp_path / "none.toml")


def test_the_documented_grid_is_one(tmp_path: Path) -> None:
    """The example of SWEEPS.md is read once its two files of the user are replaced."""
    text = (Path(__file__).parents[1] / "SWEEPS.md").read_text().split("```toml\n")[1].split("```")[0]
    text = text.replace(', "model.onnx"', "").replace(', "my-board.toml"', "")
    assert len(read_grid(grid_file(tmp_path, text)).points) == 3 * 2 * 2 * 2
