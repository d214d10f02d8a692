"""What diffusers and an independent PyTorch loop make with a model folder: unguided pictures and a few iterations of
anchored guidance, for tests/api.

    python3 tests/reference/guided.py assets/cameo tests/data/models/cameo/guided.safetensors
                                       (torch 2.15, diffusers 0.42.1, transformers 5.24, onnx 1.23)

Written from the paper's description; autograd does the backward passes, everything in double. tiny.py uses it too. The
case remembers which weights it belongs to: to be made anew when they change. Not run by any test.
"""
import hashlib, json, os, sys
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save_file
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = ('text_encoder/model.safetensors', 'unet/diffusion_pytorch_model.safetensors', 'vae/diffusion_pytorch_model.safetensors',
         'identity_encoder.onnx', 'judge.onnx')


class Encoder:
    """An ONNX file of plain operations, run by torch; preprocessing from its metadata."""

    def __init__(self, path):
        model = onnx.load(path)
        meta = {p.key: p.value for p in model.metadata_props}
        numbers = lambda k: torch.tensor([float(v) for v in meta.get(k, '0.5').split(',')]).double().reshape(1, -1, 1, 1)
        self.size = int(meta.get('likeness.size', model.graph.input[0].type.tensor_type.shape.dim[2].dim_value))
        self.mean, self.std = numbers('likeness.mean'), numbers('likeness.std')
        assert meta.get('likeness.channels', 'RGB') == 'RGB'
        self.nodes, self.input, self.output = model.graph.node, model.graph.input[0].name, meta.get('likeness.embedding', model.graph.output[0].name)
        self.weights = {w.name: torch.tensor(numpy_helper.to_array(w)).double() for w in model.graph.initializer}

    def __call__(self, x):
        """x: [N,3,H,W] in 0..1"""
        if x.shape[-1] != self.size or x.shape[-2] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode='bilinear', antialias=True, align_corners=False)
        values = {**self.weights, self.input: (x - self.mean) / self.std}
        for node in self.nodes:
            a = {p.name: onnx.helper.get_attribute_value(p) for p in node.attribute}
            v = [values[name] for name in node.input]
            values[node.output[0]] = getattr(self, node.op_type)(a, *v)
        return values[self.output]

    def Conv(self, a, x, w, b=None):
        assert a['pads'][:2] == a['pads'][2:]
        return F.conv2d(x, w, b, a['strides'], a['pads'][:2], a['dilations'], a['group'])

    def BatchNormalization(self, a, x, scale, shift, mean, variance):
        return F.batch_norm(x, mean, variance, scale, shift, eps=a['epsilon'])

    def PRelu(self, a, x, slope): return torch.where(x < 0, x * slope, x)
    def Relu(self, a, x): return x.relu()
    def Add(self, a, x, y): return x + y
    def Flatten(self, a, x): return x.flatten(a['axis'])
    def Gemm(self, a, x, w, b=0): return x @ (w.T if a.get('transB') else w) + b
    def AveragePool(self, a, x): return F.avg_pool2d(x, a['kernel_shape'], a['strides'])
    def MaxPool(self, a, x): return F.max_pool2d(x, a['kernel_shape'], a['strides'])
    def GlobalAveragePool(self, a, x): return x.mean((2, 3), keepdim=True)


def load(folder, prompt, negative, seed):
    """The model's parts as functions on tensors in double."""
    part = lambda name: os.path.join(folder, name)
    open_part = lambda kind, name: kind.from_pretrained(part(name), torch_dtype=torch.float32).double().eval().requires_grad_(False)
    tokenizer, text = CLIPTokenizer.from_pretrained(part('tokenizer')), open_part(CLIPTextModel, 'text_encoder')
    unet, vae = open_part(UNet2DConditionModel, 'unet'), open_part(AutoencoderKL, 'vae')
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(part('scheduler'))
    steps = json.load(open(part('model_index.json')))['likeness']['steps']
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    times = [float(s) for s in scheduler.sigmas.double()]

    def features(t):  # in double, where diffusers uses f32
        h = unet.config.block_out_channels[0] // 2
        angle = t[:, None].double() * torch.exp(-np.log(10000.0) * torch.arange(h, dtype=torch.float64) / (h - unet.config.freq_shift))
        return torch.cat([angle.cos(), angle.sin()] if unet.config.flip_sin_to_cos else [angle.sin(), angle.cos()], 1)

    unet.time_proj.forward = features

    def hidden(words):
        ids = tokenizer(words, padding='max_length', max_length=77, truncation=True, return_tensors='pt').input_ids
        return text(input_ids=ids).last_hidden_state

    with_prompt, without = hidden(prompt), hidden(negative)

    def segment(z, k, weight):
        t = torch.tensor([times[k] * 1000], dtype=torch.float64)
        v = unet(z, t, encoder_hidden_states=with_prompt).sample
        if weight != 1:
            u = unet(z, t, encoder_hidden_states=without).sample
            v = u + weight * (v - u)
        return z + (times[k + 1] - times[k]) * v

    def decode(z):
        return vae.decode(z / vae.config.scaling_factor + vae.config.shift_factor).sample / 2 + 0.5

    channels, side = unet.config.in_channels, unet.config.sample_size
    noise = torch.randn(1, channels, side, side, generator=torch.Generator('cpu').manual_seed(seed)).double()
    return steps, noise, segment, decode


