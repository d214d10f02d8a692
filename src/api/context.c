/* api/context.c - opening a device, messages, the list of devices. */
#include "api/context.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *likeness_version(void) { return LIKENESS_VERSION; }

lk_error *lk_context_begin(likeness_context *context) {
    context->error = (lk_error)LK_ERROR_INIT;
    return &context->error;
}

void lk_context_log(likeness_context *context, const char *format, ...) {
    if (!context->options.log) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    context->options.log(context->options.log_user, line);
}

void lk_context_warn(likeness_context *context, const char *format, ...) {
    if (!context->options.warn) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    context->options.warn(context->options.warn_user, line);
}

static lk_device_options device_options(const likeness_options *options) {
    const char *variable = getenv("LIKENESS_DEVICE");
    return (lk_device_options){
        .select = options->device           ? options->device
                  : variable && variable[0] ? variable
                                            : NULL,
        .cache_folder = options->cache,
        .max_block = options->max_block,
        .memory_limit = options->max_memory,
        .max_groups_axis = options->max_groups_axis > 0 ? (uint32_t)options->max_groups_axis : 0,
    };
}

likeness_status likeness_open(const likeness_options *options, likeness_context **context) {
    static const likeness_options defaults;
    *context = lk_alloc(1, sizeof **context);
    if (!*context) return LIKENESS_OUT_OF_MEMORY;
    likeness_context *c = *context;
    c->options = options ? *options : defaults;
    c->error = (lk_error)LK_ERROR_INIT;
    snprintf(c->device_line, sizeof c->device_line, "no device");
    if (c->options.no_device) return LIKENESS_OK;
    lk_device_options open = device_options(&c->options);
    LK_TRY(lk_device_open(&open, &c->device, &c->error));
    lk_device_summary(lk_device_caps(c->device), c->device_line, sizeof c->device_line);
    lk_context_log(c, "device: %s", c->device_line);
    lk_doctor_load(c);
    return LIKENESS_OK;
}

void likeness_close(likeness_context *context) {
    if (!context) return;
    lk_device_close(context->device);
    lk_free(context);
}

const char *likeness_message(const likeness_context *context) { return context ? context->error.message : ""; }

const char *likeness_device_name(const likeness_context *context) { return context->device_line; }

void likeness_memory(const likeness_context *context, uint64_t *now, uint64_t *peak) {
    *now = context->device ? lk_device_memory_now(context->device) : 0;
    *peak = context->device ? lk_device_memory_peak(context->device) : 0;
}

likeness_status likeness_devices(const likeness_options *options,
                                 void (*row)(void *user, int index, const char *summary, const char *description,
                                             bool chosen),
                                 void *user, char *message, size_t message_bytes) {
    static const likeness_options defaults;
    lk_device_options list = device_options(options ? options : &defaults);
    lk_device_entry *entries = NULL;
    size_t count = 0;
    lk_error error = LK_ERROR_INIT;
    likeness_status status = lk_device_list(&list, &entries, &count, &error);
    bool any_chosen = false;
    for (size_t i = 0; i < count && status == LIKENESS_OK; i++) {
        char summary[512], description[4096];
        lk_device_summary(&entries[i].caps, summary, sizeof summary);
        lk_device_describe(&entries[i].caps, description, sizeof description);
        size_t used = strlen(description);
        if (!entries[i].usable)
            snprintf(description + used, sizeof description - used, "     cannot be used: %s\n", entries[i].reason);
        any_chosen = any_chosen || entries[i].chosen;
        row(user, (int)i, summary, description, entries[i].chosen);
    }
    lk_free(entries);
    if (status == LIKENESS_OK && !any_chosen) {
        /* Opening says best why nothing is chosen and what to install. */
        lk_device *device = NULL;
        status = lk_device_open(&list, &device, &error);
        lk_device_close(device);
    }
    snprintf(message, message_bytes, "%s", error.message);
    return status;
}
