/* main_emulated.c - run an emitted network on an emulated machine: once, or where runs overlap once for each inputs.
 *
 * Arguments: [--icount S] [--before N] [--rounds N] [--block N] and one of the faults [--fail N] [--flip N] [--short N] [--partial N]
 * [--hang N] [--full N] [--cut N] (fault_port.h). With --icount the emulator runs under `-icount shift=S`, and the
 * counter of the machine becomes a count of instructions. With --before there are N runs before the one
 * that is told about, and records of weights are compared in the first of them alone. With --rounds that one is N runs,
 * one after the other, and with --block the most writes that a block of so many bytes got in them is told (with OOC_RING).
 *
 * Inputs and outputs in storage were put there and are read back by the host (host_store.c);
 * those in the arena are read from input.bin and written to output.bin, which holds room for
 * all outputs. The counters, faults, ticks and the log concern ooc_run alone.
 *
 * Where runs overlap (OOC_CARRIED, how many inputs and outputs one run leaves for the next) input.bin holds the inputs
 * of any number of runs, and output.bin gets theirs; inputs.bin and outputs.bin are the regions of inputs and outputs
 * as they are before and behind each run, REGION_PIECE_BYTES of which pass through SRAM at once. What is told is the last run.
 *
 * With OOC_SEAL the key is in key.bin; the journal was written by the host.
 *
 * Compile with -DOOC_MODEL_HEADER='"NAME.h"' -DOOC_MODEL=NAME_model -DBANK0_BYTES=... and so on
 * for the banks that the model has, and -DSTACK_RESERVE_BYTES=..., the stack that plans count for
 * ooc_run and all that it calls. A run that takes more, and one interrupt on top, fails.
 */
#include "fault_port.h"
#include "machine.h"
#include "ooc.h"
#include "semihost.h"
#include "stack.h"
#ifdef OOC_ENGINE
#include "emulated_engine.h"
#endif
#ifdef OOC_SEAL
#include "crypto_mbedtls.h"
#include <mbedtls/memory_buffer_alloc.h>
#endif

#include <string.h>

#include OOC_MODEL_HEADER

#ifndef OOC_CARRIED
#define OOC_CARRIED 0u
#endif
#define INPUTS ((unsigned)OOC_MODEL.inputs - OOC_CARRIED)
#define OUTPUTS ((unsigned)OOC_MODEL.outputs - OOC_CARRIED)

#ifndef BANK1_BYTES
#define BANK1_BYTES 0
#endif
#ifndef BANK2_BYTES
#define BANK2_BYTES 0
#endif
#ifndef BANK3_BYTES
#define BANK3_BYTES 0
#endif

/* What a plan counts: arena, state and (in the linker script) stack. */
#define ARENA(k) __attribute__((section(".arena" #k), aligned(16))) static uint8_t arena##k[BANK##k##_BYTES]
ARENA(0);
#if BANK1_BYTES
ARENA(1);
#else
#define arena1 NULL
#endif
#if BANK2_BYTES
ARENA(2);
#else
#define arena2 NULL
#endif
#if BANK3_BYTES
ARENA(3);
#else
#define arena3 NULL
#endif

static const uint32_t bank_bytes[OOC_MAX_BANKS] = {BANK0_BYTES, BANK1_BYTES, BANK2_BYTES, BANK3_BYTES};

__attribute__((section(".state"))) static struct ooc state;

/* What measuring takes besides; no plan counts it. */
static struct ooc_port port;
static struct fault_port fault;
static struct faults faults;
static uint32_t icount_shift, has_icount, runs_before, rounds, block_bytes;

#define COMMAND_LINE_BYTES 160u

void machine_completed(void) {
    (void)ooc_advance(&state);
}

__attribute__((weak)) int machine_close(void) {
    return 0;
}

/* ----------------------------------------------------------------------- arguments */

