/* probe.c - TCG plugin for QEMU: which bytes of memory the program really touches, and where its
 * instructions go.
 *
 *     cc -shared -fPIC -O2 -o probe.so probe.c
 *     qemu-system-arm ... -plugin ./probe.so,parts=parts.txt,out=probe.txt
 *     qemu-system-arm ... -plugin ./probe.so,symbols=symbols.txt,profile=profile.txt,from=NAME,to=NAME
 *
 * A line of parts.txt is "NAME low ADDRESS" or "NAME high ADDRESS" (hexadecimal): the half-open
 * ranges that the program declares, at most 15. The part named code may only be read. The report:
 *
 *     all_instructions N
 *     part NAME bytes N loaded N stored N     (bytes touched at least once)
 *     stray_loads N, stray_stores N           (memory outside of all parts, or a store to code)
 *
 * followed by the first stray access, if any. Peripherals do not count.
 *
 * symbols.txt is what `nm -S` prints. The profile has a line "COUNT ADDRESS NAME" per function, of the
 * instructions executed there from the last time that the function `from` was entered until the
 * function `to` was entered next; without them, from reset to the end. Where functions share a name,
 * the address tells them apart. Instructions in no function count under the name "elsewhere".
 *
 * The interface to QEMU (version 1: QEMU 4.2 to 8.2) is declared here, because distributions ship no
 * header for it.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;

enum { PLUGIN_INLINE_ADD_U64 = 0, PLUGIN_NO_REGISTERS = 0, PLUGIN_LOADS_AND_STORES = 3 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *),
                                           void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation, void *count,
                                                       uint64_t amount);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                                   void (*callback)(unsigned, void *), int registers,
                                                   void *data);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                             void (*callback)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                             int registers, int ways, void *data);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t address);
extern bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *address);

#define PUBLIC __attribute__((visibility("default")))
PUBLIC extern int qemu_plugin_version;
PUBLIC int qemu_plugin_version = 1;
PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

#define PARTS 15
#define NAME 32
#define SYMBOLS 4096
#define SYMBOL_NAME 64
#define PATH 4096
#define LINE 512
#define LOADED 1u
#define STORED 2u

struct part {
    char name[NAME];
    uint64_t low;
    uint64_t high;
    uint8_t *seen; /* LOADED and STORED of each byte */
};

/* A function of the program. */
struct symbol {
    char name[SYMBOL_NAME];
    uint64_t low;
    uint64_t high;
    uint64_t instructions; /* so far */
    uint64_t kept; /* those of what is measured, when it is over */
};

static struct part parts[PARTS];
static unsigned part_count;
static struct symbol symbols[1 + SYMBOLS] = {{.name = "elsewhere"}};
static unsigned symbol_count = 1;
static uint64_t instructions;
static uint64_t stray[2]; /* loads, stores */
static uint64_t first_stray[2];
static char report_path[PATH] = "probe.txt";
static char profile_path[PATH] = "profile.txt";
static char from[SYMBOL_NAME], to[SYMBOL_NAME];
static int is_measuring;

/* --------------------------------------------------------------------- observing */

static struct part *part_of(uint64_t address) {
    unsigned k;
    for (k = 0; k < part_count; k++) {
        if (address >= parts[k].low && address < parts[k].high) {
            return &parts[k];
        }
    }
    return NULL;
}

static void touch(uint64_t address, int store) {
    struct part *part = part_of(address);
    if (part == NULL || (store && strcmp(part->name, "code") == 0)) {
        if (stray[store]++ == 0) {
            first_stray[store] = address;
        }
    } else {
        part->seen[address - part->low] |= store ? STORED : LOADED;
    }
}

static void on_access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data) {
    struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, address);
    unsigned bytes = 1u << qemu_plugin_mem_size_shift(info);
    unsigned k;
    (void)cpu;
    (void)data;
    if (place != NULL && qemu_plugin_hwaddr_is_io(place)) {
        return;
    }
    for (k = 0; k < bytes; k++) {
        touch(address + k, qemu_plugin_mem_is_store(info));
    }
}

static void on_from(unsigned cpu, void *data) {
    unsigned k;
    (void)cpu;
    (void)data;
    for (k = 0; k < symbol_count; k++) {
        symbols[k].instructions = 0;
    }
    is_measuring = 1;
}

static void on_to(unsigned cpu, void *data) {
    unsigned k;
    (void)cpu;
    (void)data;
    for (k = 0; is_measuring && k < symbol_count; k++) {
        symbols[k].kept = symbols[k].instructions;
    }
    is_measuring = 0;
}

/* The first is for what lies in no other. */
static struct symbol *symbol_of(uint64_t address) {
    unsigned k = symbol_count - 1;
    while (k > 0 && (address < symbols[k].low || address >= symbols[k].high)) {
        k--;
    }
    return &symbols[k];
}

static void count_in_symbol(struct qemu_plugin_insn *insn) {
    uint64_t address = qemu_plugin_insn_vaddr(insn);
    struct symbol *symbol = symbol_of(address);
    if (address == symbol->low && strcmp(symbol->name, from) == 0) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_from, PLUGIN_NO_REGISTERS, NULL);
    }
    if (address == symbol->low && strcmp(symbol->name, to) == 0) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_to, PLUGIN_NO_REGISTERS, NULL);
    }
    qemu_plugin_register_vcpu_insn_exec_inline(insn, PLUGIN_INLINE_ADD_U64, &symbol->instructions, 1);
}

/* Counted by instruction, so that a block which is left early counts right. Accesses are looked at
 * only where parts are given: that is what takes time. */
