"""ooc-solve: proven out-of-core schedules for neural networks on microcontrollers.

The library in one screen is in `ooc_solve.api`; its names are also those of the package. They are
loaded when first asked for, so that the command heeds Ctrl-C from its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ooc_solve.api import (
        Comparison,
        Plan,
        Solution,
        advise,
        compare,
        encrypted,
        load,
        quantize,
        solve,
        target,
    )
    from ooc_solve.models.limits import Limits

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "Limits",
    "Plan",
    "Solution",
    "__version__",
    "advise",
    "compare",
    "encrypted",
    "load",
    "quantize",
    "solve",
    "target",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from ooc_solve import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
