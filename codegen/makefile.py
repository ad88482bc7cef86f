"""The Makefile of an emitted project: a host program, and where the board says so an emulated one."""

from __future__ import annotations

from ooc_solve.codegen.emit import generator
from ooc_solve.codegen.machines import COMMON_SOURCES, EVENT_LOG, HOST_TOOL, LINKER_SCRIPT, Machine
from ooc_solve.codegen.shown_values import values_recipe
from ooc_solve.codegen.tables import Tables, computes_in_floats, has_annex, has_engine, multiplies_matrices
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import StorageAccess, Store

REGION_PIECE_BYTES = 512
"""What an emulated machine moves at once of the inputs and outputs of runs that overlap, if granules are no larger."""

BUILD = "build"
"""Folder for what ``make`` makes; it belongs to the project."""


def host_makefile(problem: Problem, tables: Tables, word: str, sources: tuple[str, ...]) -> str:
    """The text of the Makefile of a project that runs on the host, with any C99 compiler."""
    usage = _HOST_USAGE.format(build=BUILD, name=word)
    return _host_part(problem, tables, word, sources, usage, "run") + _HOST_END.format(build=BUILD)


def emulated_makefile(
    problem: Problem, tables: Tables, word: str, sources: tuple[str, ...], machine: Machine
) -> str:
    """The text of the Makefile of a project that runs on an emulated machine.

    ``sources`` are those of the host program; the program of the machine shares the runtime.
    """
    usage = _EMULATED_USAGE.format(build=BUILD, name=word, machine=machine.name)
    shared = tuple(source for source in sources if not source.endswith("_host.c"))
    own = (*shared, *COMMON_SOURCES, *machine.sources)
    sealed = tables.sealing is not None
    text = _EMULATED.format(
        build=BUILD,
        name=word,
        machine=machine.name,
        compiler=machine.tools.compiler,
        nm=machine.tools.compiler.removesuffix("gcc") + "nm",
        emulator=machine.tools.emulator,
        compiler_packages=machine.tools.packages[0],
        emulator_packages=machine.tools.packages[1],
        compiler_header="" if machine.freestanding else r"\#include <string.h>",
        clang_flags=machine.tools.clang_flags,
        flags=machine.flags,
        defines=" ".join(_defines(problem, tables, machine)),
        sources=_listed(own),
        tool_sources=_listed((HOST_TOOL, "port_host.c", *shared)),
        linker_script=LINKER_SCRIPT,
        storage=" ".join(machine.storage),
        store_bytes=machine.store_bytes,
        store_fill=machine.store_fill,
        library=_LIBRARY.format(build=BUILD) if sealed else "",
        library_objects=" $(LIBRARY_OBJECTS)" if sealed else "",
        libraries=" -lmbedcrypto" if sealed else "",
        no_log="" if EVENT_LOG in machine.sources else _NO_LOG,
        key_argument=' "$$key"' if sealed else "",
        key_copy=' && cp "$$key" $(RUN)/key.bin' if sealed else "",
    )
    return _host_part(problem, tables, word, sources, usage, "host-run") + text


def _defines(problem: Problem, tables: Tables, machine: Machine) -> list[str]:
    found = [f"-DMACHINE_CLOCK_HZ={machine.clock_hz}u", f"-DSTACK_RESERVE_BYTES={problem.stack_bytes}u"]
    found += [f"-DBANK{k}_BYTES={size}" for k, size in enumerate(tables.bank_bytes) if size]
    if problem.network.carried:
        granules = (tables.store_granule(region.store) for region in tables.region)
        found.append(f"-DREGION_PIECE_BYTES={max(REGION_PIECE_BYTES, *granules)}u")
    if machine.paced:
        for k, store in enumerate(problem.target.stores):
            found += _pace(k, store, "READ", store.storage.read, store.port.read_efficiency)
            found += _pace(k, store, "WRITE", store.storage.write, store.port.write_efficiency)
    return found


