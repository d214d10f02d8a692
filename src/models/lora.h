/* models/lora.h - low-rank changes of a model's matrices, added to them when they are loaded.
 *
 *   W' = W + weight * scale * up x down        scale = alpha / rank, 1 where the file names no alpha
 *   W [O,I] or [O,I,kh,kw];  down [r,I] or [r,I,kh,kw];  up [O,r] or [O,r,1,1];  or down [r,I,1,1], mid [s,r,kh,kw], up
 * [O,s]
 *
 * Told by their keys (lora_keys.c), all with any rank in every layer, linear or convolution:
 *
 *   kohya       lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight, .lora_up.weight, .lora_mid.weight,
 * .alpha diffusers   unet.down_blocks.0...attn1.processor.to_q_lora.down.weight,
 * text_encoder...q_proj.lora_linear_layer.up.weight PEFT        unet.down_blocks.0...to_q.lora_A.weight,
 * base_model.model.down_blocks...lora_B.weight; alpha comes from the metadata lora_adapter_metadata or from
 * adapter_config.json beside the file
 *
 * Sums are f32 over the rank in order, rounded once to the matrix's storage, so several files together give what one
 * file with all their modules would. */
#ifndef LK_MODELS_LORA_H
#define LK_MODELS_LORA_H

#include "base/text.h"
#include "graph/graph.h"
#include "models/recognise.h"

typedef struct lk_lora_use {
    const char *path; /* of a safetensors file, or of a folder that holds one */
    double weight;
} lk_lora_use;

typedef struct lk_lora {
    lk_safetensors file;
    char *name; /* file name without its ending */
    double weight;
    int32_t unet_modules, text_modules, unmatched; /* merged into each network; keys without a place */
} lk_lora;

typedef struct lk_lora_target {
    lk_weights *unet, *text; /* nothing of them uploaded yet */
    lk_family family;        /* of the model */
} lk_lora_target;

/* Opens the file and adds its changes to the sets. The lora must live as long as the sets. A line of what was merged
 * and lines of what was not are appended to `report`; a warning about the latter to `notes`. A file for another
 * architecture, of another kind (LoHa, LoKr, DoRA), or of which nothing fits is refused. After a failure close it,
 * after the sets. */
likeness_status lk_lora_open(lk_lora *lora, const lk_lora_use *use, const lk_lora_target *target, lk_text *report,
                             lk_text *notes, lk_error *error);
void lk_lora_close(lk_lora *lora);

/* ---- lora_keys.c ---- */

typedef enum lk_lora_role {
    LK_LORA_DOWN,
    LK_LORA_UP,
    LK_LORA_MID,
    LK_LORA_ALPHA,
    LK_LORA_OTHER_KIND, /* belongs to a LoHa, LoKr, DoRA ... */
    LK_LORA_NO_KEY
} lk_lora_role;

enum { LK_LORA_NAME = 512 };

/* What a key is, and the module that it belongs to with its dots made underscores, beginning with "unet_" or
 * "text_encoder_". */
lk_lora_role lk_lora_key(const char *key, char module[LK_LORA_NAME]);

/* Where alphas come from that no tensor names. */
typedef struct lk_lora_alphas {
    struct lk_json *json; /* owned; NULL: nothing is said */
    const char *path;     /* of adapter_config.json; NULL: metadata */
} lk_lora_alphas;

/* The document of the file's metadata or of adapter_config.json in its folder. */
likeness_status lk_lora_alphas_open(lk_lora_alphas *alphas, const lk_safetensors *file, const char *path,
                                    lk_error *error);
/* Scale of a module ("unet_...") of this rank. */
likeness_status lk_lora_alphas_scale(const lk_lora_alphas *alphas, const char *module, int64_t rank, double *scale,
                                     lk_error *error);
void lk_lora_alphas_close(lk_lora_alphas *alphas);

#endif
