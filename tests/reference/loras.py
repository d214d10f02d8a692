"""LoRA files in every dialect for tests/data/models/tiny, and what the networks give once diffusers has merged them:
tests/data/loras.

    python3 tests/reference/loras.py        (torch 2.15, diffusers 0.42.1, transformers 5.24, peft 0.21.2, accelerate 1.15)

    kohya.safetensors      lora_unet_ / lora_te_ names, linear and convolution, alpha, another rank in every layer
    diffusers.safetensors  attention processors and lora_linear_layer, as diffusers wrote before it used PEFT
    peft.safetensors       diffusers with PEFT: unet. / text_encoder. names, lora_A / lora_B, alpha in the metadata
    adapter/               PEFT alone: base_model.model. names, adapter_config.json with rank and alpha patterns
    expected.safetensors   inputs, and for each file (and for two together with weights) U-Net output and text output

Not run by any test.
"""
import copy, json, os, shutil, tempfile
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer
import transformers.integrations.peft

transformers.integrations.peft.MIN_PEFT_VERSION = '0.21'  # newer ones were not to be had

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, '..', 'data', 'models', 'tiny')
OUT = os.path.join(HERE, '..', 'data', 'loras')
torch.manual_seed(21)
torch.set_num_threads(1)
os.makedirs(os.path.join(OUT, 'adapter'), exist_ok=True)