def _pace(index: int, store: Store, way: str, access: StorageAccess, efficiency: float) -> list[str]:
    """Setup and rate of one direction, as in `models.cost`."""
    rate = min(round(store.port.peak_bytes_per_s * efficiency), access.bytes_per_s)
    return [
        f"-DPACE{index}_{way}_SETUP_NS={store.port.setup_ns + access.setup_ns}u",
        f"-DPACE{index}_{way}_BYTES_PER_S={rate}u",
    ]


def _listed(files: tuple[str, ...]) -> str:
    return " \\\n    ".join(files)


def _carried(problem: Problem) -> str:
    """What the programs must know of runs that overlap."""
    count = len(problem.network.carried)
    return f" -DOOC_CARRIED={count}u" if count else ""


def _known(tables: Tables) -> str:
    """Switches of the runtime for what this model does not need, or needs besides."""
    switches = (
        ("OOC_ONE_STREAM", len(tables.stream) == 1),
        ("OOC_ONE_BANK", len(tables.bank_bytes) == 1),
        ("OOC_FLOATS", computes_in_floats(tables)),
        ("OOC_MATRICES", multiplies_matrices(tables)),
        ("OOC_SEAL", bool(tables.sealing)),
        ("OOC_RING", bool(tables.ring)),
        ("OOC_PACKED", bool(tables.packings)),
        ("OOC_ENGINE", has_engine(tables)),
        ("OOC_ANNEX", has_annex(tables)),
    )
    return "".join(f" -D{name}" for name, wanted in switches if wanted)


def _host_part(
    problem: Problem, tables: Tables, word: str, sources: tuple[str, ...], usage: str, run: str
) -> str:
    granule = min(tables.store_granule(region.store) for region in tables.region)
    return _HOST.format(
        generator=generator(),
        usage=usage,
        name=word,
        build=BUILD,
        granule=granule,
        known=_known(tables) + _carried(problem),
        sources=_listed(sources),
        run=run,
        # variables that come later are empty where they name what is to be made
        all="$(PROGRAM)" if run == "run" else f"{BUILD}/{word}.elf",
        key_usage=_KEY_USAGE if tables.sealing else "",
        key=_KEY if tables.sealing else "",
        key_option=' --key "$$key"' if tables.sealing else "",
        annex_option=f" --annex {word}_annex.bin" if has_annex(tables) else "",
        libraries=" -lmbedcrypto" if tables.sealing else "",
        library_needed=_LIBRARY_NEEDED if tables.sealing else "",
        values=values_recipe(problem.network),
        several=_SEVERAL if problem.network.carried else "",
    )


_SEVERAL = """\
# Runs overlap here: INPUT may hold the inputs of any number of runs, one run after the other, and OUTPUT receives
# their outputs likewise. One more run is made for the last of them.
"""

_LIBRARY_NEEDED = """ \\
need "Mbed TLS" libmbedtls-dev "echo '#include <mbedtls/gcm.h>' | $(CC) -E -"
"""[:-1]

_KEY_USAGE = """\
# KEY is the file with the key of the sealed records. Mbed TLS opens them: apt-get install libmbedtls-dev.
"""

_KEY = """\
if [ -z "$$KEY" ]; then \\
    echo "make $(GOAL): say which file holds the key of the sealed records: KEY=key.bin" >&2; exit 2; \\
fi; \\
key=$$KEY; case $$key in /*) ;; *) key=$$CALLER/$$key ;; esac; \\
"""

_HOST_USAGE = """\
#     make                                  builds {build}/{name}
#     make run INPUT=in.bin OUTPUT=out.bin  runs it on the host with emulated storage
"""

_EMULATED_USAGE = """\
#     make                                       builds {build}/{name}.elf for the machine {machine}
#     make run INPUT=in.bin OUTPUT=out.bin       runs it in the emulator
#     make host-run INPUT=in.bin OUTPUT=out.bin  runs it on the host with emulated storage
"""