static void on_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    size_t count = qemu_plugin_tb_n_insns(tb);
    size_t k;
    (void)id;
    for (k = 0; k < count; k++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, k);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, PLUGIN_INLINE_ADD_U64, &instructions, 1);
        count_in_symbol(insn);
        if (part_count > 0) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, PLUGIN_NO_REGISTERS, PLUGIN_LOADS_AND_STORES,
                                             NULL);
        }
    }
}

/* --------------------------------------------------------------------- reporting */

static void report_part(FILE *file, const struct part *part) {
    uint64_t loaded = 0, stored = 0, k;
    for (k = 0; k < part->high - part->low; k++) {
        loaded += (part->seen[k] & LOADED) != 0;
        stored += (part->seen[k] & STORED) != 0;
    }
    fprintf(file, "part %s bytes %" PRIu64 " loaded %" PRIu64 " stored %" PRIu64 "\n", part->name,
            part->high - part->low, loaded, stored);
}

static void report_profile(void) {
    FILE *file = fopen(profile_path, "w");
    unsigned k;
    if (file == NULL) {
        return;
    }
    for (k = 0; k < symbol_count; k++) {
        uint64_t count = to[0] != '\0' ? symbols[k].kept : symbols[k].instructions;
        if (count > 0) {
            fprintf(file, "%" PRIu64 " %" PRIx64 " %s\n", count, symbols[k].low, symbols[k].name);
        }
    }
    fclose(file);
}

static void report_memory(void) {
    FILE *file = fopen(report_path, "w");
    unsigned k;
    if (file == NULL) {
        return;
    }
    fprintf(file, "all_instructions %" PRIu64 "\n", instructions);
    for (k = 0; k < part_count; k++) {
        if (parts[k].high > parts[k].low) {
            report_part(file, &parts[k]);
        }
    }
    fprintf(file, "stray_loads %" PRIu64 "\nstray_stores %" PRIu64 "\n", stray[0], stray[1]);
    for (k = 0; k < 2; k++) {
        if (stray[k] > 0) {
            fprintf(file, "first_stray_%s 0x%" PRIx64 "\n", k ? "store" : "load", first_stray[k]);
        }
    }
    fclose(file);
}

static void on_exit_of_emulator(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    if (part_count > 0) {
        report_memory();
    }
    if (symbol_count > 1) {
        report_profile();
    }
}

/* --------------------------------------------------------------------- arguments */

static struct part *part_named(const char *name) {
    unsigned k;
    for (k = 0; k < part_count; k++) {
        if (strcmp(parts[k].name, name) == 0) {
            return &parts[k];
        }
    }
    if (part_count == PARTS) {
        return NULL;
    }
    snprintf(parts[part_count].name, NAME, "%s", name);
    return &parts[part_count++];
}

static int read_parts(const char *path) {
    FILE *file = fopen(path, "r");
    char name[NAME], end[8], address[NAME];
    unsigned k;
    if (file == NULL) {
        return -1;
    }
    while (fscanf(file, "%31s %7s %31s", name, end, address) == 3) {
        struct part *part = part_named(name);
        if (part == NULL) {
            break;
        }
        *(strcmp(end, "low") == 0 ? &part->low : &part->high) = strtoull(address, NULL, 16);
    }
    fclose(file);
    for (k = 0; k < part_count; k++) {
        parts[k].seen = calloc(parts[k].high - parts[k].low + 1, 1);
        if (parts[k].high < parts[k].low || parts[k].seen == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Functions alone, without the bit that says Thumb; other lines of nm are passed over. */
static int read_symbols(const char *path) {
    FILE *file = fopen(path, "r");
    char line[LINE], address[NAME], bytes[NAME], kind[2], name[SYMBOL_NAME];
    if (file == NULL) {
        return -1;
    }
    while (symbol_count <= SYMBOLS && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%31s %31s %1[tTwW] %63s", address, bytes, kind, name) == 4) {
            struct symbol *symbol = &symbols[symbol_count++];
            memcpy(symbol->name, name, sizeof symbol->name);
            symbol->low = strtoull(address, NULL, 16) & ~(uint64_t)1;
            symbol->high = symbol->low + strtoull(bytes, NULL, 16);
        }
    }
    fclose(file);
    return symbol_count > 1 ? 0 : -1;
}

static int copy(char *target, size_t room, const char *text) {
    size_t bytes = strlen(text) + 1;
    if (bytes > room) {
        return -1;
    }
    memcpy(target, text, bytes);
    return 0;
}

static int take(const char *key, const char *value) {
    if (strcmp(key, "parts") == 0) {
        return read_parts(value);
    }
    if (strcmp(key, "symbols") == 0) {
        return read_symbols(value);
    }
    if (strcmp(key, "out") == 0) {
        return copy(report_path, sizeof report_path, value);
    }
    if (strcmp(key, "profile") == 0) {
        return copy(profile_path, sizeof profile_path, value);
    }
    if (strcmp(key, "from") == 0) {
        return copy(from, sizeof from, value);
    }
    return strcmp(key, "to") == 0 ? copy(to, sizeof to, value) : -1;
}

static int take_argument(const char *argument) {
    const char *equals = strchr(argument, '=');
    char key[NAME] = "";
    size_t length = equals != NULL ? (size_t)(equals - argument) : 0;
    if (length == 0 || length >= sizeof key) {
        return -1;
    }
    memcpy(key, argument, length);
    return take(key, equals + 1);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
    int k;
    (void)info;
    for (k = 0; k < argc; k++) {
        if (take_argument(argv[k]) != 0) {
            fprintf(stderr,
                    "probe: must be parts, out, symbols or profile=FILE, or from or to=NAME (got %s)\n",
                    argv[k]);
            return -1;
        }
    }
    is_measuring = from[0] == '\0';
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_atexit_cb(id, on_exit_of_emulator, NULL);
    return 0;
}
