/* likeness/status.h - the one list of result codes.
 *
 * Every function of the library that can fail returns a likeness_status; the detailed message stays in the context
 * (public API) or in the lk_error that the caller passed (inside the library). The second column is the exit code
 * of the command line program for that result. */
#ifndef LIKENESS_STATUS_H
#define LIKENESS_STATUS_H

#define LIKENESS_STATUS_LIST(X)                                                                                        \
    X(LIKENESS_OK, 0, "ok")                                                                                            \
    X(LIKENESS_USAGE, 2, "wrong usage")                                                                                \
    X(LIKENESS_BAD_FILE, 3, "model or picture file is bad")                                                            \
    X(LIKENESS_UNSUPPORTED, 3, "model file is not supported")                                                          \
    X(LIKENESS_NO_DEVICE, 4, "no suitable device")                                                                     \
    X(LIKENESS_OUT_OF_MEMORY, 5, "not enough memory")                                                                  \
    X(LIKENESS_DEVICE_LOST, 6, "device lost")                                                                          \
    X(LIKENESS_NON_FINITE, 7, "non-finite values")                                                                     \
    X(LIKENESS_NO_FACE, 8, "no face, or not clear which")                                                              \
    X(LIKENESS_CONSENT, 9, "consent is missing")                                                                       \
    X(LIKENESS_IO, 10, "input or output failed")                                                                       \
    X(LIKENESS_INTERRUPTED, 130, "interrupted")                                                                        \
    X(LIKENESS_INTERNAL, 1, "internal error")

typedef enum likeness_status {
#define LIKENESS_STATUS_ENUM(id, exit_code, text) id,
    LIKENESS_STATUS_LIST(LIKENESS_STATUS_ENUM)
#undef LIKENESS_STATUS_ENUM
        LIKENESS_STATUS_COUNT
} likeness_status;

#endif