def guide(steps, noise, segment, decode, loss_of, iterations):
    """Losses, gradient norms and the last picture of the anchored iteration; loss_of takes a picture in 0..1."""
    offset, losses, norms = [torch.zeros_like(noise) for _ in range(steps)], [], []
    scale = (noise.numel() / 16384) ** 0.5
    for i in range(iterations + 1):
        starts, z = [], noise
        for k in range(steps):
            z = z.detach().requires_grad_(True)
            starts.append((z, segment(z, k, 1)))
            z = starts[-1][1] + offset[k]
        final = z.detach().requires_grad_(True)
        picture = decode(final)
        loss = loss_of(picture.clamp(0, 1))
        losses.append(loss.item())
        gradient, = torch.autograd.grad(loss, final)
        pulled = [None] * steps
        for k in reversed(range(steps)):
            gradient, = torch.autograd.grad(starts[k][1], starts[k][0], gradient)
            pulled[k] = gradient
        norms.append([g.norm().item() for g in pulled])
        if i < iterations:
            offset = [o - scale * g / max(1.0, g.norm().item()) for o, g in zip(offset, pulled)]
    return losses, norms, picture


def make_case(folder, target, prompt, negative, seed=7, iterations=3, sample='micah.png'):
    part = lambda name: os.path.join(folder, name)
    encoder, judge = Encoder(part('identity_encoder.onnx')), Encoder(part('judge.onnx'))
    steps, noise, segment, decode = load(folder, prompt, negative, seed)
    pictures = {}
    for weight in (1, 3):
        z = noise
        for k in range(steps):
            z = segment(z, k, weight)
        pictures[f'unguided_{weight}'] = decode(z)
    size = pictures['unguided_1'].shape[-1]
    reference = np.asarray(Image.open(os.path.join(HERE, '..', '..', 'assets', 'samples', sample)).convert('RGB'))
    n = reference.shape[0] // size                     # the mean of what lies under each pixel
    x = torch.tensor(reference / 255).reshape(size, n, size, n, 3).mean((1, 3)).permute(2, 0, 1)[None]
    target_embedding = encoder(x)
    loss_of = lambda picture: 100 * (1 - F.cosine_similarity(encoder(picture), target_embedding).sum())
    losses, norms, picture = guide(steps, noise, segment, decode, loss_of, iterations)
    print('losses', losses, 'gradient norms', norms)
    for name, value in pictures.items():
        print(name, value.min().item(), value.max().item(), value.std().item())
    score = F.cosine_similarity(judge((picture.clamp(0, 1) * 255).round() / 255), judge(x))
    pictures['guided'] = picture
    if size > 64:                                      # a fixture of half the size; 0.1 of 255 is not what the test looks for
        pictures = {k: v.half() for k, v in pictures.items()}
    tensors = dict(pictures, losses=torch.tensor(losses), norms=torch.tensor(norms), judge=score)
    seen = ''.join(hashlib.sha256(open(part(f), 'rb').read()).hexdigest()[:16] for f in FILES)
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    save_file({k: (v if v.dtype == torch.float16 else v.float()).detach().contiguous() for k, v in tensors.items()}, target,
              metadata={'prompt': prompt, 'negative': negative, 'seed': str(seed), 'weights': seen})


if __name__ == '__main__':
    torch.set_num_threads(1)
    make_case(sys.argv[1], sys.argv[2], 'micah portrait of a person, smile expression, red background', 'glasses')
