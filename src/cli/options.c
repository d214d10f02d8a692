/* cli/options.c - words to options: the parser (getopt_long) of the option table. */
#include "cli/manual.h"
#include "cli/option_table.h"

#include "base/file.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

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
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        if (!(cli_option_table[i].commands & (int)cli_command_table[command_index].command)) continue;
        int d = distance(name, cli_option_table[i].name);
        if (d < best_distance) best_distance = d, best = cli_option_table[i].name;
    }
    fprintf(stderr, "likeness %s: unknown option %s", cli_command_table[command_index].name, argument);
    if (best) fprintf(stderr, "; did you mean --%s?", best);
    fprintf(stderr, " (see likeness %s --help)\n", cli_command_table[command_index].name);
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

static bool parse_size(const char *text, const char *name, uint64_t *bytes) {
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
    fprintf(stderr, "likeness: --%s takes a size such as 64M or 1G, not \"%s\"\n", name, text);
    return false;
}

/* "12,40,200,180": left, top, width, height. */
static bool parse_box(const char *text, const char *name, likeness_box *box) {
    double *const at[4] = {&box->x, &box->y, &box->width, &box->height};
    const char *next = text;
    int i = 0;
    for (; i < 4; i++) {
        char number[32];
        size_t length = strcspn(next, ",");
        if (length == 0 || length >= sizeof number) break;
        memcpy(number, next, length);
        number[length] = 0;
        if (!lk_parse_double(number, at[i]) || !(*at[i] >= 0 && *at[i] <= 65536)) break;
        next += length;
        if (*next != (i < 3 ? ',' : 0)) break;
        next += i < 3;
    }
    if (i == 4 && box->width >= 1 && box->height >= 1) return true;
    fprintf(stderr, "likeness: --%s takes a box X,Y,W,H in pixels, such as 12,40,200,180, not \"%s\"\n", name, text);
    return false;
}

/* One of a few words; its place in the list. */
static bool parse_word(const char *text, const char *name, const char *const *words, int count, int *place) {
    for (int i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) return *place = i, true;
    fprintf(stderr, "likeness: --%s is ", name);
    for (int i = 0; i < count; i++)
        fprintf(stderr, "%s%s", i == 0 ? "" : i == count - 1 ? " or " : ", ", words[i]);
    fprintf(stderr, ", not \"%s\"\n", text);
    return false;
}

static bool set_word(cli_options *o, const cli_option_row *row, const char *argument) {
    static const char *const methods[] = {"anchored", "unanchored", "noise"};
    static const char *const samplers[] = {"euler", "euler_a", "ddim", "dpm++2m", "lcm", "perflow"};
    static const char *const schedulers[] = {"discrete", "karras"};
    int place = 0;
    switch (row->id) {
    case OPT_METHOD:
        if (!parse_word(argument, row->name, methods, 3, &place)) return false;
        o->method = (likeness_method)place;
        return true;
    case OPT_SAMPLER:
        if (!parse_word(argument, row->name, samplers, 6, &place)) return false;
        o->sampler = (likeness_sampler)(place + 1);
        return true;
    default:
        if (!parse_word(argument, row->name, schedulers, 2, &place)) return false;
        o->scheduler = (likeness_scheduler)(place + 1);
        return true;
    }
}

/* FILE or FILE:WEIGHT; a colon that no number follows belongs to the name. */
static bool add_lora(cli_options *o, const char *text) {
    int n = o->load.lora_count;
    const char *colon = strrchr(text, ':');
    double weight = 1;
    size_t length = strlen(text);
    if (colon && lk_parse_double(colon + 1, &weight)) length = (size_t)(colon - text);
    if (n == CLI_MOST_LORAS || length == 0 || length >= CLI_LORA_PATH || weight == 0) {
        fprintf(stderr,
                "likeness: --lora takes FILE or FILE:WEIGHT, at most %d times, with a weight that is not 0: \"%s\"\n",
                CLI_MOST_LORAS, text);
        return false;
    }
    memcpy(o->lora_paths[n], text, length);
    o->lora_paths[n][length] = 0;
    o->lora_weights[n] = weight;
    o->load.lora_count++;
    return true;
}