static uint32_t *option(const char *name) {
    static const struct known_option {
        const char *name;
        uint32_t *value;
    } known[] = {{"--fail", &faults.fail},       {"--flip", &faults.flip}, {"--short", &faults.shorten},
                 {"--partial", &faults.partial}, {"--hang", &faults.hang}, {"--full", &faults.full},
                 {"--cut", &faults.cut},         {"--icount", &icount_shift},
                 {"--before", &runs_before},     {"--rounds", &rounds},         {"--block", &block_bytes}};
    unsigned k;
    for (k = 0; k < sizeof known / sizeof *known; k++) {
        if (strcmp(name, known[k].name) == 0) {
            has_icount |= known[k].value == &icount_shift;
            return known[k].value;
        }
    }
    return NULL;
}

static int number(const char *text, uint32_t *value) {
    *value = 0;
    if (*text == '\0' || strlen(text) > 9) {
        return 0;
    }
    for (; *text >= '0' && *text <= '9'; text++) {
        *value = *value * 10u + (uint32_t)(*text - '0');
    }
    return *text == '\0';
}

/* Cut the first word off a text of words. */
static char *word(char **text) {
    char *start = *text + strspn(*text, " ");
    *text = start + strcspn(start, " ");
    if (**text != '\0') {
        *(*text)++ = '\0';
    }
    return start;
}

/* The line is read into the arena, which nobody uses yet. */
static void parse(char *line) {
    (void)word(&line); /* the name of the program */
    for (;;) {
        const char *name = word(&line);
        uint32_t *value = *name != '\0' ? option(name) : NULL;
        if (*name == '\0') {
            return;
        }
        if (value == NULL || !number(word(&line), value)) {
            machine_print("ooc: an option that is known must come before a whole number: ");
            machine_print(name);
            machine_print("\n");
            semihost_exit(MACHINE_EXIT_USAGE);
        }
    }
}

/* -------------------------------------------------------------------------- errors */

/* One line in the words of main_host.c. */
static void report_error(int result) {
    machine_print("ooc: error ");
    machine_print_value(result);
    machine_print(", ");
    machine_print(ooc_message(result));
    if (state.task_stream != 0xFF) {
        machine_print(" (stream ");
        machine_print_value(state.task_stream);
        machine_print(", command ");
        machine_print_value(state.task_index);
        machine_print(")");
    }
    if (state.port_error != 0) {
        machine_print(" (port error ");
        machine_print_value(state.port_error);
        machine_print(")");
    }
    machine_print("\n");
    semihost_exit(MACHINE_EXIT_FAILED);
}

/* ------------------------------------------------------------- inputs and outputs */

static uint32_t tensors_bytes(unsigned first, unsigned count) {
    uint32_t sum = 0;
    unsigned k;
    for (k = first; k < first + count; k++) {
        sum += OOC_MODEL.bindings[k].bytes;
    }
    return sum;
}

static void move_resident(unsigned first, unsigned count, const char *path, uint32_t run, int to_file) {
    uint32_t at = run * tensors_bytes(first, count);
    unsigned k;
    for (k = first; k < first + count; k++) {
        const struct ooc_binding *binding = &OOC_MODEL.bindings[k];
        if (binding->operand.place != OOC_STREAMED) {
            uint8_t *place = ooc_address(&state, binding->offset, binding->bytes);
            int32_t file = semihost_open(path, to_file ? SEMIHOST_UPDATE : SEMIHOST_READ);
            int32_t left = to_file ? semihost_write(file, at, place, binding->bytes)
                                   : semihost_read(file, at, place, binding->bytes);
            (void)semihost_close(file);
            if (left != 0) {
                machine_fail("input.bin or output.bin cannot be moved", MACHINE_EXIT_FAILED);
            }
        }
        at += binding->bytes;
    }
}

