/* sampling/flow.c - tables of rectified flows: straight (flow Euler, InstaFlow) and straight inside windows (PeRFlow).
 *
 * Time t = 1 is noise, t = 0 is data. */
#include "sampling/internal.h"
#include "sampling/noise_schedule.h"

#include "base/memory.h"

#include <math.h>

/* ---- straight ---- */

/* 1 at step 0, 0 behind the last; uniform before the shift. diffusers' FlowMatchEulerDiscreteScheduler with sigmas =
 * linspace(1, 1/steps, steps). */
static double flow_time(int i, int steps, double shift) {
    double t = 1.0 - (double)i / steps;
    return shift * t / (1.0 + (shift - 1.0) * t);
}

likeness_status lk_make_flow(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                             lk_error *error) {
    double sign = sampling->prediction == LK_PREDICT_VELOCITY_TO_DATA ? -1 : 1;
    (void)error;
    for (int i = 0; i < sampling->asked; i++) {
        double t = flow_time(i, sampling->asked, config->shift),
               next = flow_time(i + 1, sampling->asked, config->shift);
        sampling->step[i] = (lk_sampling_step){.time = LK_TRAIN_TIMESTEPS * t,
                                               .input = 1,
                                               .keep = 1,
                                               .move = sign * (next - t),
                                               .denoised_z = 1,
                                               .denoised_m = -sign * t};
        if (i == first) sampling->noise = from_picture ? t : 1;
    }
    sampling->straight = true;
    sampling->data = from_picture ? 1 - sampling->noise : 0;
    return LIKENESS_OK;
}

/* ---- piecewise ---- */

typedef struct window {
    double start, end;           /* times, start > end */
    double kept_start, kept_end; /* a[t] at them */
} window;

/* a of window times: index 1000 t - 1, the first one for t = 0; fractions of windows that do not divide 1000 are cut.
 */
static double kept_at(const lk_noise_schedule *noise, double t) {
    int index = (int)(t * LK_TRAIN_TIMESTEPS + 1e-6) - 1;
    return noise->kept[index > 0 ? index : 0];
}

static window window_of(const lk_noise_schedule *noise, int count, int k) {
    window w = {.start = (double)(count - k) / count, .end = (double)(count - k - 1) / count};
    w.kept_start = kept_at(noise, w.start);
    w.kept_end = kept_at(noise, w.end);
    return w;
}

/* The predicted end of the window, w = scale z + shift m, from a z at time t inside it. */
static void window_end(const window *w, lk_prediction prediction, double t, double *scale, double *shift) {
    double ratio = sqrt(w->kept_start / w->kept_end), start_scale = 1 / ratio;
    double start_shift = prediction == LK_PREDICT_DIFF_EPS
                             ? -sqrt(1 - ratio * ratio) / ratio
                             : sqrt(1 - w->kept_end) - start_scale * sqrt(1 - w->kept_start);
    double bottom = start_scale * (t - w->start) + (w->end - t);
    *scale = start_scale * (w->end - w->start) / bottom;
    *shift = start_shift * (w->end - t) / bottom;
}

/* z + (next - t) (w - z) / (end - t). What is left of the way to the picture is not one line: x0 here is the point that
 * the network's noise points away from, sqrt(a) x0 + sqrt(1 - a) m = z, with a between the window's ends. */
static lk_sampling_step piecewise_step(const window *w, lk_prediction prediction, double t, double next) {
    lk_sampling_step s = {.time = LK_TRAIN_TIMESTEPS * t, .input = 1};
    if (prediction == LK_PREDICT_VELOCITY) {
        s.keep = 1;
        s.move = next - t;
        s.denoised_z = 1;
        s.denoised_m = -t;
        return s;
    }
    double scale, shift, part = (next - t) / (w->end - t);
    window_end(w, prediction, t, &scale, &shift);
    s.keep = 1 + part * (scale - 1);
    s.move = part * shift;
    double at = (w->start - t) / (w->start - w->end), kept = w->kept_start + at * (w->kept_end - w->kept_start);
    s.denoised_z = 1 / sqrt(kept);
    s.denoised_m = -sqrt(1 - kept) / sqrt(kept);
    return s;
}

likeness_status lk_make_perflow(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                                lk_error *error) {
    int windows = config->windows, n = 0;
    if (sampling->asked < windows)
        return lk_fail(error, LIKENESS_USAGE, "PeRFlow with %d windows needs at least %d steps, not %d", windows,
                       windows, sampling->asked);
    lk_noise_schedule *noise = lk_alloc(1, sizeof *noise);
    if (!noise) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a noise schedule");
    lk_noise_schedule_make(noise, config, false);
    for (int k = 0; k < windows; k++) {
        window w = window_of(noise, windows, k);
        int inside = sampling->asked / windows + (k < sampling->asked % windows);
        double stride = (w.end - w.start) / inside;
        for (int i = 0; i < inside; i++, n++) {
            /* The network was trained on whole times: fractions are cut off, and the step starts from what is left. */
            double t = floor((w.start + i * stride) * LK_TRAIN_TIMESTEPS) / LK_TRAIN_TIMESTEPS;
            double next = i + 1 < inside ? floor((w.start + (i + 1) * stride) * LK_TRAIN_TIMESTEPS) / LK_TRAIN_TIMESTEPS
                                         : floor(w.end * LK_TRAIN_TIMESTEPS) / LK_TRAIN_TIMESTEPS;
            sampling->step[n] = piecewise_step(&w, sampling->prediction, t, next);
            if (n != first || !from_picture) continue;
            /* A given picture joins on the straight line between its noised forms at the window's ends. */
            double at = (w.start - t) / (w.start - w.end);
            sampling->data = (1 - at) * sqrt(w.kept_start) + at * sqrt(w.kept_end);
            sampling->noise = (1 - at) * sqrt(1 - w.kept_start) + at * sqrt(1 - w.kept_end);
        }
    }
    if (!from_picture) sampling->noise = 1;
    sampling->straight = sampling->prediction == LK_PREDICT_VELOCITY;
    lk_free(noise);
    return LIKENESS_OK;
}
