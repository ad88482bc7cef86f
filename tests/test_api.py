"""The library in one screen: its example, its results in words, its errors."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import ooc_solve
from ooc_solve import api
from ooc_solve.api import Comparison, size_bytes
from ooc_solve.models.vocabulary import BudgetError, InputError


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the module's text does what it shows, and leaves a project behind."""
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(api, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= 6
    assert found.failed == 0
    assert (tmp_path / "autoencoder_c" / "Makefile").is_file()


def test_the_package_has_the_names_without_loading_them() -> None:
    """``import ooc_solve`` is light, and its names are those of the api."""
    assert ooc_solve.load is api.load
    assert set(ooc_solve.__all__) <= set(dir(ooc_solve))
    code = (
        "import sys, ooc_solve; print('numpy' in sys.modules); ooc_solve.solve; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="resolve"):
        getattr(ooc_solve, "resolve")  # noqa: B009


def test_a_solution_in_words() -> None:
    """A solution, its plan and their notebook forms name the figures; progress is told."""
    told: list[object] = []
    network, board = api.load("zoo:autoencoder"), api.target("f746-sd")
    solution = api.solve(network, board, "24KiB", time_limit=1, progress=told.append)
    took = f"{solution.plan.figures.latency_ns / 1e6:,.2f} ms"
    assert repr(solution).startswith(f"<Solution: autoencoder on f746-sd, 24 KiB SRAM: {took}, ")
    assert repr(solution.plan).startswith(f"<Plan of cp-sat: {took}, ")
    for page in (solution._repr_html_(), solution.plan._repr_html_()):
        assert took in page
        assert "<svg" in page
    assert list(solution.steps) == told != []
    assert solution.found
    assert solution.gap == (solution.objective - solution.bound) / solution.objective  # type: ignore[operator]
    assert solution.to_dict()["latency_ns"] == solution.plan.figures.latency_ns


def test_names_do_for_what_they_name() -> None:
    """A network and a target may be given by name or file; wrong names are the errors of `load` and `target`."""
    named = api.solve("zoo:autoencoder", "f746-sd", "24KiB", scheduler="serial", time_limit=1)
    given = api.solve(
        api.load("zoo:autoencoder"), api.target("f746-sd"), "24KiB", scheduler="serial", time_limit=1
    )
    assert named.objective == given.objective is not None
    for model, board in (("zoo:none", "f746-sd"), ("zoo:autoencoder", "none")):
        with pytest.raises(InputError, match="none"):
            api.compare(model, board)


def test_what_is_given_in_words() -> None:
    """A network and a target show one line, without weights and figures."""
    assert repr(api.load("zoo:ds_cnn")) == (
        "<Network ds_cnn: 12 operators, input 49x10x1 int8 -> softmax_12 1x1x12 int8, "
        "2.66 M MACs, 27.1 KiB of weights>"
    )
    board = api.target("f746-sd")
    words = "<Target f746-sd: STM32F746G-DISCO with a microSD card, 280 KiB of SRAM"
    assert repr(board) == f"{words}>"
    assert repr(api.encrypted(board, "aes-128-gcm")) == f"{words}, sealed>"


def test_a_rule_has_a_bound_too() -> None:
    """The plan of a rule comes with a bound below it and no steps."""
    network, board = api.load("zoo:autoencoder"), api.target("f746-sd")
    solution = api.solve(network, board, "24KiB", scheduler="serial", time_limit=1)
    assert solution.objective is not None
    assert 0 < solution.bound <= solution.objective
    assert solution.steps == ()
    assert solution.plan.validate() == ()


def test_nothing_fits() -> None:
    """Without a plan a solution says why in words, and only who asks for the plan gets an error."""
    solution = api.solve(api.load("zoo:autoencoder"), api.target("f746-sd"), 2000, time_limit=60)
    assert not solution.found
    assert "least SRAM known" in repr(solution)
    assert "least SRAM known" in solution._repr_html_()
    with pytest.raises(BudgetError, match="least SRAM known"):
        _ = solution.plan


def test_a_comparison_is_a_table(comparison: Comparison) -> None:
    """It prints in 80 columns with a row for each scheduler, holds their plans, and the last is the chosen."""
    lines = repr(comparison).splitlines()
    assert max(map(len, lines)) <= 80
    for result in comparison.results:
        assert any(line.startswith(result.scheduler) for line in lines)
    assert comparison.plans["cp-sat"].decided is comparison.plan.decided
    assert all(plan.validate() == () for plan in comparison.plans.values())
    assert "<pre>" in comparison._repr_html_()


def test_a_comparison_in_a_notebook(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a notebook, too, its text is what `repr` returns: nothing is shown on the way, nothing is coloured."""
    expected = repr(comparison)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert repr(comparison) == expected != ""
    assert "\x1b" not in expected
    assert capsys.readouterr() == ("", "")


def test_a_plan_has_its_tasks_and_times(comparison: Comparison) -> None:
    """What pictures and exercises need of a plan is there under short names."""
    plan = comparison.plan
    assert plan.graph is plan.decided.graph
    assert plan.schedule is plan.decided.schedule


def test_plots(comparison: Comparison, tmp_path: Path) -> None:
    """A plot is a page by itself, with a box for each task and buffer."""
    pytest.importorskip("bokeh", reason="needs the plotting library")
    file = tmp_path / "plot.html"
    drawn = comparison.plan.plot(file)
    assert len(drawn.children) == 2
    text = file.read_text()
    assert "Bokeh" in text
    assert "src=" not in text.split("</script>")[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sram": "1GiB"}, "must not exceed"),
        ({"sram": "much"}, "a size looks like"),
        ({"objective": "speed"}, "'speed'"),
        ({"io": "air"}, "'air'"),
        ({"scheduler": "luck"}, "'luck'"),
        ({"workers": 0}, "at least one process"),
    ],
)
def test_bad_options(arguments: dict[str, str | int], words: str) -> None:
    """Options that are none are refused in one sentence."""
    network, board = api.load("zoo:autoencoder"), api.target("f746-sd")
    with pytest.raises(InputError, match=words):
        api.solve(network, board, **arguments)  # type: ignore[arg-type]


def test_sizes() -> None:
    """Numbers count as bytes, texts may have units."""
    assert [size_bytes(size) for size in (65536, "65536", "64KiB", "64k")] == [65536] * 4


def test_a_known_plan_is_never_lost() -> None:
    """A solver that is stopped at once gives the known plan, or a better one; a rule does not look at it."""
    network, board = api.load("zoo:ds_cnn"), api.target("f746-sd")
    known = api.solve(network, board, "16KiB", scheduler="demand-layering", time_limit=0.2)
    found = api.solve(network, board, "16KiB", time_limit=0.01, known=[known.plan])
    assert known.objective is not None
    assert found.objective is not None
    assert found.bound <= found.objective <= known.objective
    assert found.plan.validate() == ()
    serial = api.solve(network, board, "16KiB", scheduler="serial", time_limit=0.2, known=[known.plan])
    assert serial.plan.decided.scheduler == "serial"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"objective": "speed"},
            "The name of the objective must be one of latency, energy, wear (got 'speed').",
        ),
        (
            {"io": "card"},
            "The name of the place of input and output must be one of sram, storage (got 'card').",
        ),
    ],
)
def test_names_that_are_none(change: dict[str, str], words: str) -> None:
    """A name that stands for nothing is answered with those that do."""
    with pytest.raises(InputError) as told:
        ooc_solve.solve("zoo:ds_cnn", "f746-sd", "24KiB", **change)  # type: ignore[arg-type]
    assert str(told.value) == words
