/* api/crops.h - guidance by parts of a picture: the faces of several people, or one box.
 *
 *   picture (device) -> 8-bit copy -> detector, no gradient -> faces -> slots (personalize/face_policy.h) -> a theta
 * each picture -> clamp -> warp by theta -> encoder -> embeddings -> who is who (assignment.h) -> cosines -> gradient
 * of the picture
 *
 *   loss = sum over people of 100 (1 - cosine) (+ 100 w mean|crop - reference's crop|); a person whose slot takes no
 * step counts with cosine -1 and no gradient. Without a detector there is one slot, always taken, for the box that was
 * given.
 *
 * The reference goes the same way, at its own size, on the CPU up to the crop. Only files of src/api. */
#ifndef LK_API_CROPS_H
#define LK_API_CROPS_H

#include "api/model.h"
#include "personalize/face_policy.h"

typedef struct lk_crops {
    likeness_model *model;
    const likeness_personalize_params *params;
    bool faces;                             /* found by the detector; else the box */
    int32_t people;                         /* = slots */
    int32_t side;                           /* of the crops that guide */
    int32_t height, width;                  /* of the new picture */
    lk_face reference[LIKENESS_MAX_PEOPLE]; /* of each reference, or its box */
    float *embedding[LIKENESS_MAX_PEOPLE], *crop[LIKENESS_MAX_PEOPLE];
    lk_face_policy policy;
    float *planes, *gradient; /* scratch, one picture */
    /* of the last pass: */
    int32_t found;
    double shown; /* mean cosine of those found, NaN for none */
} lk_crops;

/* True when the parameters or the model's detector ask for parts rather than the whole picture. */
bool lk_crops_wanted(const likeness_model *model, const likeness_personalize_params *params);
/* Finds and embeds the references and puts the crop network on the device. lk_crops_end after success and failure. */
likeness_status lk_crops_start(lk_crops *crops, likeness_model *model, const likeness_personalize_params *params,
                               int32_t height, int32_t width, lk_error *error);
void lk_crops_end(lk_crops *crops);

/* The picture that `picture` has just decoded; pulls the loss' gradient back to the latent when `latent_gradient` (of
 * `dimension` entries) is not NULL. likeness: mean over the people, -1 for one that was not found. */
likeness_status lk_crops_loss(lk_crops *crops, lk_picture_network *picture, double *loss, double *likeness,
                              float *latent_gradient, size_t dimension, lk_error *error);
/* True after ten passes in a row without a face. */
bool lk_crops_over(const lk_crops *crops);

/* Likeness of each person in a finished picture by any encoder (NaN: not found), and the mean of those found. */
likeness_status lk_crops_score(lk_crops *crops, lk_encoder *encoder, const likeness_image *image,
                               double person[LIKENESS_MAX_PEOPLE], double *mean, lk_error *error);
/* Cosine of the largest faces of two pictures; the model has a detector. */
likeness_status lk_faces_compare(likeness_model *model, lk_encoder *encoder, const likeness_image *a,
                                 const likeness_image *b, double *cosine, lk_error *error);

#endif
