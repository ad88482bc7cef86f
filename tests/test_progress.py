"""Steps of a search as kept and as told."""

from __future__ import annotations

from ooc_solve.progress import History, Step


def test_steps_are_kept_and_told() -> None:
    """Each call becomes a step, in order, and whoever watches is told the same."""
    told: list[Step] = []
    history = History(told.append)
    history("32 KiB", 0.5, None, 90)
    history("28 KiB", 1.0, 100, 95)
    assert history.steps == told == [Step(0.5, "32 KiB", None, 90), Step(1.0, "28 KiB", 100, 95)]


def test_a_step_in_words() -> None:
    """A line names seconds, best, bound and gap, and says when there is no plan yet."""
    assert str(Step(0.5, "32 KiB", None, 90)).endswith("no plan yet, bound 90")
    assert str(Step(12.25, "28 KiB", 1000, 950)).endswith("best 1,000, bound 950, gap 5.0%")


def test_values_have_their_unit_where_it_is_known() -> None:
    """Whoever knows what is minimised has values told as people read them."""
    told = Step(12.25, "28 KiB", 2_000_000, 1_500_000).told(lambda ns: f"{ns / 1e6:.2f} ms")
    assert told.endswith("best 2.00 ms, bound 1.50 ms, gap 25.0%")
