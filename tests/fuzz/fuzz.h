/* tests/fuzz/fuzz.h - what a harness gives and gets.
 *
 *   fuzz_NAME.c     one parser: fuzz_one() feeds it bytes and checks what came out
 *   fuzz_common.c   checks that all harnesses share, temporary files, the entry point of clang's libFuzzer
 *   fuzz_driver.c   a main() of our own: replays a corpus, then mutates it for LIKENESS_FUZZ_SECONDS
 *
 * A harness fails by fuzz_fail(), which aborts; the driver (and libFuzzer) then keeps the input. Around every input the
 * number of live allocations must not change. */
#ifndef LK_TESTS_FUZZ_H
#define LK_TESTS_FUZZ_H

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- given by the harness ---- */

extern const char fuzz_name[];
/* Words that the mutator puts in; ends with NULL. May be binary only as far as a C string goes. */
extern const char *const fuzz_words[];
/* `data` is a block of exactly `size` bytes (not NULL), so that a read behind it is seen. */
void fuzz_one(const uint8_t *data, size_t size);

/* ---- shared ---- */

/* Prints and aborts. */
_Noreturn void fuzz_fail(const char *format, ...) LK_PRINTF(1, 2);

/* What a parser of files may answer: OK without a message, or LIKENESS_BAD_FILE or LIKENESS_UNSUPPORTED with a message
 * of one line of printable UTF-8. `also` is a third status that is fine (LIKENESS_OK: none). True for OK. */
bool fuzz_answer(likeness_status status, const lk_error *error, likeness_status also);

/* fuzz_one with the check of live allocations. */
void fuzz_checked(const uint8_t *data, size_t size);

/* A path in a temporary folder of this process, which goes away at exit. Folders inside are made. */
const char *fuzz_path(const char *name);
void fuzz_put(const char *name, const void *data, size_t size);

#endif
