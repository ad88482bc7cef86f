"""The problem a scheduler gets: network, target, SRAM, where input and output live, budgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from ooc_solve.models.cost import align_down, align_up
from ooc_solve.models.levelling import RING_STATE_BYTES, Ring, check_ring, most_scratch_bytes, note_bytes
from ooc_solve.models.limits import NO_LIMITS, Limits
from ooc_solve.models.sealing import SEAL_BYTES
from ooc_solve.models.vocabulary import (
    CRYPTO,
    NPU_UNIT,
    BudgetError,
    InputError,
    Network,
    Objective,
    RegionName,
    Store,
    Target,
    Tensor,
    Tiling,
)
from ooc_solve.models.wear import INFERENCES_PER_DAY, is_levelled, most_stress

STATE_BYTES = 256
"""SRAM for the runtime's state; the emitted C asserts that ``struct ooc`` fits."""

STACK_BYTES = 1024
"""Stack reserve for the runtime, its kernels and one interrupt on top; tests measure what they use."""

RESERVED_BYTES = STATE_BYTES + STACK_BYTES

MAX_UNITS = 0xFFFE
"""Address fields of the tables have 16 bits; the largest value means "none"."""

MOST_WRITTEN_BYTES = 1 << 53
"""Far more than any run writes: larger write budgets count as this one, since CP-SAT takes no larger numbers."""

PATCH_DEPTH = 9
"""Operators that are fused into one stage at most, unless a problem says otherwise."""

SEALING_STATE_BYTES = 16
"""SRAM for what the state holds besides where records are sealed."""

SEALING_STACK_BYTES = 256
"""Stack reserve besides where records are sealed: for Mbed TLS on a Cortex-M; tests measure it."""


