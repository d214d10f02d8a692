/* api/crops.c - see crops.h. */
#include "api/crops.h"

#include "base/memory.h"
#include "base/vector.h"
#include "personalize/assignment.h"
#include "personalize/face_align.h"

#include <math.h>
#include <string.h>

static const double loss_scale = 100;
_Static_assert(LK_FACE_SLOTS == LIKENESS_MAX_PEOPLE && LK_ASSIGN_MOST >= LIKENESS_MAX_PEOPLE, "a slot a person");

/* ---- what a crop is ---- */

bool lk_crops_wanted(const likeness_model *model, const likeness_personalize_params *params) {
    return model->detector.present || params->box.width > 0 || params->other_count > 0;
}

/* Side of an encoder's crops: what its file states, else what encoders of faces and of pictures usually take. */
static likeness_status side_of(const lk_encoder *encoder, bool faces, int32_t *side, lk_error *error) {
    const lk_onnx_preprocessing *p = &encoder->network.preprocessing;
    *side = p->height > 0 ? p->height : faces ? 112 : 224;
    if (p->height == p->width) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: its input of %d x %d pixels is not square; crops are",
                   encoder->network.file.file, (int)p->width, (int)p->height);
}

static bool aligned(const likeness_model *model, const likeness_personalize_params *params) {
    return model->detector.present && model->detector.file.has_points && !params->box_crop;
}

/* False for a face whose points are no face. */
static bool theta_of(const lk_face *face, bool turned, int32_t side, double theta[6]) {
    if (turned) return lk_face_theta(face, side, theta);
    lk_box_theta(face->left, face->top, face->right, face->bottom, side, theta);
    return face->right > face->left && face->bottom > face->top;
}

static lk_face box_face(const likeness_box *box) {
    return (lk_face){.left = box->x, .top = box->y, .right = box->x + box->width, .bottom = box->y + box->height};
}

/* The faces of a picture that can be cut out. */
static likeness_status find(likeness_model *model, const likeness_image *image, bool turned, bool lower, int wanted,
                            lk_face faces[LK_FACES_MOST], int *count, lk_error *error) {
    int kept = 0;
    double theta[6];
    LK_TRY(lk_detector_find(model, image, lower, wanted, faces, count, error));
    for (int i = 0; i < *count; i++)
        if (theta_of(&faces[i], turned, 112, theta)) faces[kept++] = faces[i];
    *count = kept;
    return LIKENESS_OK;
}

/* ---- references ---- */

static double area(const lk_face *face) { return (face->right - face->left) * (face->bottom - face->top); }

static bool inside(const lk_face *face, const likeness_box *box) {
    double x = (face->left + face->right) / 2, y = (face->top + face->bottom) / 2;
    return x >= box->x && x <= box->x + box->width && y >= box->y && y <= box->y + box->height;
}

/* The largest face, clearly the largest, of a reference; `box` says where to look. */
static likeness_status reference_face(likeness_model *model, const likeness_image *image, bool turned, int number,
                                      const likeness_box *box, lk_face *face, lk_error *error) {
    lk_face faces[LK_FACES_MOST];
    int count, best = -1, second = -1, there = 0;
    LK_TRY(find(model, image, turned, false, 1, faces, &count, error));
    for (int i = 0; i < count; i++) {
        if (box->width > 0 && !inside(&faces[i], box)) continue;
        there++;
        if (best < 0 || area(&faces[i]) > area(&faces[best])) {
            second = best;
            best = i;
        } else if (second < 0 || area(&faces[i]) > area(&faces[second])) {
            second = i;
        }
    }
    if (best < 0)
        return lk_fail(
            error, LIKENESS_NO_FACE,
            "reference %d: no face was found%s (least score %.2g): take a picture that shows the face larger, "
            "or lower --threshold",
            number, box->width > 0 ? " in its box" : "", model->detector.threshold);
    if (second >= 0 && 2 * area(&faces[second]) > area(&faces[best]))
        return lk_fail(
            error, LIKENESS_NO_FACE,
            "reference %d shows %d faces and none is clearly the largest: cut the picture, or say which with "
            "--reference-box x,y,w,h",
            number, there);
    *face = faces[best];
    return LIKENESS_OK;
}