_HOST = """\
# Generated by {generator}, do not edit.
#
{usage}#
# INPUT holds all network inputs one after the other, OUTPUT receives the outputs
# ({name}.h has shapes and types). Relative paths count from where make was called,
# also with make -C. LOG is a file for when each command started and ended: see ooc-trace.
# ARGUMENTS are passed on: see main_host.c.
{several}{key_usage}
CC ?= cc
CFLAGS ?= -O2
STRICT = -std=c99 -ffp-contract=off -pedantic -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
EXTRA_CFLAGS ?=
OUTPUT ?= output.bin
LOG ?=
ARGUMENTS ?=

PROGRAM = {build}/{name}
MODEL = -DOOC_MODEL_HEADER='"{name}.h"' -DOOC_MODEL={name}_model{known}
SOURCES = \\
    {sources}
OBJECTS = $(SOURCES:%.c={build}/%.o)

# The directory of the caller: the shell leaves it in PWD, and make -C does not change it.
# An input that is not there is looked for here.
CALLER := $(if $(PWD),$(PWD),$(CURDIR))
export CALLER INPUT OUTPUT KEY LOG

# In a recipe: the files that INPUT, OUTPUT and LOG mean, in $$input, $$output and $$log.
GOAL = $(firstword $(MAKECMDGOALS))
define FILES
if [ -z "$$INPUT" ]; then \\
    echo "make $(GOAL): say which file holds the network input: make $(GOAL) INPUT=in.bin OUTPUT=out.bin" >&2; \\
    exit 2; \\
fi; \\
{key}input=$$INPUT; output=$$OUTPUT; log=$$LOG; \\
case $$log in ''|/*) ;; *) log=$$CALLER/$$log ;; esac; \\
case $$input in /*) ;; *) if [ -e "$$input" ] && ! [ -e "$$CALLER/$$input" ]; then input=$$(pwd)/$$input; \\
    else input=$$CALLER/$$input; fi ;; esac; \\
case $$output in /*) ;; *) output=$$CALLER/$$output ;; esac
endef

{values}
# In a recipe: need TOOL PACKAGES TEST notes what is missing, MISSING names all of it at once.
define NEED
missing=; packages=; \\
need() {{ eval "$$3" >/dev/null 2>&1 </dev/null || {{ missing="$$missing, $$1"; packages="$$packages $$2"; }}; }}; \\
need "$(firstword $(CC))" "gcc libc6-dev" "echo '#include <stdio.h>' | $(CC) -E -"{library_needed}
endef
define MISSING
if [ -n "$$missing" ]; then \\
    echo "make: missing: $${{missing#, }}; on Debian: apt-get install$$packages" >&2; exit 1; \\
fi
endef

# V=1 shows the commands, make -s nothing.
V ?=
QUIET = $(if $(V),,@)
SAY = @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,echo)

all: {all}

$(PROGRAM): $(OBJECTS)
\t$(SAY) "  LINK $@"
\t$(QUIET)$(CC) $(CFLAGS) $(STRICT) $(EXTRA_CFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LDLIBS){libraries}

$(OBJECTS): {build}/%.o: %.c $(wildcard *.h) Makefile | host-tools
\t@mkdir -p {build}
\t$(SAY) "  CC   $<"
\t$(QUIET)$(CC) $(CFLAGS) $(STRICT) -I. $(MODEL) $(EXTRA_CFLAGS) -c -o $@ $<

host-tools:
\t@$(NEED); $(MISSING)

# Before anything is built.
files:
\t@$(FILES)

{run}: files $(PROGRAM)
\t@$(FILES); \\
\t./$(PROGRAM) {name}.bin "$$input" "$$output" --granule {granule}{annex_option}{key_option} \\
\t    $(if $(LOG),--log "$$log") $(ARGUMENTS) || exit; \\
\techo "wrote $$output$${{log:+ and $$log}}"; $(VALUES)

"""

_HOST_END = """\
host-run: run

clean:
\trm -rf {build}

.PHONY: all files run host-run clean host-tools
"""

