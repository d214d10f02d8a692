/* api/memory_plan.h - what a call will take of the device, decided before it takes anything.
 *
 * The first of these that fits what is left, each slower than the one before, all of them the same bytes:
 *
 *   every step keeps its activations          one copy of the flow network a step (guidance only)
 *   one copy for all steps                    the forward pass runs again before each gradient
 *   in turn                                   flow and decoder use one arena; the text encoder leaves the device
 *   in pieces                                 gradients compute pieces of their own forward pass again
 *
 * Only files of src/api use this. */
#ifndef LK_API_MEMORY_PLAN_H
#define LK_API_MEMORY_PLAN_H

#include "api/model.h"

typedef struct lk_memory_wish {
    bool gradient;  /* through the flow network */
    bool guiding;   /* picture network with encoder and gradient */
    int32_t target; /* a class of the encoder, -1: a reference is compared with */
    bool judging;   /* by the judge too, at the end */
    bool pulling;   /* picture network with the gradient of its picture */
    bool sparing;   /* both branches of classifier-free guidance one after the other */
    int32_t copies; /* of the flow network, at best */
} lk_memory_wish;

/* Builds the networks of a run for what is left and says what they take. LIKENESS_OUT_OF_MEMORY, with the numbers and a
 * size of picture that would fit, when nothing fits. */
likeness_status lk_memory_plan(likeness_model *model, const lk_run *run, const lk_memory_wish *wish,
                               likeness_memory_plan *plan, lk_error *error);
/* After the prompts are encoded: with `in_turn` the text encoder leaves the device and the arena is made. */
likeness_status lk_memory_settle(likeness_model *model, const lk_memory_wish *wish, const likeness_memory_plan *plan,
                                 lk_error *error);
/* Instances and arena of the last plan that was in turn; the networks have to be built again. */
void lk_memory_release(likeness_model *model);

#endif