#if OOC_CARRIED
/* Between a region and a file that holds it for each run. */
static void move_region(enum ooc_region_id id, const char *path, uint32_t run, int to_file) {
    static __attribute__((aligned(16))) uint8_t piece[REGION_PIECE_BYTES];
    const struct ooc_region *region = &OOC_MODEL.region[id];
    int32_t file = semihost_open(path, to_file ? SEMIHOST_UPDATE : SEMIHOST_READ);
    int result = to_file ? OOC_DONE : ooc_erase(&state, id);
    uint32_t at, bytes;
    for (at = 0; at < region->bytes && result == OOC_DONE; at += bytes) {
        int32_t left = 0;
        bytes = region->bytes - at < REGION_PIECE_BYTES ? region->bytes - at : REGION_PIECE_BYTES;
        if (!to_file) {
            left = semihost_read(file, run * region->bytes + at, piece, bytes);
        }
        result = ooc_transfer(&state, region->store, region->base + at, piece, bytes, !to_file);
        if (to_file) {
            left = semihost_write(file, run * region->bytes + at, piece, bytes);
        }
        if (left != 0) {
            machine_fail("inputs.bin or outputs.bin cannot be moved", MACHINE_EXIT_FAILED);
        }
    }
    (void)semihost_close(file);
    if (result != OOC_DONE) {
        report_error(result);
    }
}
#endif

static void give_inputs(uint32_t run) {
    move_resident(0, INPUTS, "input.bin", run, 0);
#if OOC_CARRIED
    move_region(OOC_REGION_INPUT, "inputs.bin", run, 0);
#endif
}

static void take_outputs(uint32_t run) {
    move_resident(OOC_MODEL.inputs, OUTPUTS, "output.bin", run, 1);
#if OOC_CARRIED
    move_region(OOC_REGION_OUTPUT, "outputs.bin", run, 1);
#endif
}

/* ----------------------------------------------------------------------------- run */

static void report_instructions(uint64_t ticks) {
    uint64_t rate = machine_ticks_per_s;
    uint64_t rest = ticks % rate * 1000000000u;
    uint64_t ns = ticks / rate * 1000000000u + (rest + rate / 2u) / rate;
    uint64_t half = (uint64_t)1 << icount_shift >> 1;
    machine_print_number("instructions", (ns + half) >> icount_shift);
}

static void report(uint64_t ticks, uint32_t stack) {
    uint32_t tasks = 0, arena = 0;
    unsigned k;
    for (k = 0; k < OOC_MODEL.streams; k++) {
        tasks += state.stream[k].done;
    }
    for (k = 0; k < OOC_MODEL.banks; k++) {
        arena += bank_bytes[k];
    }
    machine_print_number("tasks", tasks);
    machine_print_number("reads", fault.reads);
    machine_print_number("writes", fault.writes);
    machine_print_number("bytes_read", fault.bytes_read);
    machine_print_number("bytes_written", fault.bytes_written);
#ifdef OOC_RING
    if (fault.block_bytes != 0) {
        machine_print_number("worst_block_writes", fault_port_worst_block(&fault));
    }
#endif
    machine_print_number("arena_bytes", arena);
    machine_print_number("state_bytes", sizeof state);
    machine_print_number("stack_bytes", stack);
    machine_print_number("stack_reserve_bytes", STACK_RESERVE_BYTES);
    machine_print_number("ticks", ticks);
    machine_print_number("ticks_per_s", machine_ticks_per_s);
    if (has_icount) {
        report_instructions(ticks);
    }
}

/* The clock of the machine, for a port that has none. */
static uint32_t now(void *context) {
    (void)context;
    return (uint32_t)machine_ticks();
}

/* A chip would take its keys from where it keeps secrets. What Mbed TLS works with belongs to the port. */
#ifdef OOC_SEAL
#define POOL_BYTES 2048u

static void provide(struct ooc_port *port) {
    static __attribute__((aligned(8))) uint8_t pool[POOL_BYTES];
    static struct crypto_mbedtls vault;
    static struct ooc_crypto crypto;
#ifdef OOC_ENGINE
    static struct ooc_engine engine;
    static struct emulated_engine engine_state;
#endif
    uint8_t key[CRYPTO_CHACHA_KEY_BYTES];
    int32_t file = semihost_open("key.bin", SEMIHOST_READ);
    int32_t left = semihost_read(file, 0, key, crypto_mbedtls_key_bytes(OOC_MODEL.cipher));
    (void)semihost_close(file);
    mbedtls_memory_buffer_alloc_init(pool, sizeof pool);
    if (left != 0 || crypto_mbedtls_emulate(&crypto, &vault, OOC_MODEL.cipher, key) != 0) {
        machine_fail("key.bin does not hold the key of these tables", MACHINE_EXIT_FAILED);
    }
    port->crypto = &crypto;
#ifdef OOC_ENGINE
    emulated_engine_bind(&engine, &engine_state, &crypto, 1);
    port->engine = &engine;
#endif
}
#endif