/* FILE or FILE:WORD; a colon counts only where what stands before it is a file. */
static bool add_embedding(cli_options *o, const char *text) {
    int n = o->load.embedding_count;
    const char *colon = strrchr(text, ':');
    if (n == CLI_MOST_LORAS || text[0] == 0 || strlen(text) >= CLI_LORA_PATH) {
        fprintf(stderr, "likeness: --embedding takes FILE or FILE:WORD, at most %d times\n", CLI_MOST_LORAS);
        return false;
    }
    snprintf(o->embedding_paths[n], CLI_LORA_PATH, "%s", text);
    o->embedding_words[n] = NULL;
    if (colon && colon > text && colon[1] && !lk_file_exists(text)) {
        o->embedding_paths[n][colon - text] = 0;
        o->embedding_words[n] = colon + 1;
    }
    o->load.embedding_count++;
    return true;
}

static bool set_option(cli_options *o, const cli_option_row *row, const char *argument) {
    int64_t whole = 0;
    switch (row->id) {
    case 'r':
        if (o->reference_count < LIKENESS_MAX_PEOPLE) {
            o->references[o->reference_count++] = argument;
            return true;
        }
        fprintf(stderr, "likeness: at most %d references\n", LIKENESS_MAX_PEOPLE);
        return false;
    case 'm':
        o->model = argument;
        return true;
    case OPT_PREDICTION:
        o->load.prediction = argument;
        return true;
    case OPT_LORA:
        return add_lora(o, argument);
    case OPT_EMBEDDING:
        return add_embedding(o, argument);
    case OPT_TAESD:
        o->load.taesd = argument;
        return true;
    case OPT_TAESD_PREVIEW:
        o->load.taesd_preview_only = true;
        return true;
    case OPT_EMA:
        o->load.averaged = true;
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
    case OPT_ENCODER_INPUT:
        o->encoder_input = argument;
        return true;
    case OPT_JUDGE:
        o->judge = argument;
        return true;
    case OPT_JUDGE_INPUT:
        o->judge_input = argument;
        return true;
    case OPT_DETECTOR:
        o->detector = argument;
        return true;
    case OPT_BOX_CROP:
        o->box_crop = true;
        return true;
    case OPT_CONSENT:
        o->consent = !strcmp(argument, "self")      ? LIKENESS_CONSENT_SELF
                     : !strcmp(argument, "granted") ? LIKENESS_CONSENT_GRANTED
                                                    : LIKENESS_CONSENT_NONE;
        if (o->consent != LIKENESS_CONSENT_NONE) return true;
        fprintf(stderr, "likeness: --consent is self or granted, not \"%s\"\n", argument);
        return false;
    case OPT_NO_FACE:
        o->lower_threshold = !strcmp(argument, "lower");
        if (o->lower_threshold || !strcmp(argument, "hold")) return true;
        fprintf(stderr, "likeness: --no-face is hold or lower, not \"%s\"\n", argument);
        return false;
    case OPT_THRESHOLD:
        return parse_number(argument, 0.01, 0.99, row->name, &o->threshold);
    case OPT_L1:
        return parse_number(argument, 0, 10000, row->name, &o->l1_weight);
    case OPT_BOX:
        return parse_box(argument, row->name, &o->box);
    case OPT_REFERENCE_BOX:
        return parse_box(argument, row->name, &o->reference_box);
    case OPT_RANK:
        o->rank = true;
        return true;
    case OPT_PREVIEW:
        o->preview = argument;
        return true;
    case OPT_NO_SHEET:
        o->no_sheet = true;
        return true;
    case OPT_DRY_RUN:
        o->dry_run = true;
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
        return parse_size(argument, row->name, &o->max_block);
    case OPT_MAX_VRAM:
        return parse_size(argument, row->name, &o->max_memory);
    case OPT_METHOD:
    case OPT_SAMPLER:
    case OPT_SCHEDULER:
        return set_word(o, row, argument);
    case 'i':
        o->init_image = argument;
        return true;
    case OPT_STRENGTH:
        return parse_number(argument, 0.0001, 1, row->name, &o->strength);
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
    if (row->id == 's') least = -1, most = INT64_MAX - 1000; /* a batch counts on from it */
    if (row->id == 'W' || row->id == 'H') most = 16384;
    if (row->id == OPT_ITERATIONS) least = 0, most = 100000;
    if (row->id == OPT_TARGET_CLASS) least = 0, most = 1000000;
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
    case OPT_CLIP_SKIP:
        o->clip_skip = (int)whole;
        break;
    /* The library's 0 means default; "none" is -1 there. */
    case OPT_ITERATIONS:
        o->iterations = whole == 0 ? -1 : (int)whole;
        break;
    case OPT_TARGET_CLASS:
        o->classify = true;
        o->target_class = (int)whole;
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
    char letters[2 * CLI_OPTION_COUNT + 3] = ":";
    struct option names[CLI_OPTION_COUNT + 1];
    int count = 0;
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option_row *row = &cli_option_table[i];
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
        if (id == 'h') return cli_print_help(index), 0;
        if (id == 'V') return printf("likeness %s\n", likeness_version()), 0;
        if (id == '?') return unknown_option(argv[optind - 1], index);
        if (id == ':') {
            fprintf(stderr, "likeness %s: %s needs a value\n", cli_command_table[index].name, argv[optind - 1]);
            return 2;
        }
        for (int i = 0; i < CLI_OPTION_COUNT; i++)
            if (cli_option_table[i].id == id && !set_option(options, &cli_option_table[i], optarg)) return 2;
    }
    for (; optind < argc; optind++) {
        if (options->positional_count == 2) {
            fprintf(stderr, "likeness %s: too many arguments: %s\n", cli_command_table[index].name, argv[optind]);
            return 2;
        }
        options->positional[options->positional_count++] = argv[optind];
    }
    int wanted = options->command == CLI_INSPECT ? 1 : options->command == CLI_COMPARE ? 2 : 0;
    if (options->positional_count != wanted) {
        if (options->positional_count > wanted)
            fprintf(stderr, "likeness %s: what is \"%s\"? Texts with spaces need quotes\n",
                    cli_command_table[index].name, options->positional[wanted]);
        else
            fprintf(stderr, "likeness %s: needs%s\n", cli_command_table[index].name,
                    cli_command_table[index].positional);
        return 2;
    }
    return -1;
}

