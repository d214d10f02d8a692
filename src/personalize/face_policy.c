/* personalize/face_policy.c - see face_policy.h. */
#include "personalize/face_policy.h"

#include "personalize/assignment.h"

#include <math.h>
#include <string.h>

void lk_face_policy_start(lk_face_policy *policy, int wanted) {
    memset(policy, 0, sizeof *policy);
    policy->wanted = wanted;
    policy->hold = LK_FACE_HOLD;
    policy->give_up = LK_FACE_GIVE_UP;
}

/* Near faces count more; a place farther away than the face is wide is no better than a slot that nobody has. */
static double nearness(const lk_face *face, const lk_face_slot *slot) {
    if (!slot->known) return -1;
    double x = (face->left + face->right - slot->face.left - slot->face.right) / 2;
    double y = (face->top + face->bottom - slot->face.top - slot->face.bottom) / 2;
    double width = fmax(slot->face.right - slot->face.left, 1e-6);
    return -fmin((x * x + y * y) / (width * width), 1e6);
}

void lk_face_policy_step(lk_face_policy *policy, const lk_face *faces, int count) {
    double gain[LK_FACE_SLOTS * LK_FACE_SLOTS];
    int slot_of[LK_FACE_SLOTS];
    if (count > policy->wanted) count = policy->wanted;
    for (int f = 0; f < count; f++)
        for (int s = 0; s < policy->wanted; s++)
            gain[f * policy->wanted + s] = nearness(&faces[f], &policy->slot[s]);
    if (count > 0) lk_assign(gain, count, policy->wanted, slot_of);
    for (int s = 0; s < policy->wanted; s++)
        policy->slot[s].found = false;
    for (int f = 0; f < count; f++)
        policy->slot[slot_of[f]] = (lk_face_slot){.face = faces[f], .known = true, .found = true, .step = true};
    for (int s = 0; s < policy->wanted; s++) {
        lk_face_slot *slot = &policy->slot[s];
        if (slot->found) continue;
        slot->since++;
        slot->step = slot->known && slot->since <= policy->hold;
    }
    policy->none = count > 0 ? 0 : policy->none + 1;
}

bool lk_face_policy_over(const lk_face_policy *policy) { return policy->none >= policy->give_up; }

likeness_status lk_faces_search(lk_look look, void *user, double threshold, bool lower, int wanted,
                                lk_face faces[LK_FACES_MOST], int *count, lk_error *error) {
    enum { MOST_CALLS = 7 };
    for (int call = 1;; call++) {
        double now = threshold - 0.1 * (call - 1);
        LK_TRY(look(user, now, faces, count, error));
        if (!lower || *count >= wanted || now <= 0 || call == MOST_CALLS) return LIKENESS_OK;
    }
}