_LIBRARY = """\
# Mbed TLS for the machine, from its source: apt-get source mbedtls
MBEDTLS ?=
MBEDTLS_PARTS = aes cipher cipher_wrap gcm chacha20 poly1305 chachapoly constant_time memory_buffer_alloc platform \\
    platform_util
LIBRARY_OBJECTS = $(MBEDTLS_PARTS:%={build}/library/%.o)
MODEL_TARGET = -DMBEDTLS_CONFIG_FILE='"mbedtls_config.h"' -isystem $(MBEDTLS)/include

$(LIBRARY_OBJECTS): {build}/library/%.o: $(MBEDTLS)/library/%.c mbedtls_config.h Makefile | tools
\t@mkdir -p {build}/library
\t$(SAY) "  CC   $<"
\t$(QUIET)$(TARGET_CC) $(TARGET_FLAGS) $(TARGET_CFLAGS) -std=c99 -ffunction-sections -fdata-sections -I. $(MODEL_TARGET) \\
\t    -c -o $@ $<

$(MBEDTLS)/library/%.c:
\t@echo "make: MBEDTLS must name the folder of the source of Mbed TLS (got '$(MBEDTLS)'): apt-get source mbedtls" >&2
\t@exit 1

"""

_NO_LOG = """\
# This machine keeps no log.
ifneq ($(and $(LOG),$(filter run,$(MAKECMDGOALS))),)
$(error this machine keeps no log of its commands: use make host-run LOG=$(LOG))
endif

"""

