/* cli/report.c - see report.h. */
#include "cli/report.h"

#include "base/error.h"
#include "base/file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_number(cJSON *object, const char *name, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, name, value);
    else
        cJSON_AddNullToObject(object, name);
}

void cli_report_start(cli_report *report, likeness_context *context, const char *command) {
    report->context = context;
    report->root = cJSON_CreateObject();
    cJSON_AddStringToObject(report->root, "schema", "likeness.report/1");
    cJSON_AddStringToObject(report->root, "version", likeness_version());
    cJSON_AddStringToObject(report->root, "command", command);
    cJSON_AddStringToObject(report->root, "device", likeness_device_name(context));
    report->pictures = cJSON_AddArrayToObject(report->root, "pictures");
}

void cli_report_loaded(cli_report *report, const likeness_model *model) {
    const char *line = likeness_load_report(model);
    if (!line[0]) return;
    cJSON *list = cJSON_AddArrayToObject(report->root, "loaded");
    while (list && *line) {
        char text[512];
        size_t length = strcspn(line, "\n");
        snprintf(text, sizeof text, "%.*s", (int)length, line);
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
        line += length + (line[length] == '\n');
    }
}

void cli_report_consent(cli_report *report, likeness_consent consent, bool photograph) {
    static const char *const words[] = {"none stated", "self", "granted"};
    cJSON_AddStringToObject(report->root, "consent", words[consent]);
    cJSON_AddBoolToObject(report->root, "photograph", photograph);
}

void cli_report_ranked(cli_report *report) {
    cJSON_AddStringToObject(report->root, "ranked_by", "judge");
    cJSON_AddStringToObject(report->root, "note",
                            "the pictures were sorted by the judge, whose numbers here measure nothing independently");
}

static void add_norms(cJSON *row, const char *name, const double *norms, int count) {
    cJSON *list = cJSON_AddArrayToObject(row, name);
    for (int k = 0; list && k < count; k++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(norms[k]));
}

void cli_report_picture(cli_report *report, const char *path, const char *settings,
                        const likeness_generate_params *params, const likeness_personalize_result *result,
                        double seconds) {
    cJSON *picture = cJSON_CreateObject();
    const char *slash = strrchr(path, '/');
    cJSON_AddStringToObject(picture, "file", slash ? slash + 1 : path);
    cJSON_AddStringToObject(picture, "prompt", params->prompt ? params->prompt : "");
    add_number(picture, "seed", (double)params->seed);
    if (settings) cJSON_AddStringToObject(picture, "settings", settings);
    add_number(picture, "seconds", seconds);
    if (result) {
        add_number(picture, "likeness_unguided", result->likeness_unguided);
        add_number(picture, "likeness_guided", result->likeness_guided);
        add_number(picture, "judge_unguided", result->judge_unguided);
        add_number(picture, "judge_guided", result->judge_guided);
        add_number(picture, "judge_threshold", result->judge_threshold);
        add_number(picture, "iterations", result->iterations);
        cJSON_AddBoolToObject(picture, "interrupted", result->interrupted);
        cJSON_AddBoolToObject(picture, "no_face", result->no_face);
        cJSON *people = cJSON_AddArrayToObject(picture, "people");
        for (int i = 0; people && i < result->people; i++)
            cJSON_AddItemToArray(people,
                                 isnan(result->person[i]) ? cJSON_CreateNull() : cJSON_CreateNumber(result->person[i]));
        cJSON *log = cJSON_AddArrayToObject(picture, "log");
        for (int i = 0; log && i <= result->iterations; i++) {
            cJSON *row = cJSON_CreateObject();
            add_number(row, "loss", result->log[i].loss);
            add_number(row, "likeness", result->log[i].likeness);
            add_number(row, "seconds", result->log[i].seconds);
            if (result->log[i].faces >= 0) add_number(row, "faces", result->log[i].faces);
            add_norms(row, "gradient_norms", result->gradient_norms + i * result->segments, result->segments);
            add_norms(row, "offset_norms", result->offset_norms + i * result->segments, result->segments);
            cJSON_AddItemToArray(log, row);
        }
    }
    cJSON_AddItemToArray(report->pictures, picture);
}

likeness_status cli_report_write(cli_report *report, const char *path) {
    uint64_t now, peak;
    likeness_memory(report->context, &now, &peak);
    add_number(report->root, "device_memory_peak_bytes", (double)peak);
    char *text = cJSON_Print(report->root);
    lk_error error = LK_ERROR_INIT;
    likeness_status status = text ? lk_file_write(path, text, strlen(text), &error)
                                  : lk_fail(&error, LIKENESS_OUT_OF_MEMORY, "no memory for the report");
    if (status != LIKENESS_OK) fprintf(stderr, "likeness: %s\n", error.message);
    cJSON_free(text);
    return status;
}

void cli_report_end(cli_report *report) { cJSON_Delete(report->root); }
