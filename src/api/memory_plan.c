/* api/memory_plan.c - see memory_plan.h. */
#include "api/memory_plan.h"

#include <stdio.h>

static const int32_t choices[] = {1, 2, 3, 4, 6, 8, 12, 16, 24};
enum { CHOICES = sizeof choices / sizeof *choices };

typedef struct planner {
    likeness_model *model;
    const lk_run *run;
    const lk_memory_wish *wish;
    lk_flow_network *flow;
    lk_picture_network *picture;
    int32_t latent_height, latent_width;
} planner;

/* ---- building for a number of pieces ---- */

static likeness_status build_flow(const planner *p, bool batched, int32_t pieces, lk_error *error) {
    return lk_flow_network_build(p->flow, &p->model->files, p->model->context, p->latent_height, p->latent_width,
                                 p->run->guided_free, batched && p->run->guided_free, p->wish->gradient, pieces, error);
}

static likeness_status build_picture(const planner *p, int32_t pieces, lk_error *error) {
    likeness_model *m = p->model;
    if (p->wish->pulling)
        return lk_picture_pull_build(p->picture, &m->files, m->context, p->latent_height, p->latent_width, pieces,
                                     error);
    return lk_picture_network_build(p->picture, &m->files, p->wish->guiding ? &m->identity.network : NULL,
                                    p->wish->target, m->context, p->latent_height, p->latent_width, pieces, error);
}

/* The fewest pieces with which a network takes at most `room`, else those with which it takes least. */
static likeness_status fewest_pieces(const planner *p, bool flow, uint64_t room, lk_error *error) {
    lk_network *net = flow ? &p->flow->net : &p->picture->net;
    uint64_t least = UINT64_MAX;
    int32_t best = 1;
    for (int i = 0; i < CHOICES; i++) {
        LK_TRY(flow ? build_flow(p, false, choices[i], error) : build_picture(p, choices[i], error));
        uint64_t bytes = lk_network_bytes(net, 1);
        if (bytes < least) {
            least = bytes;
            best = choices[i];
        }
        if (bytes <= room || net->gradient_section < 0) return LIKENESS_OK;
    }
    return flow ? build_flow(p, false, best, error) : build_picture(p, best, error);
}

/* ---- sums ---- */

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Of networks that run beside the two large ones: encoders of the reference and of the picture to begin from, judge. */
static uint64_t small_networks(const planner *p) {
    const likeness_model *m = p->model;
    uint64_t sum = 0;
    if (p->run->init_image) sum += lk_network_bytes(&m->encode.net, 1 - m->encode.net.instance_count);
    if (p->wish->guiding && p->wish->target < 0)
        sum += lk_network_bytes(&m->identity.embed.net, 1 - m->identity.embed.net.instance_count);
    if (p->wish->judging && m->judge.present)
        sum += lk_network_bytes(&m->judge.embed.net, 1 - m->judge.embed.net.instance_count);
    return sum;
}

static void add_up(const planner *p, bool in_turn, int32_t copies, likeness_memory_plan *plan) {
    const likeness_model *m = p->model;
    uint64_t text_weights = lk_weights_missing_bytes(m->files.text_weights);
    uint64_t weights =
        lk_weights_missing_bytes(m->files.unet_weights) + lk_weights_missing_bytes(m->files.picture_weights);
    if (p->run->init_image) weights += lk_weights_missing_bytes(m->files.encode_weights);
    if (p->wish->judging && m->judge.present) weights += lk_weights_missing_bytes(m->judge_weights);
    uint64_t text = lk_network_bytes(&m->text.net, 1 - m->text.net.instance_count), small = small_networks(p);
    uint64_t step = lk_network_bytes(&p->flow->net, copies - p->flow->net.instance_count);
    uint64_t picture = lk_network_bytes(&p->picture->net, 1 - p->picture->net.instance_count);
    plan->copies = copies;
    plan->in_turn = in_turn;
    plan->step_pieces = p->flow->net.pieces;
    plan->picture_pieces = p->picture->net.pieces;
    plan->weights = weights + text_weights;
    plan->step = lk_network_bytes(&p->flow->net, 1);
    plan->picture = lk_network_bytes(&p->picture->net, 1);
    plan->other = text + small;
    /* In turn the arena is shared, the scratch memory is not. */
    uint64_t step_scratch = p->flow->net.scratch, picture_scratch = p->picture->net.scratch;
    uint64_t shared = larger(step - step_scratch, picture - picture_scratch) + step_scratch + picture_scratch;
    plan->need = in_turn ? larger(text_weights + text, weights + small + shared)
                         : weights + text_weights + text + small + step + picture;
}

