"""ooc-solve: proven out-of-core schedules for neural networks on microcontrollers."""

__version__ = "0.1.0"