static likeness_status reference_box(const likeness_image *image, const likeness_box *box, lk_face *face,
                                     lk_error *error) {
    double side = fmin(image->width, image->height);
    const likeness_box square = {(image->width - side) / 2, (image->height - side) / 2, side, side};
    *face = box_face(box->width > 0 ? box : &square);
    if (face->left >= 0 && face->top >= 0 && face->right <= image->width && face->bottom <= image->height)
        return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE, "--reference-box reaches outside the reference of %d x %d pixels",
                   (int)image->width, (int)image->height);
}

/* Planes of a crop and its embedding; either may be unwanted (NULL). */
static likeness_status embed_crop(likeness_model *model, lk_encoder *encoder, const likeness_image *image,
                                  const lk_face *face, bool turned, int32_t side, float **crop, float **embedding,
                                  lk_error *error) {
    const lk_image picture = {(uint32_t)image->width, (uint32_t)image->height, image->rgb};
    double theta[6];
    float *planes = lk_alloc(3 * (size_t)side * (size_t)side, sizeof *planes);
    if (!planes) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a crop");
    theta_of(face, turned, side, theta); /* `find` left no face that has none */
    lk_crop_picture(&picture, theta, side, lk_theta_fineness(theta), planes);
    likeness_status status = lk_encoder_embed_planes(encoder, model, planes, side, embedding, error);
    if (crop && status == LIKENESS_OK)
        *crop = planes;
    else
        lk_free(planes);
    return status;
}

static const likeness_image *reference_image(const likeness_personalize_params *params, int person) {
    return person == 0 ? params->reference : &params->others[person - 1];
}

static likeness_status prepare_reference(lk_crops *c, int person, lk_error *error) {
    const likeness_image *image = reference_image(c->params, person);
    const likeness_box none = {0}, *box = person == 0 ? &c->params->reference_box : &none;
    bool turned = aligned(c->model, c->params);
    if (c->faces)
        LK_TRY(reference_face(c->model, image, turned, person + 1, box, &c->reference[person], error));
    else
        LK_TRY(reference_box(image, box, &c->reference[person], error));
    float **crop = c->params->l1_weight > 0 ? &c->crop[person] : NULL;
    return embed_crop(c->model, &c->model->identity, image, &c->reference[person], turned, c->side, crop,
                      &c->embedding[person], error);
}

/* ---- setting up ---- */

static likeness_status check(const likeness_model *model, const likeness_personalize_params *p, int32_t height,
                             int32_t width, lk_error *error) {
    const likeness_box *box = &p->box;
    if (!model->detector.present && p->other_count > 0)
        return lk_fail(error, LIKENESS_USAGE, "several references need a face detector: --detector FILE.onnx");
    if (model->detector.present && box->width > 0)
        return lk_fail(error, LIKENESS_USAGE,
                       "--box and --detector exclude each other: one says where to look, the other "
                       "finds it");
    if (model->detector.present && !model->detector.file.has_points && !p->box_crop)
        return lk_fail(
            error, LIKENESS_UNSUPPORTED,
            "%s finds boxes without the five points that turn a face upright; use a file with points (SCRFD's "
            "are named _bnkps), or --box-crop",
            model->detector.file.network.file.file);
    if (!(p->l1_weight >= 0) || !isfinite(p->l1_weight))
        return lk_fail(error, LIKENESS_USAGE, "the weight of the difference must not be negative");
    if (box->width > 0 && !(box->height > 0 && box->x >= 0 && box->y >= 0 && box->x + box->width <= width &&
                            box->y + box->height <= height))
        return lk_fail(error, LIKENESS_USAGE, "--box reaches outside the picture of %d x %d pixels", (int)width,
                       (int)height);
    return LIKENESS_OK;
}

/* Samples a pixel of the crops: a box of known size skips no pixel, for faces the size of the picture has to do. */
static int32_t fineness(const lk_crops *c) {
    double theta[6];
    int32_t shorter = c->height < c->width ? c->height : c->width;
    if (c->faces) return shorter > 256 ? shorter / 256 : 1;
    const lk_face box = box_face(&c->params->box);
    theta_of(&box, false, c->side, theta);
    return lk_theta_fineness(theta);
}