static void open_network(void) {
    static uint8_t *const banks[OOC_MAX_BANKS] = {arena0, arena1, arena2, arena3};
    const struct ooc_port *below = machine_open();
    int result;
    if (below == NULL) {
        semihost_exit(MACHINE_EXIT_FAILED);
    }
    if (memcmp(bank_bytes, OOC_MODEL.bank_bytes, sizeof bank_bytes) != 0) {
        machine_fail("the arena was built for other tables", MACHINE_EXIT_FAILED);
    }
    fault_port_bind(&port, &fault, below);
    if (port.now == NULL) {
        port.now = now;
        port.timeout = machine_ticks_per_s;
    }
#ifdef OOC_SEAL
    provide(&port);
#endif
    result = ooc_open(&state, &OOC_MODEL, banks, &port);
    if (result != OOC_DONE) {
        report_error(result);
    }
}

static void run_before(void) {
    int result = runs_before > 0 ? ooc_check_records(&state, OOC_RECORDS_FIRST_RUN) : OOC_DONE;
    for (; runs_before > 0 && result == OOC_DONE; runs_before--) {
        give_inputs(0);
        result = ooc_run(&state);
    }
    if (result != OOC_DONE) {
        report_error(result);
    }
}

/* All runs but the last one; returns the number of its inputs. Where runs overlap its outputs are those of the last
 * inputs, which it finds once more. */
#if OOC_CARRIED
static uint32_t run_overlapping(void) {
    int32_t file = semihost_open("input.bin", SEMIHOST_READ);
    uint32_t runs = (uint32_t)semihost_length(file) / tensors_bytes(0, INPUTS);
    uint32_t k;
    (void)semihost_close(file);
    for (k = 0; k < runs; k++) {
        int result;
        give_inputs(k);
        result = ooc_run(&state);
        if (result != OOC_DONE) {
            report_error(result);
        }
        if (k > 0) {
            take_outputs(k - 1);
        }
    }
    return runs - 1;
}
#else
static uint32_t run_overlapping(void) {
    return 0;
}
#endif

static int run_rounds(void) {
    int result = ooc_run(&state);
    for (; rounds > 1 && result == OOC_DONE; rounds--) {
        result = ooc_run(&state);
    }
    return result;
}

/* The run that is told about. */
static void run_told(uintptr_t mark) {
    uint64_t begin, end;
    uint32_t stack;
    int result;
    fault_port_arm(&fault, &faults);
#ifdef OOC_RING
    fault.block_bytes = block_bytes;
#endif
    begin = machine_ticks();
    result = run_rounds();
    end = machine_ticks();
    stack = stack_used_bytes(mark);
    if (result != OOC_DONE) {
        report_error(result);
    }
    if (stack > STACK_RESERVE_BYTES) {
        machine_print_number("ooc: the runtime used more stack than plans count, bytes", stack);
        semihost_exit(MACHINE_EXIT_FAILED);
    }
    report(end - begin, stack);
}

int main(void) {
    static const struct faults none;
    void (*event)(void *context, uint8_t stream, uint32_t index, uint8_t what);
    uintptr_t mark = stack_mark();
    uint32_t last;
    semihost_command_line((char *)arena0, BANK0_BYTES < COMMAND_LINE_BYTES ? BANK0_BYTES : COMMAND_LINE_BYTES);
    parse((char *)arena0);
    open_network();
    event = port.event;
    port.event = NULL; /* the log is of the run that is told about */
    run_before();
    last = run_overlapping();
    give_inputs(last);
    port.event = event;
    run_told(mark);
    fault_port_arm(&fault, &none);
    take_outputs(last);
    return machine_close() == 0 ? 0 : MACHINE_EXIT_FAILED;
}