int cli_parse(int argc, char **argv, cli_options *options) {
    *options = (cli_options){.seed = 42, .batch = 1, .preview_interval = 5};
    if (argc < 1 || !strcmp(argv[0], "--help") || !strcmp(argv[0], "-h") || !strcmp(argv[0], "help")) {
        cli_print_overview(argc < 1 ? stderr : stdout);
        return argc < 1 ? 2 : 0;
    }
    if (!strcmp(argv[0], "--version") || !strcmp(argv[0], "-V")) {
        printf("likeness %s\n", likeness_version());
        return 0;
    }
    if (!strcmp(argv[0], "--man")) return cli_print_man(), 0;
    if (!strcmp(argv[0], "--completion")) return cli_print_completion(), 0;
    int best = 0, best_distance = 99;
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (strcmp(argv[0], cli_command_table[i].name) == 0) {
            options->command = cli_command_table[i].command;
            return parse_command(i, argc, argv, options);
        }
        int d = distance(argv[0], cli_command_table[i].name);
        if (d < best_distance) best_distance = d, best = i;
    }
    fprintf(stderr, "likeness: unknown command \"%s\"", argv[0]);
    if (best_distance < 5) fprintf(stderr, "; did you mean %s?", cli_command_table[best].name);
    fprintf(stderr, " (see likeness --help)\n");
    return 2;
}