likeness_status lk_crops_start(lk_crops *c, likeness_model *model, const likeness_personalize_params *params,
                               int32_t height, int32_t width, lk_error *error) {
    *c = (lk_crops){.model = model,
                    .params = params,
                    .faces = model->detector.present,
                    .people = 1 + params->other_count,
                    .height = height,
                    .width = width,
                    .shown = NAN};
    LK_TRY(check(model, params, height, width, error));
    LK_TRY(side_of(&model->identity, c->faces, &c->side, error));
    for (int i = 0; i < c->people; i++)
        LK_TRY(prepare_reference(c, i, error));
    lk_face_policy_start(&c->policy, c->people);
    const lk_crop_network wanted = {.height = height,
                                    .width = width,
                                    .side = c->side,
                                    .fine = fineness(c),
                                    .slots = c->people,
                                    .differences = params->l1_weight > 0};
    LK_TRY(lk_crop_network_build(&model->crop, &model->identity.network, model->context, &wanted, error));
    LK_TRY(lk_network_instances(&model->crop.net, model->context, 1, error));
    size_t entries = 3 * (size_t)height * (size_t)width;
    c->planes = lk_alloc(entries, sizeof *c->planes);
    c->gradient = lk_alloc(entries, sizeof *c->gradient);
    if (!c->planes || !c->gradient) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a picture");
    return LIKENESS_OK;
}

void lk_crops_end(lk_crops *c) {
    for (int i = 0; i < LIKENESS_MAX_PEOPLE; i++) {
        lk_free(c->embedding[i]);
        lk_free(c->crop[i]);
    }
    lk_free(c->planes);
    lk_free(c->gradient);
    *c = (lk_crops){0};
}

/* ---- one pass ---- */

static likeness_status look(lk_crops *c, const likeness_image *image, lk_error *error) {
    lk_face faces[LK_FACES_MOST];
    int count = 1;
    if (c->faces) {
        bool turned = aligned(c->model, c->params);
        LK_TRY(find(c->model, image, turned, c->params->lower_threshold, c->people, faces, &count, error));
        count = lk_faces_rank(faces, count, (uint32_t)c->width, (uint32_t)c->height, c->people);
    } else {
        faces[0] = box_face(&c->params->box);
    }
    c->found = count;
    lk_face_policy_step(&c->policy, faces, count);
    return LIKENESS_OK;
}

/* Embeddings of all slots; a slot that takes no step sees something, which does not count. */
static likeness_status embed_slots(lk_crops *c, float *const *embedding, float *const *crop, lk_error *error) {
    lk_crop_network *n = &c->model->crop;
    lk_instance *instance = n->net.instance[0];
    LK_TRY(lk_instance_write(instance, n->picture, c->planes, error));
    for (int s = 0; s < c->people; s++) {
        double theta[6] = {1, 0, 0, 0, 1, 0};
        float rounded[6];
        const lk_face_slot *slot = &c->policy.slot[s];
        if (slot->step) theta_of(&slot->face, aligned(c->model, c->params), c->side, theta);
        lk_theta_refine(theta, n->fine);
        for (int i = 0; i < 6; i++)
            rounded[i] = (float)theta[i];
        LK_TRY(lk_instance_write(instance, n->slot[s].theta, rounded, error));
    }
    LK_TRY(lk_instance_run(instance, 0, error));
    for (int s = 0; s < c->people; s++) {
        LK_TRY(lk_instance_read(instance, n->slot[s].embedding, embedding[s], error));
        if (n->differences) LK_TRY(lk_instance_read(instance, n->slot[s].crop, crop[s], error));
    }
    return LIKENESS_OK;
}

/* person[s]: the reference of slot s, -1 for a slot that takes no step. */
static void pair(const lk_crops *c, float *const *embedding, int person[LIKENESS_MAX_PEOPLE],
                 double cosine[LIKENESS_MAX_PEOPLE]) {
    double gain[LIKENESS_MAX_PEOPLE * LIKENESS_MAX_PEOPLE];
    int slots[LIKENESS_MAX_PEOPLE], of_row[LIKENESS_MAX_PEOPLE], rows = 0;
    for (int s = 0; s < c->people; s++) {
        person[s] = -1;
        if (!c->policy.slot[s].step) continue;
        for (int p = 0; p < c->people; p++)
            gain[rows * c->people + p] =
                lk_vector_cosine(embedding[s], c->embedding[p], (size_t)c->model->crop.embedding_width);
        slots[rows++] = s;
    }
    if (rows == 0) return;
    lk_assign(gain, rows, c->people, of_row);
    for (int row = 0; row < rows; row++) {
        person[slots[row]] = of_row[row];
        cosine[slots[row]] = gain[row * c->people + of_row[row]];
    }
}

