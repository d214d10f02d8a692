/* base/error.h - how a failure travels inside the library.
 *
 * A function that can fail takes an lk_error * (never NULL) as its last argument, fills it through lk_fail() and
 * returns the code. The first failure is kept: what cleans up after it does not overwrite the message. A message
 * says what was wrong, with which file or tensor, and what to do. */
#ifndef LK_BASE_ERROR_H
#define LK_BASE_ERROR_H

#include "likeness/status.h"

typedef struct lk_error {
    likeness_status status; /* LIKENESS_OK while nothing failed */
    char message[768];      /* one line of printable UTF-8; what is neither, such as a hostile name, shows as '?' */
} lk_error;

#define LK_ERROR_INIT                                                                                                  \
    {                                                                                                                  \
        LIKENESS_OK, { 0 }                                                                                             \
    }

#if defined(__GNUC__)
#define LK_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define LK_PRINTF(format_index, first)
#endif

/* Records status and message unless the error already holds one; returns the status that the error holds now. */
likeness_status lk_fail(lk_error *error, likeness_status status, const char *format, ...) LK_PRINTF(3, 4);

/* Puts "prefix: " before the recorded message (a file or node name that the inner function could not know). */
void lk_error_prefix(lk_error *error, const char *format, ...) LK_PRINTF(2, 3);

/* "bad file", "device lost", ... ; never NULL. */
const char *lk_status_text(likeness_status status);
/* The command line's exit code for a status. */
int lk_status_exit_code(likeness_status status);

/* Returns from the calling function when the expression fails. */
#define LK_TRY(expression)                                                                                             \
    do {                                                                                                               \
        likeness_status lk_try_status_ = (expression);                                                                 \
        if (lk_try_status_ != LIKENESS_OK) return lk_try_status_;                                                      \
    } while (0)

#endif
