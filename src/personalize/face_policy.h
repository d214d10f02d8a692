/* personalize/face_policy.h - what guidance does from step to step with the faces that a detector finds, and with those
 * that it does not.
 *
 * Each person to be shown has a slot. A found face goes to the slot whose last face lies nearest, a new one to a slot
 * that has none yet. A slot without a face takes its last one for up to `hold` steps in a row, after that it takes no
 * step. After `give_up` steps in a row in which no face at all was found the run is over.
 *
 * For comparison there is the published behaviour: the threshold is lowered by 0.1 until enough faces are found,
 * whatever they are (rectifid.md, P18). */
#ifndef LK_PERSONALIZE_FACE_POLICY_H
#define LK_PERSONALIZE_FACE_POLICY_H

#include "base/error.h"
#include "models/face.h"

#include <stdint.h>

#define LK_FACE_SLOTS 8
#define LK_FACE_HOLD 3
#define LK_FACE_GIVE_UP 10

typedef struct lk_face_slot {
    lk_face face;  /* the last one found */
    bool known;    /* there is one */
    bool found;    /* in this step */
    bool step;     /* this slot takes part in this step */
    int32_t since; /* steps in a row without a face */
} lk_face_slot;

typedef struct lk_face_policy {
    int32_t wanted; /* slots in use */
    int32_t hold, give_up;
    int32_t none; /* steps in a row without any face */
    lk_face_slot slot[LK_FACE_SLOTS];
} lk_face_policy;

/* 1 to LK_FACE_SLOTS persons; hold and give_up as above. */
void lk_face_policy_start(lk_face_policy *policy, int wanted);
/* The faces of one step, at most `wanted` of them count. */
void lk_face_policy_step(lk_face_policy *policy, const lk_face *faces, int count);
bool lk_face_policy_over(const lk_face_policy *policy);

/* Faces at a threshold: calls look once, and with `lower` again at a threshold 0.1 lower until there are `wanted` or
 * the threshold is 0 or less; 7 calls at most. The next search begins at `threshold` again. */
typedef likeness_status (*lk_look)(void *user, double threshold, lk_face faces[LK_FACES_MOST], int *count,
                                   lk_error *error);
likeness_status lk_faces_search(lk_look look, void *user, double threshold, bool lower, int wanted,
                                lk_face faces[LK_FACES_MOST], int *count, lk_error *error);

#endif