static double mean_difference(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += fabs((double)a[i] - (double)b[i]);
    return sum / (double)count;
}

/* Sums in the order of the slots, whoever stands in them: the order of the references does not matter. */
static void sum_up(lk_crops *c, const int *person, const double *cosine, float *const *crop, double *loss,
                   double *likeness) {
    size_t pixels = 3 * (size_t)c->side * (size_t)c->side;
    double all = 0, found = 0;
    *loss = 0;
    for (int s = 0; s < c->people; s++) {
        bool step = person[s] >= 0, seen = step && c->policy.slot[s].found;
        *loss += loss_scale * (step ? 1 - cosine[s] : 2);
        if (step && c->params->l1_weight > 0)
            *loss += loss_scale * c->params->l1_weight * mean_difference(crop[s], c->crop[person[s]], pixels);
        all += seen ? cosine[s] : -1;
        found += seen ? cosine[s] : 0;
    }
    *likeness = all / c->people;
    c->shown = c->found > 0 ? found / c->found : NAN;
}

/* Writes what the gradient needs and gives the gradient with respect to the picture. */
static likeness_status pull(lk_crops *c, const int *person, lk_error *error) {
    lk_crop_network *n = &c->model->crop;
    lk_instance *instance = n->net.instance[0];
    for (int s = 0; s < c->people; s++) {
        const lk_crop_slot *slot = &n->slot[s];
        bool step = person[s] >= 0;
        int who = step ? person[s] : 0;
        float cosine = step ? (float)-loss_scale : 0;
        float difference = step ? (float)(loss_scale * c->params->l1_weight) : 0;
        LK_TRY(lk_instance_write(instance, slot->reference, c->embedding[who], error));
        LK_TRY(lk_instance_write(instance, slot->cosine_cotangent, &cosine, error));
        if (!n->differences) continue;
        LK_TRY(lk_instance_write(instance, slot->reference_crop, c->crop[who], error));
        LK_TRY(lk_instance_write(instance, slot->difference_cotangent, &difference, error));
    }
    LK_TRY(lk_instance_run(instance, n->net.gradient_section, error));
    return lk_instance_read(instance, n->picture_gradient, c->gradient, error);
}

static likeness_status pass(lk_crops *c, lk_picture_network *picture, float *const *embedding, float *const *crop,
                            double *loss, double *likeness, float *latent_gradient, size_t dimension, lk_error *error) {
    int person[LIKENESS_MAX_PEOPLE];
    double cosine[LIKENESS_MAX_PEOPLE] = {0};
    bool any = false;
    LK_TRY(embed_slots(c, embedding, crop, error));
    pair(c, embedding, person, cosine);
    sum_up(c, person, cosine, crop, loss, likeness);
    if (!latent_gradient) return LIKENESS_OK;
    for (int s = 0; s < c->people; s++)
        any = any || person[s] >= 0;
    if (!any) {
        memset(latent_gradient, 0, dimension * sizeof *latent_gradient);
        return LIKENESS_OK;
    }
    lk_instance *instance = picture->net.instance[0];
    LK_TRY(pull(c, person, error));
    LK_TRY(lk_instance_write(instance, picture->cotangent, c->gradient, error));
    LK_TRY(lk_instance_run(instance, picture->net.gradient_section, error));
    return lk_instance_read(instance, picture->latent_gradient, latent_gradient, error);
}

