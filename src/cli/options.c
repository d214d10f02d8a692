/* cli/options.c - the option table, its parser (getopt_long) and its help. Flags that users of stable-diffusion.cpp
 * know keep their names. */
#include "cli/options.h"

#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Options without a short letter are numbered from here. */
enum {
    OPT_FIRST = 256,
    OPT_STEPS,
    OPT_CFG,
    OPT_FROM,
    OPT_DISCRIMINATOR,
    OPT_ITERATIONS,
    OPT_ID_SCALE,
    OPT_STEP_FACTOR,
    OPT_UNTIL,
    OPT_METHOD,
    OPT_READING,
    OPT_RANK,
    OPT_PREVIEW,
    OPT_PREVIEW_INTERVAL,
    OPT_REPORT,
    OPT_DEVICE,
    OPT_PRECISE,
    OPT_PROGRESS,
    OPT_RECOMPUTE,
    OPT_NO_SHEET,
    OPT_MAX_BLOCK,
    OPT_MAX_GROUPS
};

enum { PICTURES = CLI_GENERATE | CLI_PERSONALIZE, EVERYWHERE = 0xff, ON_DEVICE = PICTURES | CLI_DOCTOR | CLI_COMPARE };

typedef struct option_row {
    int id; /* the short letter, or one of OPT_ */
    const char *name, *argument, *help;
    int commands;
} option_row;

static const option_row option_table[] = {
    {'r', "reference", "FILE", "picture of the person (PNG or JPEG)", CLI_PERSONALIZE},
    {'m', "model", "FOLDER", "model in diffusers layout (default: assets/cameo)", PICTURES | CLI_COMPARE},
    {'p', "prompt", "TEXT", "what the picture shows", PICTURES},
    {'n', "negative-prompt", "TEXT", "what it must not show; with --cfg-scale not 1", PICTURES},
    {'o', "output", "FILE", "default: output.png; %03d in it counts a batch", PICTURES},
    {'W', "width", "N", "width in pixels (default: the model's)", PICTURES},
    {'H', "height", "N", "height in pixels (default: the model's)", PICTURES},
    {'s', "seed", "N", "seed of the noise, -1: random (default: 42)", PICTURES},
    {OPT_STEPS, "steps", "N", "sampling steps (default: the model's)", PICTURES},
    {OPT_CFG, "cfg-scale", "X", "guidance weight of the prompt (default: model's)", PICTURES},
    {'b', "batch-count", "N", "pictures with seeds s, s+1, ... (default: 1)", PICTURES},
    {OPT_FROM, "from", "PICTURE", "settings of a picture; other flags count over it", CLI_GENERATE},
    {OPT_ITERATIONS, "iterations", "N", "guidance iterations (default: 50)", CLI_PERSONALIZE},
    {OPT_ID_SCALE, "id-scale", "X", "strength of one guidance step (default: 1)", CLI_PERSONALIZE},
    {OPT_STEP_FACTOR, "step-factor", "X", "c_k of the method; 0.958 as released (default: 1)", CLI_PERSONALIZE},
    {OPT_UNTIL, "until", "X", "stop when the likeness reaches X", CLI_PERSONALIZE},
    {OPT_METHOD, "method", "NAME", "anchored, unanchored or noise (default: anchored)", CLI_PERSONALIZE},
    {OPT_READING, "reading", "A|B|C", "how offsets accumulate (default: A)", CLI_PERSONALIZE},
    {OPT_DISCRIMINATOR, "discriminator", "FILE", "ONNX file that replaces the identity encoder",
     CLI_PERSONALIZE | CLI_COMPARE},
    {OPT_RANK, "rank", NULL, "sort a batch by the judge, best first", CLI_PERSONALIZE},
    {OPT_PREVIEW, "preview", "FILE", "rewrite FILE with the picture so far", CLI_PERSONALIZE},
    {OPT_PREVIEW_INTERVAL, "preview-interval", "N", "... every N iterations (default: 5)", CLI_PERSONALIZE},
    {OPT_NO_SHEET, "no-sheet", NULL, "do not write the sheet beside the picture", CLI_PERSONALIZE},
    {OPT_RECOMPUTE, "recompute", NULL, "less memory, more time, same bytes", CLI_PERSONALIZE},
    {OPT_REPORT, "report", "FILE", "write every number as JSON", PICTURES},
    {OPT_DEVICE, "device", "N|NAME", "number or part of a name, see likeness devices", ON_DEVICE | CLI_DEVICES},
    {OPT_PRECISE, "precise", NULL, "f32 weights and plain kernels", ON_DEVICE},
    {OPT_MAX_BLOCK, "max-block", "SIZE", "largest device allocation, such as 64M", ON_DEVICE},
    {OPT_MAX_GROUPS, "max-groups-axis", "N", "small limit of workgroups an axis (for tests)", ON_DEVICE},
    {OPT_PROGRESS, "progress", "MODE", "bar, json or none (default: bar on a terminal)", PICTURES},
    {'v', "verbose", NULL, "say more", EVERYWHERE},
    {'h', "help", NULL, "this help", EVERYWHERE},
    {'V', "version", NULL, "version", EVERYWHERE},
};
enum { OPTION_COUNT = sizeof option_table / sizeof option_table[0] };

