"""Whether the plotting library is there: it is an extra, so that plans need no browser's tools."""

from __future__ import annotations

from importlib.util import find_spec

from ooc_solve.models.vocabulary import InputError


def check_plotting() -> None:
    """Refuse to draw without the library.

    Raises
    ------
    InputError
        If bokeh is not installed.
    """
    if find_spec("bokeh") is None:
        raise InputError("A report needs the plotting library bokeh: pip install bokeh.")