likeness_status lk_crops_loss(lk_crops *c, lk_picture_network *picture, double *loss, double *likeness,
                              float *latent_gradient, size_t dimension, lk_error *error) {
    size_t width = (size_t)c->model->crop.embedding_width, pixels = 3 * (size_t)c->side * (size_t)c->side;
    size_t crop_entries = c->model->crop.differences ? pixels : 0;
    likeness_image image = {0};
    float *embedding[LIKENESS_MAX_PEOPLE], *crop[LIKENESS_MAX_PEOPLE];
    LK_TRY(lk_picture_take(picture, c->model, &image, error)); /* refuses what is no number */
    likeness_status status = look(c, &image, error);
    likeness_image_free(&image);
    if (status == LIKENESS_OK) status = lk_instance_read(picture->net.instance[0], picture->picture, c->planes, error);
    if (status != LIKENESS_OK) return status;
    float *memory = lk_alloc((size_t)c->people * (width + crop_entries), sizeof *memory);
    if (!memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for embeddings");
    for (int s = 0; s < c->people; s++) {
        embedding[s] = memory + (size_t)s * (width + crop_entries);
        crop[s] = embedding[s] + width;
    }
    status = pass(c, picture, embedding, crop, loss, likeness, latent_gradient, dimension, error);
    lk_free(memory);
    return status;
}

bool lk_crops_over(const lk_crops *c) { return c->faces && lk_face_policy_over(&c->policy); }

/* ---- finished pictures ---- */

/* Embeddings of all references and of the faces of a picture by any encoder; both in rows of one allocation. */
typedef struct score {
    float *of_person[LIKENESS_MAX_PEOPLE], *of_face[LIKENESS_MAX_PEOPLE];
    int faces;
} score;

static likeness_status embed_all(lk_crops *c, lk_encoder *encoder, const likeness_image *image, score *s,
                                 lk_error *error) {
    lk_face faces[LK_FACES_MOST];
    int count = 1;
    int32_t side;
    bool turned = aligned(c->model, c->params);
    LK_TRY(side_of(encoder, c->faces, &side, error));
    if (c->faces) {
        LK_TRY(find(c->model, image, turned, false, c->people, faces, &count, error));
        count = lk_faces_rank(faces, count, (uint32_t)image->width, (uint32_t)image->height, c->people);
    } else {
        faces[0] = box_face(&c->params->box);
    }
    for (; s->faces < count; s->faces++)
        LK_TRY(
            embed_crop(c->model, encoder, image, &faces[s->faces], turned, side, NULL, &s->of_face[s->faces], error));
    for (int p = 0; p < c->people && count > 0; p++)
        LK_TRY(embed_crop(c->model, encoder, reference_image(c->params, p), &c->reference[p], turned, side, NULL,
                          &s->of_person[p], error));
    return LIKENESS_OK;
}

likeness_status lk_crops_score(lk_crops *c, lk_encoder *encoder, const likeness_image *image,
                               double person[LIKENESS_MAX_PEOPLE], double *mean, lk_error *error) {
    score s = {0};
    double gain[LIKENESS_MAX_PEOPLE * LIKENESS_MAX_PEOPLE], sum = 0;
    int column[LIKENESS_MAX_PEOPLE];
    *mean = NAN;
    for (int p = 0; p < LIKENESS_MAX_PEOPLE; p++)
        person[p] = NAN;
    if (!encoder->present) return LIKENESS_OK;
    likeness_status status = embed_all(c, encoder, image, &s, error);
    if (status == LIKENESS_OK && s.faces > 0) {
        for (int p = 0; p < c->people; p++)
            for (int f = 0; f < s.faces; f++)
                gain[p * s.faces + f] = lk_vector_cosine(s.of_person[p], s.of_face[f], (size_t)encoder->embed.width);
        lk_assign(gain, c->people, s.faces, column);
        for (int p = 0; p < c->people; p++) {
            if (column[p] < 0) continue;
            person[p] = gain[p * s.faces + column[p]];
            sum += person[p];
        }
        *mean = sum / s.faces;
    }
    for (int i = 0; i < LIKENESS_MAX_PEOPLE; i++) {
        lk_free(s.of_person[i]);
        lk_free(s.of_face[i]);
    }
    return status;
}

likeness_status lk_faces_compare(likeness_model *model, lk_encoder *encoder, const likeness_image *a,
                                 const likeness_image *b, double *cosine, lk_error *error) {
    const likeness_image *const images[2] = {a, b};
    const likeness_box none = {0};
    float *embedding[2] = {NULL, NULL};
    int32_t side;
    bool turned = model->detector.file.has_points;
    *cosine = NAN;
    if (!encoder->present) return LIKENESS_OK;
    likeness_status status = side_of(encoder, true, &side, error);
    for (int i = 0; i < 2 && status == LIKENESS_OK; i++) {
        lk_face face;
        status = reference_face(model, images[i], turned, i + 1, &none, &face, error);
        if (status == LIKENESS_OK)
            status = embed_crop(model, encoder, images[i], &face, turned, side, NULL, &embedding[i], error);
    }
    if (status == LIKENESS_OK) *cosine = lk_vector_cosine(embedding[0], embedding[1], (size_t)encoder->embed.width);
    lk_free(embedding[0]);
    lk_free(embedding[1]);
    return status;
}