static const struct {
    const char *name;
    cli_command command;
    const char *positional, *help, *example;
} command_table[] = {
    {"personalize", CLI_PERSONALIZE, "", "new pictures of the person in a reference picture",
     "likeness personalize --reference assets/samples/micah.png \\\n"
     "      --prompt \"micah portrait of a person, smile expression\" \\\n"
     "      --seed 7 -o portrait.png"},
    {"generate", CLI_GENERATE, "", "a picture from words",
     "likeness generate -p \"micah portrait of a person, red background\" \\\n"
     "      -s 7 -o picture.png\n"
     "  likeness generate --from picture.png -o same.png"},
    {"devices", CLI_DEVICES, "", "which devices there are, what each can do, which will be used", "likeness devices"},
    {"doctor", CLI_DOCTOR, "", "check every kernel on the device against the C reference",
     "likeness doctor --device 0"},
    {"inspect", CLI_INSPECT, " PICTURE", "settings and marks of a picture", "likeness inspect portrait.png"},
    {"compare", CLI_COMPARE, " PICTURE PICTURE", "how alike two pictures are", "likeness compare a.png b.png"},
};
enum { COMMAND_COUNT = sizeof command_table / sizeof command_table[0] };

static void print_overview(FILE *out) {
    fprintf(
        out,
        "likeness %s - new pictures of the same person, on any Vulkan device\n\nUsage: likeness COMMAND [OPTIONS]\n\n",
        likeness_version());
    for (int i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", command_table[i].name, command_table[i].help);
    fprintf(out, "\nlikeness COMMAND --help lists a command's options. likeness --version\n\n"
                 "Exit codes: 0 done, 2 wrong usage, 3 bad or unsupported model or picture file,\n"
                 "4 no suitable device, 5 not enough memory, 6 device lost, 7 non-finite values,\n"
                 "10 reading or writing failed, 130 interrupted.\n");
}

static void print_help(int index) {
    printf("likeness %s%s - %s\n\nUsage: likeness %s [OPTIONS]%s\n\n", command_table[index].name,
           command_table[index].positional, command_table[index].help, command_table[index].name,
           command_table[index].positional);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &option_table[i];
        if (!(row->commands & (int)command_table[index].command)) continue;
        char left[64];
        if (row->id < OPT_FIRST)
            snprintf(left, sizeof left, "-%c, --%s %s", row->id, row->name, row->argument ? row->argument : "");
        else
            snprintf(left, sizeof left, "    --%s %s", row->name, row->argument ? row->argument : "");
        if (strlen(left) > 27)
            printf("  %s\n%31s%s\n", left, "", row->help);
        else
            printf("  %-28s %s\n", left, row->help);
    }
    printf("\nExample:\n  %s\n", command_table[index].example);
}

/* Edit distance, for "did you mean". */
static int distance(const char *a, const char *b) {
    int row[64], n = (int)strlen(b);
    if (n > 62) return 99;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int cost = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < cost) cost = row[j] + 1;
            if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1;
            row[j] = cost;
        }
    }
    return row[n];
}

