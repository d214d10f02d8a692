/* tools/eval/main.c - likeness_eval: measures a model folder through the engine (docs/results.md). */
#include "measurements.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *what;
    likeness_status (*measure)(eval_run *run);
} measurements[] = {
    {"psnr", "autoencoder on characters_val", eval_measure_psnr},
    {"judge", "judge and encoder on pairs of characters_val", eval_measure_judge},
    {"t2i", "text to image, eval/text_to_image.jsonl", eval_measure_text_to_image},
    {"diversity", "neither collapsed nor blurred", eval_measure_diversity},
    {"personalize", "guidance, eval/personalize.jsonl", eval_measure_personalize},
    {"table2", "the paper's Table 2 in small", eval_measure_table2},
};
enum { MEASUREMENTS = sizeof measurements / sizeof *measurements };

static int usage(FILE *to) {
    fprintf(to, "usage: likeness_eval MEASUREMENT [options]\n\n");
    for (int i = 0; i < MEASUREMENTS; i++)
        fprintf(to, "  %-12s %s\n", measurements[i].name, measurements[i].what);
    fprintf(to, "  %-12s all of them, in this order\n\n", "all");
    fprintf(to, "  -m FOLDER        model (assets/cameo)\n"
                "  --data FOLDER    image sets (../shared/data)\n"
                "  --out FOLDER     journals, pictures and sheets (build/eval); a run that was stopped goes on there\n"
                "  --classifier F   attribute classifier (tests/data/attributes.onnx)\n"
                "  --device D       index or part of a name\n"
                "  --limit N        fewer rows: the first N (t2i), else N spread evenly\n"
                "  --steps N        sampling steps (t2i, diversity); 0: the model's\n"
                "  --cfg-scale W    guidance weight (t2i, diversity); 0: the model's\n"
                "  --iterations N   of guidance (personalize, table2); 0: 50, 100\n"
                "  --id-scale S     of guidance (personalize); 0: 1\n"
                "  --precise        f32 weights and scalar kernels\n\n"
                "Tables go to stdout as Markdown, progress to stderr.\n");
    return to == stdout ? 0 : 2;
}

static bool number(const char *option, const char *text, double low, double high, double *value) {
    if (text && lk_parse_double(text, value) && *value >= low && *value <= high) return true;
    fprintf(stderr, "likeness_eval: %s wants a number from %g to %g, not '%s'\n", option, low, high,
            text ? text : "nothing");
    return false;
}

/* Takes the option at argv[*i]; false after a message. */
static bool take(eval_run *run, char **argv, int *i) {
    const char *option = argv[*i], *value = argv[*i + 1];
    const struct {
        const char *name;
        const char **text;
        int *integer;
        double *real;
    } options[] = {
        {"-m", &run->model_folder, NULL, NULL},
        {"--data", &run->data, NULL, NULL},
        {"--out", &run->out, NULL, NULL},
        {"--classifier", &run->classifier, NULL, NULL},
        {"--device", &run->device, NULL, NULL},
        {"--limit", NULL, &run->limit, NULL},
        {"--steps", NULL, &run->steps, NULL},
        {"--cfg-scale", NULL, NULL, &run->cfg_scale},
        {"--iterations", NULL, &run->iterations, NULL},
        {"--id-scale", NULL, NULL, &run->id_scale},
    };
    if (strcmp(option, "--precise") == 0) {
        run->precise = true;
        return true;
    }
    for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
        double parsed = 0;
        if (strcmp(option, options[o].name) != 0) continue;
        if (!value) {
            fprintf(stderr, "likeness_eval: %s wants a value\n", option);
            return false;
        }
        ++*i;
        if (options[o].text) {
            *options[o].text = value;
            return true;
        }
        if (!number(option, value, 0, 100000, &parsed)) return false;
        if (options[o].integer) *options[o].integer = (int)parsed;
        if (options[o].real) *options[o].real = parsed;
        return true;
    }
    fprintf(stderr, "likeness_eval: there is no option %s\n", option);
    return false;
}

int main(int argc, char **argv) {
    eval_run run = {.model_folder = "assets/cameo",
                    .data = "../shared/data",
                    .out = "build/eval",
                    .classifier = "tests/data/attributes.onnx"};
    const char *name = argc > 1 ? argv[1] : "--help";
    bool all = strcmp(name, "all") == 0, known = all;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return usage(argc > 1 ? stdout : stderr);
    for (int i = 0; i < MEASUREMENTS; i++)
        known = known || strcmp(name, measurements[i].name) == 0;
    if (!known) return usage(stderr);
    for (int i = 2; i < argc; i++)
        if (!take(&run, argv, &i)) return 2;

    likeness_status status = eval_run_open(&run);
    for (int i = 0; i < MEASUREMENTS && status == LIKENESS_OK; i++)
        if (all || strcmp(name, measurements[i].name) == 0) {
            status = measurements[i].measure(&run);
            fflush(stdout);
        }
    if (status != LIKENESS_OK) fprintf(stderr, "likeness_eval: %s\n", run.error.message);
    eval_run_close(&run);
    return lk_status_exit_code(status);
}
