"""A second process that raises the bound while the first one searches.

It begins as a copy of the first, with the option spaces and relaxations that are there by then, and climbs what
each rung allows in each order of the operators, always the lowest first (`Relaxation.climbing`). Nothing that the
search finds is told to it, so what it proves depends on the rungs only, and on time only where that ends it early.
It tells each rise of the bound with the number of rungs that it holds for.

It ends when it is told to, and by itself when its parent is gone, whatever became of that.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Thread
from typing import NoReturn

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.solver.deadline import unhurried
from ooc_solve.solver.floor import least_value
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import Space
from ooc_solve.solver.space_bounds import orders_of

TELLS_EVERY_S = 0.1
"""How often the second process looks whether the bound has risen, and whether its parent is there."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the second process tells: a bound, of the options of how many rungs, and whether it rises no more."""

    rungs: int = 0
    bound: int = 0
    finished: bool = False


def usual_workers() -> int:
    """Processes of a search that nobody asked for another number of: one for each processor, at most 2."""
    offered = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(2, offered or 1)


def can_fork() -> bool:
    """Whether this process may have a copy of itself for a child.

    On macOS system libraries do not survive that; and daemonic processes, such as the workers of Dask, have none.
    """
    offered = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    return offered and not multiprocessing.current_process().daemon


def _awaited(pipe: Connection, seconds: float) -> bool:
    """Whether something comes, or the other end closes, in so many seconds of the clock on the wall.

    `Connection.poll` goes by `time.monotonic`, which stands still for those who wait where it is that of the processor.
    """
    ear = select.poll()
    ear.register(pipe, select.POLLIN)
    return bool(ear.poll(1000 * seconds))


# ------------------------------------------------------------------------- the first one


class SecondProcess:
    """What the first process knows of the second; one that is not there, or is gone, proves nothing more."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._told, self._rungs = Told(), 0

    def begin(
        self, problem: Problem, sizes: Sequence[int], known: Sequence[Relaxation], seconds: float
    ) -> None:
        """Start it on the options of rungs of some sizes, for so many seconds; nothing happens if it cannot be.

        ``known`` are relaxations of the first rung in the arena of the problem, one for each order of the operators;
        they are made if there are none.
        """
        proof, context = _Proof(problem, sizes, known), multiprocessing.get_context("fork")
        with _signals_waiting(), warnings.catch_warnings(), suppress(OSError):
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which the copy needs none
            self._pipe, theirs = context.Pipe()
            with theirs:
                process = context.Process(target=proof.run, args=(theirs, self._pipe, seconds), daemon=True)
                process.start()
                self._process, self._rungs = process, len(sizes)
        if self._process is None:
            self.end()

    @property
    def works(self) -> bool:
        """Whether it is there, as far as was heard."""
        return self._process is not None

    def covers(self, rungs: int) -> bool:
        """Whether it is there, and at work on so many rungs: it began with them, or has told so."""
        self._listen(0.0)
        return self.works and rungs in (self._rungs, self._told.rungs)

    def include(self, size: int) -> None:
        """Have the bound hold for the options of one more rung."""
        if self._pipe is not None:
            with self._until_gone():
                self._pipe.send(size)

    def bound(self, rungs: int) -> int:
        """What it has proven by now of so many rungs, if these are all that were asked for; else 0."""
        self._listen(0.0)
        return self._told.bound if self._told.rungs == rungs else 0

    def wait(self, rungs: int, enough: int, deadline: float) -> None:
        """Wait until it has proven what it can of so many rungs, or enough, or for a time of `time.monotonic`."""
        while self.works and self.bound(rungs) < enough and time.monotonic() < deadline:
            if self._told.finished and self._told.rungs == rungs:
                return
            self._listen(TELLS_EVERY_S)

    def end(self) -> None:
        """End it, wherever it is; what it told is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _listen(self, seconds: float) -> None:
        """Hear what it tells; wait at most so long for it."""
        if self._pipe is not None:
            with self._until_gone():
                while _awaited(self._pipe, seconds):
                    self._told, seconds = self._pipe.recv(), 0.0

    @contextmanager
    def _until_gone(self) -> Iterator[None]:
        """Speak with it; where it turns out to be gone, or a message is left half read, that is the end of it."""
        try:
            yield
        except BaseException as error:
            self.end()
            if not isinstance(error, EOFError | OSError):
                raise


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Let Ctrl-C wait, so that it finds no process that is half started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ------------------------------------------------------------------------ the second one


class _Claim:
    """A bound on the options of one rung in one order of the operators, and how it is raised."""

    def __init__(self, relaxation: Relaxation, space: Space, deadline: float) -> None:
        self.relaxation, self.floor = relaxation, least_value(space)
        self._steps = relaxation.climbing(deadline)

    @property
    def bound(self) -> int:
        """What is proven so far."""
        return max(self.floor, self.relaxation.bound)

    def climb(self) -> bool:
        """Go one step on; whether there was one."""
        return next(self._steps, self) is None


class _Proof:
    """The bounds of all rungs asked for; of what is told a thread takes care."""

    def __init__(self, problem: Problem, sizes: Sequence[int], known: Sequence[Relaxation]) -> None:
        self.problem, self.orders, self.known = problem, orders_of(problem), tuple(known)
        self.deadline, self.parent = inf, os.getpid()
        self.asked: SimpleQueue[int] = SimpleQueue()
        for size in sizes:
            self.asked.put(size)
        self.state: tuple[int, tuple[_Claim, ...], bool] = 0, (), False  # rungs, claims, whether that is all

    def run(self, pipe: Connection, theirs: Connection, seconds: float) -> NoReturn:
        """Work until the parent says that it is enough, or is gone; without a word to its terminal."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the parent, which knows what to keep
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            theirs.close()
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            self.deadline = time.monotonic() + seconds
            Thread(target=self._converse, args=(pipe,), daemon=True).start()
            with unhurried():
                self._prove()
        finally:
            os._exit(1)

    def _prove(self) -> NoReturn:
        """Raise the lowest bound, again and again; wait where that is as high as it gets."""
        while True:
            rungs, claims, finished = self.state
            while finished or not self.asked.empty() or rungs == 0:
                claims += self._claims(self.asked.get())
                rungs, finished = rungs + 1, False
            self.state = rungs, claims, False
            lowest = min(claims, key=lambda claim: claim.bound, default=None)
            if lowest is None or not lowest.climb():
                self.state = rungs, claims, True

    def _claims(self, size: int) -> tuple[_Claim, ...]:
        """What is to be proven of one more rung: nothing where nothing fits."""
        made = []
        for number, there in enumerate(self.orders):
            space = space_of(ordered(at_size(self.problem, size), there.network.order))
            known = self.known[number] if self.known else Relaxation(there, [space], self.deadline)
            made.append(_Claim(known, space, self.deadline))
        self.known = ()  # they were of the first rung
        return tuple(claim for claim in made if claim.relaxation.feasible)

    def _converse(self, pipe: Connection) -> None:
        """Tell each rise, and hear what else is asked; end with the parent."""
        said = Told()
        try:
            while os.getppid() == self.parent:
                now = self._now
                if now != said:
                    pipe.send(said := now)
                if _awaited(pipe, TELLS_EVERY_S):
                    self.asked.put(pipe.recv())
        finally:
            os._exit(0)

    @property
    def _now(self) -> Told:
        rungs, claims, finished = self.state
        return Told(rungs, min((claim.bound for claim in claims), default=0), finished)