class IoPlace(Enum):
    """Where the network's input and output live."""

    SRAM = "sram"  # in the arena from the start to the end of the run
    STORAGE = "storage"  # in storage at the start, written there at the end


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything a plan must satisfy.

    ``sram_bytes`` is the whole SRAM that may be used: arena, runtime state and stack.
    ``write_budget_bytes`` bounds the bytes programmed per run, None: no bound; ``limits`` the
    other figures. A run is one inference, or as many as the network has frames. Lifetimes are those
    at ``inferences_per_day``.
    ``patch_depth`` is how many operators may be fused into one stage; it bounds what is offered, not
    which plans are right. 1: none are fused. ``fine_groups``: groups of few output channels are offered, too, where
    the weights of all do not fit into the arena; runs that overlap need tiles whose loads fit between those of others.
    ``parts``: tensors may stay in SRAM in part, which is offered on demand as it makes the search longer.
    In the ``scratch_ring_bytes`` of the activation store the scratch region takes turns (see `levelling`), None: it
    stays where it is.
    """

    network: Network
    target: Target
    sram_bytes: int
    io: IoPlace
    objective: Objective = Objective.LATENCY
    write_budget_bytes: int | None = None
    limits: Limits = NO_LIMITS
    inferences_per_day: float = INFERENCES_PER_DAY
    patch_depth: int = PATCH_DEPTH
    fine_groups: bool = False
    scratch_ring_bytes: int | None = None
    parts: bool = False

    def __post_init__(self) -> None:
        if self.sram_bytes <= self.reserved_bytes:
            raise BudgetError(
                f"The SRAM budget must exceed the {self.reserved_bytes} bytes that the runtime's state and stack "
                f"take (got {self.sram_bytes} bytes)."
            )
        if self.io is IoPlace.STORAGE and self.target.activations is None:
            raise InputError(
                f"Target '{self.target.name}' has no storage that takes writes, so its output cannot be "
                "placed there; use --io sram."
            )
        packed = next((op.name for op in self.network.ops if op.packed), None)
        if packed is not None and self.target.engine is not None:
            raise InputError(
                f"Weights of four bits (operator '{packed}') cannot be opened by a crypto engine beside the CPU "
                f"(target '{self.target.name}'): leave --encrypt out, or take a target whose cipher is software."
            )
        self._check_ring()

    def _check_ring(self) -> None:
        if self.scratch_ring_bytes is None:
            return
        if self.target.activations is None:
            raise InputError(
                f"A scratch ring must lie where activations may be spilled (target '{self.target.name}' has no storage "
                "that takes writes); leave --scratch-ring out."
            )
        block = self.block_bytes(RegionName.SCRATCH)
        check_ring(self.scratch_ring_bytes, self.activation_store.storage, block)

    @property
    def bare(self) -> Problem:
        """The same problem judged by latency, without any budget but the SRAM."""
        return replace(
            self,
            objective=Objective.LATENCY,
            write_budget_bytes=None,
            limits=NO_LIMITS,
            inferences_per_day=INFERENCES_PER_DAY,
        )

    @property
    def runs_per_day(self) -> Fraction:
        """How often the network runs; the decimal rate counts as it was written."""
        return Fraction(str(self.inferences_per_day)) / self.network.frames

    @property
    def most_written_bytes(self) -> int | None:
        """Bytes that a run may write: the budget, and what the least lifetime of a levelled part allows."""
        years, storage = self.limits.lifetime_years, self.activation_store.storage
        allowed = [self.write_budget_bytes]
        if years is not None and is_levelled(storage):
            stress = most_stress(storage, years, self.runs_per_day)
            allowed.append(None if stress is None else int(stress))
        given = [size for size in allowed if size is not None]
        return min(*given, MOST_WRITTEN_BYTES) if given else None

    @property
    def most_programs(self) -> Fraction | None:
        """Programs of one erase block that a run may cost on average, None where blocks do not count."""
        years, storage = self.limits.lifetime_years, self.activation_store.storage
        if years is None or is_levelled(storage):
            return None
        return most_stress(storage, years, self.runs_per_day)

    @property
    def allows_writes(self) -> bool:
        """Whether a plan may write anything at all: no block is programmed less often than in one run of a lap."""
        ring, block = self.scratch_ring_bytes, self.block_bytes(RegionName.SCRATCH)
        return self.most_programs is None or self.most_programs * (1 if ring is None else ring // block) >= 1

    @property
    def most_scratch_bytes(self) -> int | None:
        """Bytes that the scratch region may have, None: as many as the part holds."""
        if self.scratch_ring_bytes is None:
            return None
        return most_scratch_bytes(self.scratch_ring_bytes, self.granule_bytes(RegionName.SCRATCH))

    @property
    def most_stored_bytes(self) -> int | None:
        """Bytes that the tasks of an inference may write, what a ring holds included.

        A run writes no byte of a region twice: so the scratch region's bytes, and at most so many of the outputs that
        each row of each channel ends with a granule of padding.
        """
        allowed, scratch = [self.most_written_bytes], self.most_scratch_bytes
        if scratch is not None:
            granule = self.granule_bytes(RegionName.OUTPUT)
            outputs = [self.network.tensors[n] for n in self.network.outputs if n not in self.pinned]
            allowed.append(scratch + sum(t.size_bytes + t.height * t.channels * granule for t in outputs))
        return min((size for size in allowed if size is not None), default=None)

    @property
    def spares_writes(self) -> bool:
        """Whether few bytes are to be written: they are limited, to be the fewest, or blocks are erased for them."""
        erase = self.activation_store.storage.erase
        limited = self.most_stored_bytes is not None or self.most_programs is not None
        return limited or self.objective is Objective.WEAR or (erase is not None and erase.required)

    @property
    def plainest(self) -> Problem:
        """The problem without budgets and limits that has the same options."""
        return replace(self.bare, objective=Objective.WEAR) if self.spares_writes else self.bare

    @property
    def note_bytes(self) -> int:
        """Bytes that a run with a scratch region writes to say which place of the ring it uses; 0 without a ring."""
        return 0 if self.scratch_ring_bytes is None else note_bytes(self.granule_bytes(RegionName.SCRATCH))

    def ring(self, scratch_bytes: int) -> Ring | None:
        """Where a scratch region of so many bytes takes turns, None without a ring or without a region."""
        if self.scratch_ring_bytes is None or not scratch_bytes:
            return None
        granule, block = self.granule_bytes(RegionName.SCRATCH), self.block_bytes(RegionName.SCRATCH)
        return Ring.of(self.scratch_ring_bytes, scratch_bytes, granule, block)

    @property
    def state_bytes(self) -> int:
        """SRAM for the runtime's state."""
        sealing = SEALING_STATE_BYTES if self.target.crypto is not None else 0
        return STATE_BYTES + sealing + (RING_STATE_BYTES if self.scratch_ring_bytes is not None else 0)

    @property
    def stack_bytes(self) -> int:
        """Stack reserve."""
        return STACK_BYTES + (SEALING_STACK_BYTES if self.target.crypto is not None else 0)

    @property
    def reserved_bytes(self) -> int:
        """SRAM that is not the arena's."""
        return self.state_bytes + self.stack_bytes

    @property
    def unit_bytes(self) -> int:
        """Alignment of every SRAM address: the smallest that 16-bit fields can reach with.

        It depends on the board only, so that a plan for little SRAM stays valid with more.
        """
        unit = 8
        while self.target.board.usable_bytes > unit * MAX_UNITS:
            unit *= 2
        return unit

    @property
    def banks(self) -> tuple[tuple[str, int], ...]:
        """Name and arena bytes of each bank, largest first, reserve taken off.

        The order does not depend on the budget: less SRAM is a prefix of more.
        """
        left = align_down(self.sram_bytes - self.reserved_bytes, self.unit_bytes)
        banks = []
        for bank in sorted(self.target.board.banks, key=lambda b: -b.size_bytes):
            usable = self.target.board.dma_channels == 0 or bank.dma
            if usable and left > 0:
                banks.append((bank.name, min(left, bank.size_bytes)))
                left -= banks[-1][1]
        return tuple(banks)

    @property
    def arena_bytes(self) -> int:
        """Bytes of all arena banks together."""
        return sum(size for _, size in self.banks)

    @property
    def weight_memory_bytes(self) -> int:
        """Bytes of the NPU's own memory for weights, 0 where there is none."""
        return 0 if self.target.npu is None else self.target.npu.weight_mem_bytes or 0

    @property
    def compute_resource(self) -> str:
        """Name of the unit that runs the kernels, those of an NPU aside."""
        return "cpu"

    def unit_of(self, tiling: Tiling) -> str:
        """Name of the unit that runs the kernels of an operator."""
        return NPU_UNIT if tiling.npu else self.compute_resource

    def resource_of(self, store: Store) -> str:
        """Resource that transfers to a store occupy: its channel, or the CPU without DMA."""
        return store.channel if self.target.board.overlaps_cpu else self.compute_resource

    @property
    def crypto_resource(self) -> str | None:
        """Resource that opens and seals records: an engine beside the CPU, or the CPU; None where none is sealed."""
        if self.target.crypto is None:
            return None
        return CRYPTO if self.target.engine is not None else self.compute_resource

    @property
    def activation_store(self) -> Store:
        """Where spilled activations, input and output live."""
        return self.target.activations or self.target.weights

    @property
    def regions(self) -> tuple[RegionName, ...]:
        """The regions that there are: an annex only where the target has a store for it."""
        return tuple(name for name in RegionName if name is not RegionName.ANNEX or self.target.annex)

    def store_index(self, region: RegionName) -> int:
        """Index into ``target.stores`` of the store that holds a region (one of `regions`)."""
        if region is RegionName.IMAGE:
            return 0
        store = self.target.annex if region is RegionName.ANNEX else self.activation_store
        if store is None:
            raise ValueError(f"target '{self.target.name}' has no {region.value}")
        return self.target.stores.index(store)

    def granule_bytes(self, region: RegionName) -> int:
        """Alignment of transfers to and from a region."""
        store = self.target.stores[self.store_index(region)]
        sizes = [store.storage.read.granularity_bytes]
        if region not in (RegionName.IMAGE, RegionName.ANNEX):
            sizes += [store.storage.write.granularity_bytes, store.storage.write.page_bytes or 1]
        return max(sizes)

    def block_bytes(self, region: RegionName) -> int:
        """Alignment of a region on its store: the granules of all regions there, and the erase block."""
        store = self.store_index(region)
        granules = [self.granule_bytes(name) for name in self.regions if self.store_index(name) == store]
        erase = self.target.stores[store].storage.erase
        return max(*granules, erase.block_bytes if erase is not None and erase.required else 1)

    def seal_bytes(self, region: RegionName) -> int:
        """What lies behind each row in a region: spilled activations are sealed row by row."""
        sealed = self.target.crypto is not None and region is RegionName.SCRATCH
        return SEAL_BYTES if sealed else 0

    @property
    def pinned(self) -> frozenset[str]:
        """Inputs and outputs of the network that are in SRAM from the start to the end of a run."""
        if self.io is IoPlace.SRAM:
            return frozenset((*self.network.inputs, *self.network.outputs))
        return frozenset(name for pair in self.network.carried for name in pair)

    def in_storage_at_start(self, tensor: Tensor) -> bool:
        """Whether a network input is read from storage."""
        return tensor.name in self.network.inputs and tensor.name not in self.pinned

    def stored_at_end(self, tensor: Tensor) -> bool:
        """Whether a network output is written to storage."""
        return tensor.name in self.network.outputs and tensor.name not in self.pinned

    def buffer_bytes(self, size_bytes: int) -> int:
        """SRAM that a buffer of this size takes."""
        return align_up(size_bytes, self.unit_bytes)
