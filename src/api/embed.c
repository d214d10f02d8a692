/* api/embed.c - pictures to embeddings, and how alike two pictures are. */
#include "api/crops.h"

#include "base/memory.h"
#include "base/vector.h"
#include "io/resize.h"

#include <math.h>

/* A reference takes the way of a generated picture: first it becomes one of the model's size, by the mean of what lies
 * under each pixel (as the training pictures were made), then the encoder's own preprocessing follows in the graph. */
static likeness_status fit(const likeness_image *image, int32_t side, float *planes, lk_error *error) {
    lk_image source = {(uint32_t)image->width, (uint32_t)image->height, image->rgb};
    int32_t shorter = image->width < image->height ? image->width : image->height;
    lk_filter filter = shorter >= side ? LK_FILTER_AREA : LK_FILTER_BILINEAR;
    return lk_image_fit(&source, LK_FIT_CROP, filter, planes, (uint32_t)side, (uint32_t)side, error);
}

static likeness_status embed_planes(lk_encoder *encoder, likeness_model *model, const float *planes, float *embedding,
                                    lk_error *error) {
    lk_embed_network *e = &encoder->embed;
    LK_TRY(lk_network_instances(&e->net, model->context, 1, error));
    LK_TRY(lk_instance_write(e->net.instance[0], e->picture, planes, error));
    LK_TRY(lk_instance_run(e->net.instance[0], 0, error));
    LK_TRY(lk_instance_read(e->net.instance[0], e->embedding, embedding, error));
    for (int32_t i = 0; i < e->width; i++)
        if (!isfinite(embedding[i]))
            return lk_fail(error, LIKENESS_NON_FINITE, "%s: the embedding of a picture is not a number",
                           encoder->network.file.file);
    return LIKENESS_OK;
}

likeness_status lk_encoder_embed_planes(lk_encoder *encoder, likeness_model *model, const float *planes, int32_t side,
                                        float **embedding, lk_error *error) {
    *embedding = NULL;
    LK_TRY(lk_embed_network_build(&encoder->embed, &encoder->network, side, model->context, error));
    float *values = lk_alloc((size_t)encoder->embed.width, sizeof *values);
    likeness_status status =
        values ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to embed a picture");
    if (status == LIKENESS_OK) status = embed_planes(encoder, model, planes, values, error);
    if (status == LIKENESS_OK)
        *embedding = values;
    else
        lk_free(values);
    return status;
}

likeness_status lk_encoder_embed(lk_encoder *encoder, likeness_model *model, const likeness_image *image,
                                 float **embedding, lk_error *error) {
    int32_t side = model->files.size;
    *embedding = NULL;
    if (!image->rgb || image->width < 1 || image->height < 1)
        return lk_fail(error, LIKENESS_USAGE, "there is no picture to compare with");
    float *planes = lk_alloc((size_t)side * (size_t)side * 3, sizeof *planes);
    likeness_status status =
        planes ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to embed a picture");
    if (status == LIKENESS_OK) status = fit(image, side, planes, error);
    if (status == LIKENESS_OK) status = lk_encoder_embed_planes(encoder, model, planes, side, embedding, error);
    lk_free(planes);
    return status;
}

likeness_status lk_encoder_compare(lk_encoder *encoder, likeness_model *model, const likeness_image *a,
                                   const likeness_image *b, double *cosine, lk_error *error) {
    float *x = NULL, *y = NULL;
    *cosine = NAN;
    if (!encoder->present) return LIKENESS_OK;
    likeness_status status = lk_encoder_embed(encoder, model, a, &x, error);
    if (status == LIKENESS_OK) status = lk_encoder_embed(encoder, model, b, &y, error);
    if (status == LIKENESS_OK) *cosine = lk_vector_cosine(x, y, (size_t)encoder->embed.width);
    lk_free(x);
    lk_free(y);
    return status;
}

likeness_status likeness_compare(likeness_model *model, const likeness_image *a, const likeness_image *b,
                                 double *identity, double *judge, double *judge_threshold) {
    lk_error *error = lk_context_begin(model->context);
    const lk_onnx_preprocessing *p = &model->judge.network.preprocessing;
    *judge_threshold = model->judge.present && p->has_threshold ? p->threshold : NAN;
    *judge = NAN;
    if (!model->identity.present && !model->judge.present)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s has neither an identity encoder nor a judge; give one with --discriminator FILE.onnx",
                       model->files.folder);
    if (model->detector.present) {
        LK_TRY(lk_faces_compare(model, &model->identity, a, b, identity, error));
        return lk_faces_compare(model, &model->judge, a, b, judge, error);
    }
    LK_TRY(lk_encoder_compare(&model->identity, model, a, b, identity, error));
    return lk_encoder_compare(&model->judge, model, a, b, judge, error);
}
