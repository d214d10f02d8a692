/* tools/eval/measurements.h - one function a measurement: measures what its journal lacks, then prints its table. */
#ifndef EVAL_MEASUREMENTS_H
#define EVAL_MEASUREMENTS_H

#include "run.h"

/* Autoencoder there and back on characters_val. */
likeness_status eval_measure_psnr(eval_run *run);
/* Encoder and judge on all pairs of characters_val within a style. */
likeness_status eval_measure_judge(eval_run *run);
/* eval/text_to_image.jsonl (with a limit: its first rows). */
likeness_status eval_measure_text_to_image(eval_run *run);
/* 16 seeds of one prompt a style. */
likeness_status eval_measure_diversity(eval_run *run);
/* eval/personalize.jsonl: unguided against guided. */
likeness_status eval_measure_personalize(eval_run *run);
/* Nine people, one prompt: anchored, un-anchored, descent on the noise, after 20, 50 and 100 iterations. */
likeness_status eval_measure_table2(eval_run *run);

/* ---- shared by the measurements ---- */

/* Encoder and judge on characters_val, measured or read from their journal. */
typedef struct eval_embeddings {
    eval_rows val; /* characters_val/metadata.jsonl */
    int width[2];  /* of [0] the identity encoder, [1] the judge */
    float *values[2];
    double threshold[2]; /* 1 % of the pairs of different people within a style are accepted */
    char hash[9];
} eval_embeddings;

enum { EVAL_IDENTITY, EVAL_JUDGE };

likeness_status eval_embeddings_load(eval_run *run, eval_embeddings *e);
void eval_embeddings_free(eval_embeddings *e);
const float *eval_embedding(const eval_embeddings *e, int which, int row);
/* Share of the real other pictures of the person that are accepted beside this reference. */
double eval_ceiling(const eval_embeddings *e, int which, int reference_row);

/* The reference picture that a row of eval/personalize.jsonl names, whole, and its row of the embeddings. */
likeness_status eval_reference(eval_run *run, const eval_embeddings *e, const cJSON *row, int *at,
                               likeness_image *picture);

/* Encoder and judge, open, for pictures that were just made. */
typedef struct eval_judges {
    eval_network network[2];
} eval_judges;
likeness_status eval_judges_open(eval_run *run, eval_judges *judges);
void eval_judges_close(eval_judges *judges);
/* cosines[i][which] of picture i with row `reference` of the embeddings. */
likeness_status eval_judges_compare(eval_run *run, eval_judges *judges, const eval_embeddings *e, int reference,
                                    const lk_image *pictures, int count, double (*cosines)[2]);

/* The twelve named background colours, from eval/text_to_image.jsonl. */
typedef struct eval_palette {
    char name[16][24];
    uint8_t colour[16][3];
    int count;
} eval_palette;
likeness_status eval_palette_read(eval_run *run, eval_palette *palette, eval_rows *rows);
/* Name of the background that the picture's upper corners show. */
const char *eval_background(const eval_palette *palette, const lk_image *image);

#endif