/* ---- the choice ---- */

static void close_large(likeness_model *model) {
    for (int i = 0; i < 2; i++) {
        lk_network_close(&model->flow[i].net);
        lk_network_close(&model->picture[i].net);
    }
    lk_network_close(&model->encode.net);
    lk_network_close(&model->preview.net);
}

static likeness_status build_small(const planner *p, lk_error *error) {
    likeness_model *m = p->model;
    int32_t skip = p->run->clip_skip > 1 ? p->run->clip_skip - 1 : 0;
    int32_t factor = lk_vae_factor(&m->files.vae.config);
    LK_TRY(lk_text_network_build(&m->text, &m->files, m->context, skip, error));
    if (p->run->init_image)
        LK_TRY(lk_encode_network_build(&m->encode, &m->files, m->context, p->latent_height * factor,
                                       p->latent_width * factor, error));
    if (p->wish->guiding && p->wish->target < 0)
        LK_TRY(lk_embed_network_build(&m->identity.embed, &m->identity.network, m->files.size, m->context, error));
    return p->wish->judging && m->judge.present
               ? lk_embed_network_build(&m->judge.embed, &m->judge.network, m->files.size, m->context, error)
               : LIKENESS_OK;
}

static likeness_status choose(const planner *p, likeness_memory_plan *plan, lk_error *error) {
    likeness_model *m = p->model;
    plan->left = lk_memory_left(m->context);
    LK_TRY(build_small(p, error));
    LK_TRY(build_picture(p, 1, error));
    LK_TRY(build_flow(p, !p->wish->sparing, 1, error));
    add_up(p, false, p->wish->copies, plan);
    plan->unsaved = plan->need;
    /* Copies are a luxury: half of what is left stays for others. */
    uint64_t copies = lk_network_bytes(&p->flow->net, p->wish->copies - p->flow->net.instance_count);
    bool half = p->wish->copies == 1 || copies <= plan->left / 2;
    if (half && plan->need <= plan->left) return LIKENESS_OK;
    add_up(p, false, 1, plan);
    if (plan->need <= plan->left) return LIKENESS_OK;
    LK_TRY(build_flow(p, false, 1, error));
    add_up(p, false, 1, plan);
    if (plan->need <= plan->left) return LIKENESS_OK;
    /* In turn, without what earlier calls have left on the device. */
    close_large(m);
    lk_network_close(&m->text.net);
    lk_weights_unload(m->files.text_weights);
    LK_TRY(build_small(p, error));
    plan->left = lk_memory_left(m->context);
    LK_TRY(build_flow(p, false, 1, error));
    LK_TRY(build_picture(p, 1, error));
    add_up(p, true, 1, plan);
    if (plan->need <= plan->left) return LIKENESS_OK;
    uint64_t rest = plan->need - larger(plan->step, plan->picture), room = plan->left > rest ? plan->left - rest : 0;
    LK_TRY(fewest_pieces(p, true, room, error));
    LK_TRY(fewest_pieces(p, false, room, error));
    add_up(p, true, 1, plan);
    return LIKENESS_OK;
}

