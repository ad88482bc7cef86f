"""Emulated machines: what builds and runs a project whose board names one.

A machine is a row here and a C file beside its drivers in ``codegen/ports/emulated``; the contract
between the two is ``machine.h`` there. Memory maps and clocks are those of QEMU 7.2 (``hw/arm``).
"""

from __future__ import annotations

from dataclasses import dataclass

from ooc_solve.models.problem import STACK_BYTES, STATE_BYTES
from ooc_solve.models.vocabulary import Board, InputError

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """A piece of the memory map; ``name`` is that of a bank of the board."""

    name: str
    origin: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that build and run a project, and what clang needs to take the compiler's place.

    ``packages`` are the Debian packages, for whoever lacks them: of the compiler, of the emulator.
    """

    compiler: str
    emulator: str
    packages: tuple[str, str]
    clang_flags: str


ARM = Tools(
    "arm-none-eabi-gcc",
    "qemu-system-arm",
    ("gcc-arm-none-eabi libnewlib-arm-none-eabi", "qemu-system-arm"),
    "--target=arm-none-eabi -isystem /usr/lib/arm-none-eabi/include -fshort-enums -fno-unwind-tables",
)


RISCV = Tools(
    "riscv64-unknown-elf-gcc",
    "qemu-system-riscv32",
    ("gcc-riscv64-unknown-elf", "qemu-system-misc"),
    "--target=riscv32-unknown-elf",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One emulated machine.

    ``flags`` go to compiler and linker. Stack, state and the port's variables live in the first
    bank. ``sources`` are files of ``codegen/ports/emulated`` besides `COMMON_SOURCES` and all
    headers there. ``storage`` are the emulator's arguments that attach store0.img (and
    store1.img), files of at least ``store_bytes`` bytes and a power of two, filled with
    ``store_fill``. ``paced``: the port takes the time of transfers from the board file.
    ``freestanding``: the compiler has no C library, so the headers of ``codegen/ports/freestanding``
    take its place.
    """

    name: str
    flags: str
    clock_hz: int
    code: Memory
    banks: tuple[Memory, ...]
    sources: tuple[str, ...]
    storage: tuple[str, ...] = ()
    store_bytes: int = 512
    store_fill: int = 0
    paced: bool = False
    freestanding: bool = False
    tools: Tools = ARM


COMMON_SOURCES = ("main_emulated.c", "fault_port.c", "semihost.c", "stack.c")
"""What every machine is built from, besides its own sources."""

HOST_TOOL = "host_store.c"
"""Program for the host that prepares the stores and reads them back."""

PROBE = "probe.c"
"""Plugin of the emulator that reports which memory a program touches."""

EVENT_LOG = "event_log.c"
"""Among the sources of machines that can keep a log of their commands."""

LINKER_SCRIPT = "emulated.ld"

PORT_STACK_BYTES = 256
"""Stack of startup and main, on top of what plans count for the runtime and an interrupt."""

_CORTEX_M = ("startup_cortex_m.c", "systick.c")
_FILES = (*_CORTEX_M, "machine_semihost.c", "semihost_store.c")

_VIRTIO = (
    *("-bios", "none", "-global", "virtio-mmio.force-legacy=false"),
    *("-drive", "if=none,id=store0,format=raw,file=store0.img", "-device", "virtio-blk-device,drive=store0"),
    *("-drive", "if=none,id=store1,format=raw,file=store1.img", "-device", "virtio-blk-device,drive=store1"),
)

