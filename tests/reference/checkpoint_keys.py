"""Complete key lists of Stable Diffusion checkpoints in the original layout and what each key is called in diffusers:
tests/data/checkpoints/{sd1,sd2}.txt.gz, a line "original key <tab> shape <tab> component/key <tab> shape".

    PYTHONPATH=DEPS python3 tests/reference/checkpoint_keys.py CHECKOUT_OF_CompVis/stable-diffusion CHECKOUT_OF_Stability-AI/stablediffusion

Both lists are made by the original code itself (its classes are built on the meta device, their state dicts listed);
OpenCLIP's by open_clip. Names in diffusers are those that diffusers' own converters give. A key that no converter takes
has "-" for its component. (torch 2.15, diffusers 0.42.1, transformers 5.24, open_clip_torch 3.3.0, einops 0.8.1; DEPS
holds einops, omegaconf, open_clip_torch, ftfy, regex, timm.) Not run by any test.
"""
import gzip, importlib, importlib.util, io, json, os, subprocess, sys, types
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, '..', 'data', 'checkpoints')

# Written into every checkpoint by the training class (ldm/models/diffusion/ddpm.py, register_schedule).
SCHEDULE = ['betas', 'alphas_cumprod', 'alphas_cumprod_prev', 'sqrt_alphas_cumprod', 'sqrt_one_minus_alphas_cumprod',
            'log_one_minus_alphas_cumprod', 'sqrt_recip_alphas_cumprod', 'sqrt_recipm1_alphas_cumprod',
            'posterior_variance', 'posterior_log_variance_clipped', 'posterior_mean_coef1', 'posterior_mean_coef2']


def original(checkout, config):
    """Keys and shapes of U-Net and autoencoder, from the original code in a process of its own."""
    program = r'''
import sys, types, torch
sys.path.insert(0, sys.argv[1])
class Anything(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'): raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})
for name in ('pytorch_lightning', 'taming', 'taming.modules', 'taming.modules.vqvae', 'taming.modules.vqvae.quantize',
             'cv2', 'matplotlib', 'matplotlib.pyplot'):
    sys.modules[name] = Anything(name)
from omegaconf import OmegaConf
from ldm.util import instantiate_from_config
params = OmegaConf.load(sys.argv[2]).model.params
with torch.device('meta'):
    unet = instantiate_from_config(params.unet_config)
    vae = instantiate_from_config(params.first_stage_config)
for prefix, module in (('model.diffusion_model.', unet), ('first_stage_model.', vae)):
    for key, value in module.state_dict().items():
        print(prefix + key, ','.join(map(str, value.shape)), sep='\t')
'''
    out = subprocess.run([sys.executable, '-c', program, checkout, os.path.join(checkout, config)], check=True,
                         capture_output=True, text=True).stdout
    return {line.split('\t')[0]: tuple(map(int, line.split('\t')[1].split(','))) if line.split('\t')[1] else ()
            for line in out.splitlines() if '\t' in line}


def clip_keys():
    from transformers import CLIPTextConfig, CLIPTextModel
    with torch.device('meta'):
        model = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072,
                                             num_hidden_layers=12, num_attention_heads=12))
    prefix = 'cond_stage_model.transformer.text_model.'
    keys = {prefix + k.removeprefix('text_model.'): tuple(v.shape) for k, v in model.state_dict().items()}
    keys.pop(prefix + 'embeddings.position_ids', None)
    return {prefix + 'embeddings.position_ids': (1, 77), **keys}  # a buffer that transformers 4.19 saved


class Anything(types.ModuleType):
    """Stands for torchvision, of which a text encoder needs nothing."""
    __path__ = []

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})


def open_clip_keys():
    for name in ('torchvision', 'torchvision.ops', 'torchvision.ops.misc', 'torchvision.transforms',
                 'torchvision.transforms.functional'):
        sys.modules[name] = Anything(name)
    # Without the package's own __init__, which wants the picture side, too.
    folder = importlib.util.find_spec('open_clip').submodule_search_locations
    sys.modules['open_clip'] = types.ModuleType('open_clip')
    sys.modules['open_clip'].__path__ = list(folder)
    clip = importlib.import_module('open_clip.model')
    with open(os.path.join(folder[0], 'model_configs', 'ViT-H-14.json')) as f:
        config = json.load(f)
    with torch.device('meta'):
        model = clip.CLIP(**config)
    return {'cond_stage_model.model.' + k: tuple(v.shape) for k, v in model.state_dict().items()
            if not k.startswith('visual.')}


def names(keys, kind):
    """original key -> component/key of diffusers, by its own converters on tensors that hold their number."""
    from diffusers.loaders import single_file_utils as s
    numbered = {k: torch.full((1,) * len(shape), i, dtype=torch.float64).expand(shape) for i, (k, shape) in
                enumerate(keys.items())}
    order = list(keys)
    levels = [0] * 4
    made = {'unet': s.convert_ldm_unet_checkpoint(numbered, {'layers_per_block': 2}),
            'vae': s.convert_ldm_vae_checkpoint(numbered, {'down_block_types': levels, 'up_block_types': levels})}
    if kind == 1:
        made['text_encoder'] = s.convert_ldm_clip_checkpoint(numbered)
    else:
        made['text_encoder'] = s.convert_open_clip_checkpoint(types.SimpleNamespace(config=None), numbered)
    result = {}
    for component, tensors in made.items():
        for key, value in tensors.items():
            number = int(value.flatten()[0]) if value.numel() else -1
            result.setdefault(order[number], []).append((component + '/' + key, tuple(value.shape)))
    return result


def write(name, keys, kind):
    found = names(keys, kind)
    lines = []
    for key, shape in keys.items():
        for other, other_shape in found.get(key, [('-', ())]):
            lines.append('\t'.join((key, ','.join(map(str, shape)), other, ','.join(map(str, other_shape)))))
    for key in SCHEDULE:
        lines.append('\t'.join((key, '1000', '-', '')))
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode='wb', compresslevel=9, mtime=0) as f:
        f.write(('\n'.join(lines) + '\n').encode())
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, name + '.txt.gz'), 'wb') as f:
        f.write(buffer.getvalue())
    print(name, len(keys), 'keys', len(lines), 'lines', len(buffer.getvalue()), 'bytes')


if __name__ == '__main__':
    write('sd1', {**original(sys.argv[1], 'configs/stable-diffusion/v1-inference.yaml'), **clip_keys()}, 1)
    write('sd2', {**original(sys.argv[2], 'configs/stable-diffusion/v2-inference-v.yaml'), **open_clip_keys()}, 2)