static int unknown_option(const char *argument, int command_index) {
    char name[64];
    snprintf(name, sizeof name, "%s", argument + strspn(argument, "-"));
    name[strcspn(name, "=")] = 0;
    const char *best = NULL;
    int best_distance = 4;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!(option_table[i].commands & (int)command_table[command_index].command)) continue;
        int d = distance(name, option_table[i].name);
        if (d < best_distance) best_distance = d, best = option_table[i].name;
    }
    fprintf(stderr, "likeness %s: unknown option %s", command_table[command_index].name, argument);
    if (best) fprintf(stderr, "; did you mean --%s?", best);
    fprintf(stderr, " (see likeness %s --help)\n", command_table[command_index].name);
    return 2;
}

static bool parse_int(const char *text, int64_t least, int64_t most, const char *name, int64_t *value) {
    if (lk_parse_int64(text, value) && *value >= least && *value <= most) return true;
    fprintf(stderr, "likeness: --%s takes a whole number from %lld to %lld, not \"%s\"\n", name, (long long)least,
            (long long)most, text);
    return false;
}

static bool parse_number(const char *text, double least, double most, const char *name, double *value) {
    if (lk_parse_double(text, value) && *value >= least && *value <= most) return true;
    fprintf(stderr, "likeness: --%s takes a number from %g to %g, not \"%s\"\n", name, least, most, text);
    return false;
}

static bool parse_size(const char *text, uint64_t *bytes) {
    char digits[32];
    size_t n = strspn(text, "0123456789");
    int shift = text[n] == 'K' ? 10 : text[n] == 'M' ? 20 : text[n] == 'G' ? 30 : 0;
    int64_t value;
    if (n > 0 && n < 12 && text[n + (shift != 0)] == 0) {
        memcpy(digits, text, n);
        digits[n] = 0;
        if (lk_parse_int64(digits, &value) && value > 0) {
            *bytes = (uint64_t)value << shift;
            return true;
        }
    }
    fprintf(stderr, "likeness: --max-block takes a size such as 64M or 1G, not \"%s\"\n", text);
    return false;
}

static bool parse_method(const char *text, likeness_method *method) {
    static const char *const names[] = {"anchored", "unanchored", "noise"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *method = (likeness_method)i;
            return true;
        }
    fprintf(stderr, "likeness: --method is anchored, unanchored or noise, not \"%s\"\n", text);
    return false;
}

static bool set_option(cli_options *o, const option_row *row, const char *argument) {
    int64_t whole = 0;
    switch (row->id) {
    case 'r':
        o->reference = argument;
        return true;
    case 'm':
        o->model = argument;
        return true;
    case 'p':
        o->prompt = argument;
        return true;
    case 'n':
        o->negative_prompt = argument;
        return true;
    case 'o':
        o->output = argument;
        return true;
    case 'v':
        o->verbose = true;
        return true;
    case OPT_FROM:
        o->from = argument;
        return true;
    case OPT_DISCRIMINATOR:
        o->discriminator = argument;
        return true;
    case OPT_RANK:
        o->rank = true;
        return true;
    case OPT_PREVIEW:
        o->preview = argument;
        return true;
    case OPT_NO_SHEET:
        o->no_sheet = true;
        return true;
    case OPT_RECOMPUTE:
        o->recompute = true;
        return true;
    case OPT_REPORT:
        o->report = argument;
        return true;
    case OPT_DEVICE:
        o->device = argument;
        return true;
    case OPT_PRECISE:
        o->precise = true;
        return true;
    case OPT_MAX_BLOCK:
        return parse_size(argument, &o->max_block);
    case OPT_METHOD:
        return parse_method(argument, &o->method);
    case OPT_CFG:
        return parse_number(argument, 0, 100, row->name, &o->cfg_scale);
    case OPT_ID_SCALE:
        return parse_number(argument, 0, 1000, row->name, &o->id_scale);
    case OPT_STEP_FACTOR:
        return parse_number(argument, 0, 100, row->name, &o->step_factor);
    case OPT_UNTIL:
        return parse_number(argument, -1, 1, row->name, &o->until);
    case OPT_PROGRESS:
        o->progress = argument;
        if (!strcmp(argument, "bar") || !strcmp(argument, "json") || !strcmp(argument, "none")) return true;
        fprintf(stderr, "likeness: --progress is bar, json or none, not \"%s\"\n", argument);
        return false;
    case OPT_READING:
        if (strlen(argument) == 1 && strchr("ABCabc", argument[0])) {
            o->reading = (argument[0] | 32) - 'a';
            return true;
        }
        fprintf(stderr, "likeness: --reading is A, B or C, not \"%s\"\n", argument);
        return false;
    default:
        break;
    }
    int64_t least = 1, most = 1000;
    if (row->id == 's') least = -1, most = INT64_MAX;
    if (row->id == 'W' || row->id == 'H') most = 16384;
    if (row->id == OPT_ITERATIONS) least = 0, most = 100000;
    if (!parse_int(argument, least, most, row->name, &whole)) return false;
    switch (row->id) {
    case 's':
        o->seed = whole, o->seed_given = true;
        break;
    case 'W':
        o->width = (int)whole;
        break;
    case 'H':
        o->height = (int)whole;
        break;
    case 'b':
        o->batch = (int)whole;
        break;
    case OPT_STEPS:
        o->steps = (int)whole;
        break;
    /* The library's 0 means default; "none" is -1 there. */
    case OPT_ITERATIONS:
        o->iterations = whole == 0 ? -1 : (int)whole;
        break;
    case OPT_PREVIEW_INTERVAL:
        o->preview_interval = (int)whole;
        break;
    case OPT_MAX_GROUPS:
        o->max_groups_axis = (int)whole;
        break;
    default:
        break;
    }
    return true;
}

