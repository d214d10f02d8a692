/* sampling/internal.h - what the makers of tables share. Each fills sampling->step[0..asked) and, for a start at step
 * `first`, sampling->data and sampling->noise; sampler.c then drops the steps before `first`. */
#ifndef LK_SAMPLING_INTERNAL_H
#define LK_SAMPLING_INTERNAL_H

#include "sampling/sampler.h"

typedef likeness_status (*lk_sampling_maker)(lk_sampling *sampling, const lk_scheduler_config *config,
                                             bool from_picture, int first, lk_error *error);

likeness_status lk_make_flow(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                             lk_error *error);
likeness_status lk_make_perflow(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                                lk_error *error);
likeness_status lk_make_ddim(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                             lk_error *error);
likeness_status lk_make_euler(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                              lk_error *error);
likeness_status lk_make_dpmpp_2m(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                                 lk_error *error);
likeness_status lk_make_lcm(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                            lk_error *error);

#endif
