/* cli/option_table.c - the table itself; see option_table.h. */
#include "cli/option_table.h"

enum { PICTURES = CLI_GENERATE | CLI_PERSONALIZE, EVERYWHERE = 0xff, ON_DEVICE = PICTURES | CLI_DOCTOR | CLI_COMPARE };

const cli_option_row cli_option_table[] = {
    {'r', "reference", "FILE", "picture of the person (PNG or JPEG)", CLI_PERSONALIZE},
    {'m', "model", "PATH", "folder or SD 1/2 file (default: assets/cameo)", PICTURES | CLI_COMPARE},
    {OPT_PREDICTION, "prediction", "NAME", "what the network predicts, see docs/models.md", PICTURES},
    {OPT_LORA, "lora", "FILE[:X]", "merge a LoRA with weight X; may be repeated", PICTURES},
    {OPT_EMBEDDING, "embedding", "FILE[:WORD]", "textual inversion, its word in prompts", PICTURES},
    {OPT_TAESD, "taesd", "FILE", "a tiny autoencoder's decoder for the model's", PICTURES},
    {OPT_EMA, "ema", NULL, "a single file's averaged weights", PICTURES},
    {'p', "prompt", "TEXT", "what the picture shows", PICTURES},
    {'n', "negative-prompt", "TEXT", "what it must not show; with --cfg-scale not 1", PICTURES},
    {'o', "output", "FILE", "default: output.png; %03d in it counts a batch", PICTURES},
    {'W', "width", "N", "width in pixels (default: the model's)", PICTURES},
    {'H', "height", "N", "height in pixels (default: the model's)", PICTURES},
    {'s', "seed", "N", "seed of the noise, -1: random (default: 42)", PICTURES},
    {OPT_STEPS, "steps", "N", "sampling steps (default: the model's)", PICTURES},
    {OPT_CFG, "cfg-scale", "X", "guidance weight of the prompt (default: model's)", PICTURES},
    {OPT_SAMPLER, "sampling-method", "NAME", "euler, euler_a, ddim, dpm++2m, lcm or perflow", PICTURES},
    {OPT_SCHEDULER, "scheduler", "NAME", "discrete or karras noise levels", PICTURES},
    {OPT_CLIP_SKIP, "clip-skip", "N", "2 leaves out the text encoder's last layer", PICTURES},
    {'i', "init-img", "FILE", "picture to begin from (image to image)", PICTURES},
    {OPT_STRENGTH, "strength", "X", "part of the steps done on it (default: 0.75)", PICTURES},
    {'b', "batch-count", "N", "pictures with seeds s, s+1, ... (default: 1)", PICTURES},
    {OPT_FROM, "from", "PICTURE", "settings of a picture; other flags count over it", CLI_GENERATE},
    {OPT_ITERATIONS, "iterations", "N", "guidance iterations (default: 50)", CLI_PERSONALIZE},
    {OPT_ID_SCALE, "id-scale", "X", "strength of one guidance step (default: 1)", CLI_PERSONALIZE},
    {OPT_STEP_FACTOR, "step-factor", "X", "c_k of the method; 0.958 as released (default: 1)", CLI_PERSONALIZE},
    {OPT_UNTIL, "until", "X", "stop when the likeness reaches X", CLI_PERSONALIZE},
    {OPT_METHOD, "method", "NAME", "anchored, unanchored or noise (default: anchored)", CLI_PERSONALIZE},
    {OPT_READING, "reading", "A|B|C", "how offsets accumulate (default: A)", CLI_PERSONALIZE},
    {OPT_DISCRIMINATOR, "discriminator", "FILE", "ONNX file that replaces the identity encoder",
     CLI_PERSONALIZE | CLI_COMPARE},
    {OPT_RANK, "rank", NULL, "sort a batch by the judge, best first", CLI_PERSONALIZE},
    {OPT_PREVIEW, "preview", "FILE", "rewrite FILE with the picture so far", CLI_PERSONALIZE},
    {OPT_PREVIEW_INTERVAL, "preview-interval", "N", "... every N iterations (default: 5)", CLI_PERSONALIZE},
    {OPT_NO_SHEET, "no-sheet", NULL, "do not write the sheet beside the picture", CLI_PERSONALIZE},
    {OPT_RECOMPUTE, "recompute", NULL, "less memory, more time, same bytes", CLI_PERSONALIZE},
    {OPT_REPORT, "report", "FILE", "write every number as JSON", PICTURES},
    {OPT_DEVICE, "device", "N|NAME", "number or part of a name, see likeness devices", ON_DEVICE | CLI_DEVICES},
    {OPT_PRECISE, "precise", NULL, "f32 weights and plain kernels", ON_DEVICE},
    {OPT_MAX_BLOCK, "max-block", "SIZE", "largest device allocation, such as 64M", ON_DEVICE},
    {OPT_MAX_VRAM, "max-vram", "SIZE", "device memory to use at most, such as 2G", ON_DEVICE},
    {OPT_MAX_GROUPS, "max-groups-axis", "N", "small limit of workgroups an axis (for tests)", ON_DEVICE},
    {OPT_PROGRESS, "progress", "MODE", "bar, json or none (default: bar on a terminal)", PICTURES},
    {'v', "verbose", NULL, "say more", EVERYWHERE},
    {'h', "help", NULL, "this help", EVERYWHERE},
    {'V', "version", NULL, "version", EVERYWHERE},
};
const cli_command_row cli_command_table[] = {
    {"personalize", CLI_PERSONALIZE, "", "new pictures of the person in a reference picture",
     "likeness personalize --reference assets/samples/micah.png \\\n"
     "      --prompt \"micah portrait of a person, smile expression\" \\\n"
     "      --seed 7 -o portrait.png"},
    {"generate", CLI_GENERATE, "", "a picture from words",
     "likeness generate -p \"micah portrait of a person, red background\" \\\n"
     "      -s 7 -o picture.png\n"
     "  likeness generate --from picture.png -o same.png"},
    {"devices", CLI_DEVICES, "", "which devices there are, what each can do, which will be used", "likeness devices"},
    {"doctor", CLI_DOCTOR, "", "check every kernel on the device against the C reference",
     "likeness doctor --device 0"},
    {"inspect", CLI_INSPECT, " FILE", "settings of a picture; what a model or LoRA file is",
     "likeness inspect portrait.png\n  likeness inspect model.safetensors"},
    {"compare", CLI_COMPARE, " PICTURE PICTURE", "how alike two pictures are", "likeness compare a.png b.png"},
};