static int parse_command(int index, int argc, char **argv, cli_options *options) {
    char letters[2 * OPTION_COUNT + 3] = ":";
    struct option names[OPTION_COUNT + 1];
    int count = 0;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &option_table[i];
        if (!(row->commands & (int)options->command)) continue;
        names[count++] = (struct option){row->name, row->argument ? required_argument : no_argument, NULL, row->id};
        if (row->id < OPT_FIRST) {
            size_t n = strlen(letters);
            letters[n] = (char)row->id;
            if (row->argument) letters[n + 1] = ':';
        }
    }
    names[count] = (struct option){NULL, 0, NULL, 0};
    optind = 1;
    opterr = 0;
    for (int id; (id = getopt_long(argc, argv, letters, names, NULL)) != -1;) {
        if (id == 'h') return print_help(index), 0;
        if (id == 'V') return printf("likeness %s\n", likeness_version()), 0;
        if (id == '?') return unknown_option(argv[optind - 1], index);
        if (id == ':') {
            fprintf(stderr, "likeness %s: %s needs a value\n", command_table[index].name, argv[optind - 1]);
            return 2;
        }
        for (int i = 0; i < OPTION_COUNT; i++)
            if (option_table[i].id == id && !set_option(options, &option_table[i], optarg)) return 2;
    }
    for (; optind < argc; optind++) {
        if (options->positional_count == 2) {
            fprintf(stderr, "likeness %s: too many arguments: %s\n", command_table[index].name, argv[optind]);
            return 2;
        }
        options->positional[options->positional_count++] = argv[optind];
    }
    int wanted = options->command == CLI_INSPECT ? 1 : options->command == CLI_COMPARE ? 2 : 0;
    if (options->positional_count != wanted) {
        if (options->positional_count > wanted)
            fprintf(stderr, "likeness %s: what is \"%s\"? Texts with spaces need quotes\n", command_table[index].name,
                    options->positional[wanted]);
        else
            fprintf(stderr, "likeness %s: needs%s\n", command_table[index].name, command_table[index].positional);
        return 2;
    }
    return -1;
}

int cli_parse(int argc, char **argv, cli_options *options) {
    *options = (cli_options){.seed = 42, .batch = 1, .preview_interval = 5};
    if (argc < 1 || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-h") || !strcmp(argv[0], "help")) {
        print_overview(argc < 1 ? stderr : stdout);
        return argc < 1 ? 2 : 0;
    }
    if (!strcmp(argv[0], "--version") || !strcmp(argv[0], "-V")) {
        printf("likeness %s\n", likeness_version());
        return 0;
    }
    int best = 0, best_distance = 99;
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[0], command_table[i].name) == 0) {
            options->command = command_table[i].command;
            return parse_command(i, argc, argv, options);
        }
        int d = distance(argv[0], command_table[i].name);
        if (d < best_distance) best_distance = d, best = i;
    }
    fprintf(stderr, "likeness: unknown command \"%s\"", argv[0]);
    if (best_distance < 5) fprintf(stderr, "; did you mean %s?", command_table[best].name);
    fprintf(stderr, " (see likeness --help)\n");
    return 2;
}
