"""Fixture for tests/api/test_cameo.c: pictures of a model folder made by diffusers, and by a loop for anchored guidance
that was written from the paper's formulas (docs/methods/rectifid.md), not from the C code.

    python3 tests/reference/cameo_pictures.py assets/cameo assets/samples/micah.png tests/data/models/cameo/pictures.safetensors

(torch 2.15, diffusers 0.42.1, transformers 5.24, onnx 1.23.2, pillow.) To be made anew whenever the weights change: the
file remembers which weights it belongs to. Not run by any test.
"""
import hashlib, os, sys
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

FILES = ('text_encoder/model.safetensors', 'unet/diffusion_pytorch_model.safetensors', 'vae/diffusion_pytorch_model.safetensors',
         'identity_encoder.onnx')
STEPS, ITERATIONS, SEED, FREE_WEIGHT = 4, 3, 7, 2.5
PROMPT, NEGATIVE = 'micah portrait of a person, smile expression, red background', 'gray background'

folder, reference_path, target = sys.argv[1:]
torch.set_num_threads(2)
load = lambda kind, name: kind.from_pretrained(os.path.join(folder, name), torch_dtype=torch.float32).eval().requires_grad_(False)
tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, 'tokenizer'))
text, unet, vae = load(CLIPTextModel, 'text_encoder'), load(UNet2DConditionModel, 'unet'), load(AutoencoderKL, 'vae')
scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(os.path.join(folder, 'scheduler'))


def hidden(prompt):
    ids = tokenizer(prompt, padding='max_length', max_length=tokenizer.model_max_length, truncation=True, return_tensors='pt').input_ids
    return text(input_ids=ids).last_hidden_state


def noise(seed):
    side = unet.config.sample_size
    return torch.randn(1, unet.config.in_channels, side, side, generator=torch.Generator('cpu').manual_seed(seed))


def decode(z):
    """In 0..1, cut off outside."""
    x = vae.decode(z / vae.config.scaling_factor + (vae.config.shift_factor or 0)).sample
    return (x / 2 + 0.5).clamp(0, 1)


def eight_bits(x):
    return (x[0].permute(1, 2, 0) * 255).round().byte().contiguous()


# ---- diffusers' own sampler ----

@torch.no_grad()
def sample(prompt, negative=None, weight=1.0):
    condition, opposite = hidden(prompt), hidden(negative) if negative is not None else None
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS))
    z = noise(SEED)
    for t in scheduler.timesteps:
        v = unet(z, t, encoder_hidden_states=condition).sample
        if opposite is not None:
            u = unet(z, t, encoder_hidden_states=opposite).sample
            v = u + weight * (v - u)
        z = scheduler.step(v, t, z).prev_sample
    return decode(z)


# ---- the identity encoder: a small reader of ONNX files, enough for what the training writes ----

class Onnx:
    def __init__(self, path):
        self.model = onnx.load(path)
        self.weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).astype(np.float32)) for t in self.model.graph.initializer}
        self.meta = {p.key: p.value for p in self.model.metadata_props}

    def __call__(self, x):
        size = int(self.meta['likeness.size'])
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode='bilinear', antialias=True)
        mean, std = (torch.tensor([float(v) for v in self.meta[k].split(',')]).reshape(1, -1, 1, 1) for k in ('likeness.mean', 'likeness.std'))
        values = dict(self.weights)
        values[self.model.graph.input[0].name] = (x - mean) / std
        for node in self.model.graph.node:
            a = {t.name: onnx.helper.get_attribute_value(t) for t in node.attribute}
            i = [values[n] for n in node.input]
            if node.op_type == 'Conv':
                assert a['pads'][:2] == a['pads'][2:]
                y = F.conv2d(i[0], i[1], i[2] if len(i) > 2 else None, a['strides'], a['pads'][:2], a['dilations'], a['group'])
            elif node.op_type == 'PRelu':
                y = F.prelu(i[0], i[1].flatten())
            elif node.op_type == 'Relu':
                y = i[0].relu()
            elif node.op_type == 'Add':
                y = i[0] + i[1]
            elif node.op_type == 'GlobalAveragePool':
                y = i[0].mean((2, 3), keepdim=True)
            elif node.op_type == 'Flatten':
                y = i[0].flatten(1)
            elif node.op_type == 'Gemm':
                assert a.get('transB', 0) == 1 and a.get('transA', 0) == 0
                y = F.linear(i[0], i[1], i[2] if len(i) > 2 else None)
            else:
                raise SystemExit(f'{node.op_type} is not known here')
            values[node.output[0]] = y
        return values[self.meta.get('likeness.embedding', self.model.graph.output[0].name)]


# ---- anchored guidance, reading A ----

def guide(prompt, reference):
    """z_0 frozen; z_k = segment_k(z_{k-1}) + o_k; o_k <- o_k - s h_{k-1} / max(1, |h_{k-1}|), h the gradients of
    L = 100 (1 - cos) at the starts of the segments; s = sqrt(D / 16384)."""
    encoder = Onnx(os.path.join(folder, 'identity_encoder.onnx'))
    condition, wanted = hidden(prompt), encoder(reference)
    z0 = noise(SEED)
    s = (z0.numel() / 16384) ** 0.5
    times = [1 - k / STEPS for k in range(STEPS + 1)]
    offset, likeness = [torch.zeros_like(z0) for _ in range(STEPS)], []
    for n in range(ITERATIONS + 1):
        starts, z = [], z0
        for k in range(STEPS):
            z = z.detach().requires_grad_(True) if k == 0 else z
            z.retain_grad()
            starts.append(z)
            v = unet(z, torch.tensor([1000.0 * times[k]]), encoder_hidden_states=condition).sample
            z = z + (times[k + 1] - times[k]) * v + offset[k]
        x = decode(z)
        cosine = F.cosine_similarity(encoder(x), wanted).squeeze()
        likeness.append(float(cosine.detach()))
        if n == ITERATIONS:
            return x.detach(), likeness
        (100 * (1 - cosine)).backward()
        for k in range(STEPS):
            h = starts[k].grad
            offset[k] = (offset[k] - s * h / max(1.0, float(h.norm()))).detach()


picture = torch.from_numpy(np.array(Image.open(reference_path).convert('RGB'))).permute(2, 0, 1)[None].float() / 255
side = unet.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)
picture = F.avg_pool2d(picture, picture.shape[-1] // side)
guided, likeness = guide(PROMPT, picture)
tensors = dict(plain=eight_bits(sample(PROMPT)), free=eight_bits(sample(PROMPT, NEGATIVE, FREE_WEIGHT)), guided=eight_bits(guided),
               likeness=torch.tensor(likeness))
seen = ''.join(hashlib.sha256(open(os.path.join(folder, f), 'rb').read()).hexdigest() for f in FILES)
os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
save_file(tensors, target, metadata=dict(weights=seen, prompt=PROMPT, negative=NEGATIVE, seed=str(SEED), weight=str(FREE_WEIGHT),
                                         iterations=str(ITERATIONS), reference=os.path.basename(reference_path)))
move = (tensors['guided'].int() - tensors['plain'].int()).abs().float().mean()
print(f'{target} {os.path.getsize(target) // 1024} KiB; likeness {" ".join(f"{c:.5f}" for c in likeness)}; guidance moves the picture by {move:.3f}/255')
