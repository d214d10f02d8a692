/* models/recognise.h - what a safetensors file is, told by its tensors' names and shapes, never by its own name.
 *
 * Families that are not supported are known by name, so that a refusal says what the file is. */
#ifndef LK_MODELS_RECOGNISE_H
#define LK_MODELS_RECOGNISE_H

#include "io/safetensors.h"

typedef enum lk_file_kind {
    LK_FILE_UNKNOWN,
    LK_FILE_CHECKPOINT, /* a whole model, or its U-Net alone, in the original layout */
    LK_FILE_COMPONENT,  /* one component in diffusers' layout */
    LK_FILE_LORA,
    LK_FILE_EMBEDDING,       /* textual inversion */
    LK_FILE_TINY_AUTOENCODER /* TAESD, either layout, either half or both */
} lk_file_kind;

/* Families whose weights can be told apart and used; everything else is LK_FAMILY_OTHER with a name. */
typedef enum lk_family { LK_FAMILY_UNKNOWN, LK_FAMILY_SD1, LK_FAMILY_SD2, LK_FAMILY_OTHER } lk_family;

typedef struct lk_recognition {
    lk_file_kind kind;
    lk_family family;
    const char *family_name; /* "Stable Diffusion 1.x", "SDXL", "Flux", ...; "an unknown family" */
    const char *part;        /* "checkpoint", "U-Net", "autoencoder", "LoRA", ... */
    const char *prefix;      /* of a U-Net's keys in the original layout: "model.diffusion_model." or "" */
    int64_t context;         /* width of the text tokens, 0 where no tensor says so */
    bool supported;
} lk_recognition;

lk_recognition lk_recognise(const lk_safetensors *file);

/* '*' stands for any run of characters. */
bool lk_glob(const char *pattern, const char *text);
/* The first tensor whose name matches, or NULL. */
const lk_safetensor *lk_safetensors_match(const lk_safetensors *file, const char *pattern);

/* LIKENESS_UNSUPPORTED, with what to do, for a file that begins like a pickle, a ZIP of pickles or GGUF; OK for any
 * other, and for one that cannot be read. */
likeness_status lk_refuse_foreign(const char *path, lk_error *error);

#endif