MACHINES = {
    machine.name: machine
    for machine in (
        Machine(
            name="lm3s6965evb",
            flags="-mcpu=cortex-m3 -mthumb -mfloat-abi=soft",
            clock_hz=50_000_000,
            code=Memory("flash", 0x00000000, 256 * KIB),
            banks=(Memory("SRAM", 0x20000000, 64 * KIB),),
            sources=(*_CORTEX_M, "machine_lm3s6965evb.c", "sd_spi.c"),
            storage=("-drive", "if=sd,format=raw,file=store0.img"),
            store_bytes=MIB,
        ),
        Machine(
            name="emcraft-sf2",
            flags="-mcpu=cortex-m3 -mthumb -mfloat-abi=soft",
            clock_hz=142_000_000,
            code=Memory("envm", 0x00000000, 256 * KIB),
            banks=(Memory("eSRAM", 0x20000000, 64 * KIB),),
            sources=(*_CORTEX_M, "machine_emcraft_sf2.c", "spi_nor.c"),
            # All that is not the image is programmed already: what is not erased first comes back as zeros.
            storage=("-drive", "if=mtd,format=raw,file=store0.img"),
            store_bytes=16 * MIB,
        ),
        Machine(
            name="mps2-an505",
            flags="-mcpu=cortex-m33 -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard",
            clock_hz=20_000_000,
            code=Memory("ssram1", 0x10000000, 4 * MIB),
            banks=(Memory("SRAM", 0x38000000, 512 * KIB),),
            sources=(*_CORTEX_M, "machine_mps2_an505.c", "paced_dma.c", "pl081.c", EVENT_LOG),
            paced=True,
        ),
        Machine(
            name="virt",
            flags="-march=rv32imac -mabi=ilp32 -misa-spec=2.2 -mcmodel=medany -ffreestanding -fbuiltin "
            "-fno-tree-loop-distribute-patterns -isystem freestanding -nolibc",
            clock_hz=10_000_000,
            code=Memory("dram", 0x80000000, MIB),
            banks=(Memory("SRAM", 0x80100000, 512 * KIB),),
            sources=("startup_riscv.c", "freestanding.c", "machine_riscv_virt.c", "virtio_blk.c"),
            storage=_VIRTIO,
            freestanding=True,
            tools=RISCV,
        ),
        Machine(
            name="mps2-an386",
            flags="-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard",
            clock_hz=25_000_000,
            code=Memory("ssram1", 0x00000000, 4 * MIB),
            banks=(Memory("SRAM", 0x20000000, 256 * KIB),),
            sources=_FILES,
        ),
        Machine(
            name="mps2-an500",
            flags="-mcpu=cortex-m7 -mthumb -mfpu=fpv5-d16 -mfloat-abi=hard",
            clock_hz=25_000_000,
            code=Memory("ssram1", 0x00000000, 4 * MIB),
            banks=(Memory("SRAM", 0x20000000, 512 * KIB),),
            sources=_FILES,
        ),
        Machine(
            name="mps3-an547",
            flags="-mcpu=cortex-m55 -mthumb -mfloat-abi=hard",
            clock_hz=32_000_000,
            code=Memory("itcm", 0x00000000, 512 * KIB),
            banks=(Memory("DTCM", 0x20000000, 512 * KIB),),
            sources=_FILES,
        ),
        Machine(
            name="microbit",
            flags="-mcpu=cortex-m0 -mthumb -mfloat-abi=soft",
            clock_hz=16_000_000,
            code=Memory("flash", 0x00000000, 256 * KIB),
            banks=(Memory("SRAM", 0x20000000, 16 * KIB),),
            sources=_FILES,
        ),
        Machine(
            name="stm32vldiscovery",
            flags="-mcpu=cortex-m3 -mthumb -mfloat-abi=soft",
            clock_hz=24_000_000,
            code=Memory("flash", 0x08000000, 128 * KIB),
            banks=(Memory("SRAM", 0x20000000, 8 * KIB),),
            sources=_FILES,
        ),
    )
}


def machine_of(board: Board) -> Machine | None:
    """The machine that a board names; None if it names none.

    Raises
    ------
    InputError
        If there is no such machine, or the board has a bank that the machine lacks.
    """
    if board.emulator is None:
        return None
    machine = MACHINES.get(board.emulator)
    if machine is None:
        raise InputError(
            f"Board '{board.name}': emulator must be one of {', '.join(MACHINES)} (got '{board.emulator}')."
        )
    names = {bank.name for bank in machine.banks}
    for bank in board.banks:
        if bank.name not in names:
            raise InputError(
                f"Board '{board.name}': the banks of the emulated machine '{machine.name}' are "
                f"{', '.join(sorted(names))} (got '{bank.name}')."
            )
    return machine


def memory_script(
    machine: Machine, banks: tuple[str, ...], stack_bytes: int = STACK_BYTES, state_bytes: int = STATE_BYTES
) -> str:
    """The text of memory.ld: memories by the names that the linker script uses, state and stack.

    ``banks`` names the bank of each part of the arena; parts that a plan lacks go into the first.
    """
    index = {bank.name: k for k, bank in enumerate(machine.banks)}
    places = (*(index[name] for name in banks), 0, 0, 0, 0)[:4]
    rows = [f"    CODE (rx) : ORIGIN = {machine.code.origin:#x}, LENGTH = {machine.code.size_bytes:#x}"]
    rows += [
        f"    BANK{k} (rwx) : ORIGIN = {bank.origin:#x}, LENGTH = {bank.size_bytes:#x}"
        for k, bank in enumerate(machine.banks)
    ]
    aliases = ['REGION_ALIAS("DATA", BANK0)']
    aliases += [f'REGION_ALIAS("ARENA{k}", BANK{place})' for k, place in enumerate(places)]
    sizes = [f"STACK_BYTES = {stack_bytes + PORT_STACK_BYTES};", f"STATE_BYTES = {state_bytes};"]
    title = f"/* Memory of the machine {machine.name}: {', '.join(bank.name for bank in machine.banks)}. */"
    return "\n".join((title, "MEMORY", "{", *rows, "}", *aliases, *sizes)) + "\n"
