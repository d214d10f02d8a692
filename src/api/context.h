/* api/context.h - what is behind likeness_context; shared by the files of src/api only. */
#ifndef LK_API_CONTEXT_H
#define LK_API_CONTEXT_H

#include "gpu/device.h"
#include "likeness/likeness.h"
#include "tensor/op.h"

struct likeness_context {
    lk_device *device; /* NULL with options.no_device */
    lk_error error;    /* of the last call */
    likeness_options options;
    char device_line[512];
    int32_t variants[LK_OP_COUNT]; /* doctor's replacements: the variant an op is forced to, 0: it chooses */
    bool doctor_done;              /* on this device, driver and engine version */
};

/* Forgets the last failure; every public function begins with it. */
lk_error *lk_context_begin(likeness_context *context);
/* Hands a line to the log callback, if there is one. */
void lk_context_log(likeness_context *context, const char *format, ...) LK_PRINTF(2, 3);

/* The same for the warning callback. */
void lk_context_warn(likeness_context *context, const char *format, ...) LK_PRINTF(2, 3);

/* Reads doctor's memory of this device into variants and doctor_done; a missing or foreign file means "not done". */
void lk_doctor_load(likeness_context *context);

#endif