def pipeline():
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(os.path.join(TINY, 'vae')).float(),
        text_encoder=CLIPTextModel.from_pretrained(os.path.join(TINY, 'text_encoder')).float(),
        tokenizer=CLIPTokenizer.from_pretrained(os.path.join(TINY, 'tokenizer')),
        unet=UNet2DConditionModel.from_pretrained(os.path.join(TINY, 'unet')).float(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def half(*shape):
    return (torch.randn(*shape) * 0.3).half().float()


plain = pipeline()
unet_layers = {n: m for n, m in plain.unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
text_layers = {n.removeprefix('text_model.'): m for n, m in plain.text_encoder.named_modules()
               if isinstance(m, torch.nn.Linear)}


def pair(module, rank):
    """down and up of a low-rank pair in PyTorch's own shapes."""
    o, i = module.weight.shape[:2]
    if isinstance(module, torch.nn.Conv2d):
        return half(rank, i, *module.weight.shape[2:]), half(o, rank, 1, 1)
    return half(rank, i), half(o, rank)


# file -> [(module, what is added to its matrix)], by the definition: transformers 5 cannot load these files itself, and
# diffusers 0.42.1 gives attention layers the wrong alpha where alphas differ from layer to layer.
changes = {}


def note(file, module, down, up, scale):
    change = scale * (up.half().double().flatten(1) @ down.half().double().flatten(1))
    changes.setdefault(file, []).append((module, change.reshape(module.weight.shape)))


def kohya():
    tensors = {}
    wanted = {'lora_unet_' + n: m for n, m in unet_layers.items()
              if n.startswith(('down_blocks', 'mid_block', 'up_blocks'))}
    wanted |= {'lora_te_text_model_' + n: m for n, m in text_layers.items()}
    for number, (name, module) in enumerate(wanted.items()):
        rank = 1 + number % 4
        down, up = pair(module, rank)
        name = name.replace('.', '_')
        tensors[name + '.lora_down.weight'] = down.half()
        tensors[name + '.lora_up.weight'] = up.half()
        alpha = rank * (0.25 + number % 3)
        tensors[name + '.alpha'] = torch.tensor(alpha)
        note('kohya.safetensors', module, down, up, alpha / rank)
    save_file(tensors, os.path.join(OUT, 'kohya.safetensors'), {'ss_network_module': 'networks.lora'})


def old_diffusers():
    tensors = {}
    for name, module in unet_layers.items():
        parent, _, last = name.removesuffix('.0').rpartition('.')
        if '.attn' in name and last in ('to_q', 'to_k', 'to_v', 'to_out'):
            down, up = pair(module, 2)
            tensors[f'unet.{parent}.processor.{last}_lora.down.weight'] = down
            tensors[f'unet.{parent}.processor.{last}_lora.up.weight'] = up
    for name, module in text_layers.items():
        if '.self_attn.' in name:
            down, up = (x.bfloat16().float() for x in pair(module, 3))
            note('diffusers.safetensors', module, down, up, 1)
            tensors[f'text_encoder.text_model.{name}.lora_linear_layer.down.weight'] = down
            tensors[f'text_encoder.text_model.{name}.lora_linear_layer.up.weight'] = up
    save_file({k: v.bfloat16() for k, v in tensors.items()}, os.path.join(OUT, 'diffusers.safetensors'))


def peft_in_diffusers():
    p = pipeline()
    p.unet.add_adapter(LoraConfig(r=4, lora_alpha=6, target_modules=['to_q', 'to_k', 'to_v', 'to_out.0', 'conv1', 'ff.net.2'],
                                  rank_pattern={'mid_block.resnets.0.conv1': 2}, alpha_pattern={'mid_block.resnets.0.conv1': 5}))
    p.text_encoder.add_adapter(LoraConfig(r=2, lora_alpha=1, target_modules=['q_proj', 'fc1']))
    for model in (p.unet, p.text_encoder):
        for n, value in model.named_parameters():
            if 'lora_' in n:
                value.data = half(*value.shape)
    for name, module in p.text_encoder.named_modules():
        if hasattr(module, 'lora_A'):
            note('peft.safetensors', text_layers[name.removeprefix('text_model.')], module.lora_A['default'].weight.data,
                 module.lora_B['default'].weight.data, 1 / 2)
    for model in (p.unet, p.text_encoder):
        model.peft_config['default'].base_model_name_or_path = None
    metadata = {'unet_lora_adapter_metadata': p.unet.peft_config['default'].to_dict(),
                'text_encoder_lora_adapter_metadata': p.text_encoder.peft_config['default'].to_dict()}
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionPipeline.save_lora_weights(
            folder, unet_lora_layers=get_peft_model_state_dict(p.unet),
            text_encoder_lora_layers=get_peft_model_state_dict(p.text_encoder), **metadata)
        shutil.copyfile(os.path.join(folder, 'pytorch_lora_weights.safetensors'), os.path.join(OUT, 'peft.safetensors'))


def adapter():
    unet = pipeline().unet
    model = get_peft_model(unet, LoraConfig(
        r=2, lora_alpha=3, target_modules=['to_k', 'to_v', 'proj_in', 'conv2', 'time_emb_proj'], use_rslora=True,
        rank_pattern={'up_blocks.0.attentions.0.proj_in': 4}, alpha_pattern={'attn2.to_k': 1}))
    for n, value in model.named_parameters():
        if 'lora_' in n:
            value.data = half(*value.shape)
    model.save_pretrained(os.path.join(OUT, 'adapter'))
    os.path.exists(os.path.join(OUT, 'adapter', 'README.md')) and os.remove(os.path.join(OUT, 'adapter', 'README.md'))
    merged = model.merge_and_unload()
    with open(os.path.join(OUT, 'adapter', 'adapter_config.json')) as f:
        config = json.load(f)
    assert config['rank_pattern'] and config['alpha_pattern'] and config['use_rslora']
    return merged


sample, steps, context = half(1, 4, 8, 8) * 3, torch.tensor([320.0]), half(1, 5, 16) * 3
ids = torch.tensor([[520, 30, 71, 3, 521]], dtype=torch.int32)
expected = {'sample': sample, 'steps': steps, 'context': context, 'ids': ids}


@torch.no_grad()
def outputs(name, unet, text):
    expected[name + '.unet'] = unet.double()(sample.double(), steps.double(), context.double()).sample.float()
    if text is not None:
        expected[name + '.text'] = text.double()(ids.long()).last_hidden_state.float()


def fused(name, files):
    p = pipeline()
    loaded = [(f, w) for f, w in files if f != 'kohya.safetensors']
    for i, (file, weight) in enumerate(loaded):
        tensors, alphas, metadata = StableDiffusionPipeline.lora_state_dict(OUT, weight_name=file, return_lora_metadata=True)
        only = {k: v for k, v in tensors.items() if k.startswith('unet.')}
        StableDiffusionPipeline.load_lora_into_unet(only, network_alphas=alphas, unet=p.unet, adapter_name=f'a{i}',
                                                    _pipeline=p, metadata=metadata)
    if loaded:
        p.unet.set_adapters([f'a{i}' for i in range(len(loaded))], [w for _, w in loaded])
        p.unet.fuse_lora()
        p.unet.unload_lora()
    with torch.no_grad():
        text = copy.deepcopy(plain.text_encoder).double()
        here = dict(zip(plain.text_encoder.modules(), text.modules()))
        here |= {plain.unet.get_submodule(n): m for n, m in p.unet.named_modules()}
        for file, weight in files:
            for module, change in changes[file]:
                here[module].weight += weight * change
    outputs(name, p.unet, text)


kohya()
old_diffusers()
peft_in_diffusers()
outputs('plain', copy.deepcopy(plain.unet), copy.deepcopy(plain.text_encoder))
outputs('adapter', adapter(), None)
fused('kohya', [('kohya.safetensors', 1.0)])
fused('diffusers', [('diffusers.safetensors', 0.7)])
fused('peft', [('peft.safetensors', 1.0)])
fused('two', [('kohya.safetensors', 0.5), ('peft.safetensors', -0.8)])
save_file(expected, os.path.join(OUT, 'expected.safetensors'))
for name in sorted(expected):
    if '.' in name:
        base = expected['plain.' + name.split('.')[1]]
        print(name, float((expected[name] - base).norm() / base.norm()))