/* The largest picture of the same shape that would fit, in steps of an eighth; 0 when none does. */
static int32_t what_would_fit(const planner *p, likeness_memory_plan *best, lk_error *error) {
    int32_t unit = 1 << (p->model->files.unet.config.levels - 1);
    for (int eighths = 7; eighths > 0; eighths--) {
        planner smaller = *p;
        likeness_memory_plan plan = {0};
        smaller.latent_height = p->latent_height * eighths / 8 / unit * unit;
        smaller.latent_width = p->latent_width * eighths / 8 / unit * unit;
        if (smaller.latent_height < unit || smaller.latent_width < unit) break;
        if (choose(&smaller, &plan, error) == LIKENESS_OK && plan.need <= plan.left) {
            *best = plan;
            return eighths;
        }
    }
    return 0;
}

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static likeness_status refuse(const planner *p, const likeness_memory_plan *plan, lk_error *error) {
    likeness_memory_plan fits = {0};
    lk_error ignored = LK_ERROR_INIT;
    char advice[160] = "choose another device, or close what uses this one";
    int32_t unit = 1 << (p->model->files.unet.config.levels - 1), factor = lk_vae_factor(&p->model->files.vae.config);
    int32_t eighths = what_would_fit(p, &fits, &ignored);
    if (eighths > 0)
        snprintf(advice, sizeof advice, "%dx%d pixels would fit with %.1f MiB",
                 (int)(p->latent_width * eighths / 8 / unit * unit * factor),
                 (int)(p->latent_height * eighths / 8 / unit * unit * factor), mib(fits.need));
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY,
                   "%dx%d pixels need %.1f MiB of device memory at the least (weights %.1f, one sampling step %.1f, "
                   "picture %.1f), %.1f MiB are left: %s",
                   (int)p->run->width, (int)p->run->height, mib(plan->need), mib(plan->weights), mib(plan->step),
                   mib(plan->picture), mib(plan->left), advice);
}

likeness_status lk_memory_plan(likeness_model *model, const lk_run *run, const lk_memory_wish *wish,
                               likeness_memory_plan *plan, lk_error *error) {
    planner p = {model,
                 run,
                 wish,
                 &model->flow[wish->gradient],
                 &model->picture[wish->guiding || wish->pulling],
                 run->latent_height,
                 run->latent_width};
    *plan = (likeness_memory_plan){0};
    lk_memory_release(model);
    LK_TRY(choose(&p, plan, error));
    if (plan->need > plan->left) return refuse(&p, plan, error);
    lk_context_log(model->context,
                   "memory: %.1f MiB of weights, %d x %.1f MiB a sampling step, %.1f MiB the picture%s%s; %.1f MiB in "
                   "all, %.1f with nothing saved",
                   mib(plan->weights), (int)plan->copies, mib(plan->step), mib(plan->picture),
                   plan->in_turn ? ", in turn" : "",
                   plan->step_pieces > 1 || plan->picture_pieces > 1 ? ", pieces computed again" : "", mib(plan->need),
                   mib(plan->unsaved));
    return LIKENESS_OK;
}

likeness_status lk_memory_settle(likeness_model *model, const lk_memory_wish *wish, const likeness_memory_plan *plan,
                                 lk_error *error) {
    if (!plan->in_turn) return LIKENESS_OK;
    lk_network *nets[2] = {&model->flow[wish->gradient].net, &model->picture[wish->guiding || wish->pulling].net};
    const lk_plan *plans[2] = {nets[0]->plan, nets[1]->plan};
    lk_network_close(&model->text.net);
    lk_weights_unload(model->files.text_weights);
    model->arena = lk_arena_create(model->context->device, plans, 2, error);
    if (!model->arena) return error->status;
    nets[0]->arena = nets[1]->arena = model->arena;
    return LIKENESS_OK;
}

void lk_memory_release(likeness_model *model) {
    if (!model->arena) return;
    close_large(model);
    lk_arena_destroy(model->arena);
    model->arena = NULL;
}