_EMULATED = """\
# -------------------------------------------------------------------- the emulated machine
#
# ICOUNT=S     2^S ns of virtual time per instruction: counts are exact and repeatable
# PROBE=1      report which memory the program touches: see probe.c
# PROFILE=1    count the instructions of ooc_run by function in {build}/run/profile.txt: likewise
# PLUGIN=F,... another TCG plugin of the emulator with its arguments; its path counts from the caller
# COMPILER     gcc, or clang (the linker stays)
# TIMEOUT      seconds after which the emulator is stopped
# ARGUMENTS    faults to inject: see main_emulated.c

COMPILER ?= gcc
TARGET_LINK ?= {compiler}
TARGET_NM ?= {nm}
TARGET_FLAGS = {flags}
# clang unrolls and vectorises at -O2 until the stack is more than plans count.
ifeq ($(COMPILER),clang)
TARGET_CC ?= clang {clang_flags}
TARGET_CFLAGS ?= -Os
else
TARGET_CC ?= {compiler}
TARGET_CFLAGS ?= -O2
endif
EMULATOR ?= {emulator}
EMULATOR_FLAGS ?=
STORE_BYTES ?= {store_bytes}
TIMEOUT ?= 600
ICOUNT ?=
PLUGIN ?=
PROBE ?=
PROFILE ?=

# A program that keeps a log is built apart.
LOGGED = $(if $(LOG),-logged)
IMAGE = {build}/{name}$(LOGGED).elf
TOOL = {build}/host_store
RUN = {build}/run
DEFINES = $(if $(LOG),-DOOC_EVENT_LOG) {defines}
TARGET_SOURCES = \\
    {sources}
TARGET_OBJECTS = $(TARGET_SOURCES:%.c={build}/target$(LOGGED)/%.o)
TOOL_SOURCES = \\
    {tool_sources}

{library}$(IMAGE): $(TARGET_OBJECTS){library_objects} {linker_script} memory.ld
\t$(SAY) "  LINK $@"
\t$(QUIET)$(TARGET_LINK) $(TARGET_FLAGS) -nostartfiles -T {linker_script} -Wl,--gc-sections -Wl,-z,noexecstack \\
\t    -Wl,--no-warn-rwx-segments -Wl,-Map={build}/{name}.map -o $@ $(TARGET_OBJECTS){library_objects}

$(TARGET_OBJECTS): {build}/target$(LOGGED)/%.o: %.c $(wildcard *.h) Makefile | tools
\t@mkdir -p $(@D)
\t$(SAY) "  CC   $<"
\t$(QUIET)$(TARGET_CC) $(TARGET_FLAGS) $(TARGET_CFLAGS) $(STRICT) -ffunction-sections -fdata-sections -I. $(MODEL) \\
\t    $(MODEL_TARGET) $(DEFINES) -c -o $@ $<

$(TOOL): $(TOOL_SOURCES) $(wildcard *.h) Makefile | host-tools
\t@mkdir -p {build}
\t$(SAY) "  LINK $@"
\t$(QUIET)$(CC) $(CFLAGS) $(STRICT) -I. $(MODEL) $(EXTRA_CFLAGS) $(LDFLAGS) -o $@ $(TOOL_SOURCES) $(LDLIBS){libraries}

{build}/probe.so: probe.c | host-tools
\t@mkdir -p {build}
\t$(QUIET)$(CC) -shared -fPIC $(CFLAGS) -o $@ $<

# All that the goals need, before anything is built.
host-tools: $(if $(filter run,$(MAKECMDGOALS)),tools)

tools:
\t@$(NEED); \\
\tneed "$(firstword $(TARGET_CC))" "$(if $(filter clang,$(COMPILER)),clang,{compiler_packages})" "$(HEADER_TEST)"; \\
\t$(if $(filter clang,$(COMPILER)),need $(TARGET_LINK) "{compiler_packages}" "command -v $(TARGET_LINK)";) \\
\t$(if $(filter run,$(MAKECMDGOALS)),need $(EMULATOR) {emulator_packages} "command -v $(EMULATOR)";) \\
\t$(MISSING)

HEADER_TEST = echo '$(HEADER)' | $(TARGET_CC) $(TARGET_FLAGS) -E -
HEADER = {compiler_header}

{no_log}run: files tools $(IMAGE) $(TOOL) $(if $(PROBE)$(PROFILE),{build}/probe.so)
\t@$(FILES); \\
\tplugin='$(PLUGIN)'; case $$plugin in ''|/*) ;; *) plugin=$$CALLER/$$plugin ;; esac; \\
\tmkdir -p $(RUN) && ./$(TOOL) pack {name}.bin "$$input" $(RUN) $(STORE_BYTES) {store_fill}{key_argument}{key_copy} || exit 1; \\
\trm -f "$$output"; \\
\tcd $(RUN) || exit 1; \\
\tprobe='$(if $(PROBE)$(PROFILE),../probe.so$(if $(PROBE),$(MEMORY))$(if $(PROFILE),$(FUNCTIONS)))'; \\
\t$(if $(PROBE),$(PARTS) >parts.txt;) $(if $(PROFILE),$(TARGET_NM) -S ../$(notdir $(IMAGE)) >symbols.txt;) \\
\tstatus=0; \\
\ttimeout $(TIMEOUT) $(EMULATOR) -M {machine} -display none -monitor none -serial none -nodefaults \\
\t    -chardev stdio,id=console -semihosting-config enable=on,target=native,chardev=console \\
\t    -kernel ../$(notdir $(IMAGE)) -append "$(if $(ICOUNT),--icount $(ICOUNT)) $(ARGUMENTS)" \\
\t    $(if $(ICOUNT),-icount shift=$(ICOUNT)$(comma)sleep=off) $${{plugin:+-plugin "$$plugin"}} \\
\t    $${{probe:+-plugin "$$probe"}} \\
\t    {storage} $(EMULATOR_FLAGS) </dev/null >console.txt 2>emulator.txt || status=$$?; \\
\tif [ $$status -ne 0 ]; then \\
\t    grep '^ooc: ' console.txt >&2 || echo "ooc: $(EMULATOR) ended with status $$status" \\
\t        "(124: out of time): $$(grep -v warning: emulator.txt | head -n 1)" >&2; \\
\t    exit 1; \\
\tfi; \\
\tcat console.txt; $(if $(PROBE),cat probe.txt;) \\
\t../host_store unpack . final.bin{key_argument} && cp final.bin "$$output" || exit; \\
\t$(if $(LOG),cp events.csv "$$log" || exit;) \\
\techo "wrote $$output$${{log:+ and $$log}}"; $(VALUES)

comma = ,
MEMORY = $(comma)parts=parts.txt$(comma)out=probe.txt
FUNCTIONS = $(comma)symbols=symbols.txt$(comma)profile=profile.txt$(comma)from=ooc_run$(comma)to=stack_used_bytes

# The parts of memory that the linker script declares, for probe.c.
PARTS = $(TARGET_NM) ../$(notdir $(IMAGE)) | sed -n \\
    's/^\\([0-9a-f]*\\) . \\(.*\\)_\\(low\\|high\\)$$/\\2 \\3 \\1/p'

clean:
\trm -rf {build}

.PHONY: all files run host-run clean tools host-tools
"""
