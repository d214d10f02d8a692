"""What diffusers' schedulers, and flows and PeRFlow by their formulas, make with the tiny model of tiny.py: whole trajectories
for tests/api/test_sampling.c, and five guided iterations through PeRFlow.

    python3 tests/reference/tiny_sampling.py       (torch 2.15, diffusers 0.42.1, transformers 5.24, onnx 1.23)

Writes tests/data/models/tiny_sampling.safetensors: for case N the latents "N" [steps + 1, 256], as metadata "N" (the scheduler's
config) and "N.request" (JSON: the parameters), and "guided.losses", "guided.norms", "guided.offsets" with "guided" and
"guided.request". Everything in double except the schedulers' own arithmetic. Not run by any test.
"""
import json, math, os
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler, UNet2DConditionModel)
from transformers import CLIPTextModel, CLIPTokenizer

import guided

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, '..', 'data', 'models', 'tiny')
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
torch.set_num_threads(1)
load = lambda kind, name: kind.from_pretrained(os.path.join(TINY, name), torch_dtype=torch.float32).double().eval().requires_grad_(False)
tokenizer, text = CLIPTokenizer.from_pretrained(os.path.join(TINY, 'tokenizer')), load(CLIPTextModel, 'text_encoder')
unet, vae = load(UNet2DConditionModel, 'unet'), load(AutoencoderKL, 'vae')
tensors, notes = {}, {}


def features(t):  # in double, where diffusers uses f32
    h = unet.config.block_out_channels[0] // 2
    angle = t[:, None].double() * torch.exp(-math.log(10000.0) * torch.arange(h, dtype=torch.float64) / (h - unet.config.freq_shift))
    return torch.cat([angle.cos(), angle.sin()] if unet.config.flip_sin_to_cos else [angle.sin(), angle.cos()], 1)


unet.time_proj.forward = features


def hidden(parts, clip_skip=1):
    """parts: [(words, weight), ...], each tokenized alone."""
    ids, weights = [tokenizer.bos_token_id], [1.0]
    for words, weight in parts:
        more = tokenizer(words, add_special_tokens=False).input_ids
        ids += more
        weights += [weight] * len(more)
    ids += [tokenizer.eos_token_id] * (77 - len(ids))
    weights = torch.tensor(weights + [1.0] * (77 - len(weights))).double()
    out = text(input_ids=torch.tensor([ids]), output_hidden_states=True)
    final = text.text_model.final_layer_norm if hasattr(text, 'text_model') else text.final_layer_norm
    z = final(out.hidden_states[-clip_skip])
    weighted = z * weights[None, :, None]
    return weighted * (z.mean() / weighted.mean()) if weighted.mean().abs() > 1e-3 * weighted.abs().mean() else weighted


class Network:
    def __init__(self, words=(('red person on a hill', 1.0),), weight=3.0, clip_skip=1):
        self.prompt, self.negative, self.weight = hidden(words, clip_skip), hidden((('rain', 1.0),), clip_skip), weight

    def __call__(self, z, t):
        t = torch.tensor([float(t)]).double()
        m = unet(z.double(), t, encoder_hidden_states=self.prompt).sample
        if self.weight != 1:
            u = unet(z.double(), t, encoder_hidden_states=self.negative).sample
            m = u + self.weight * (m - u)
        return m


def noise_and_generator():
    generator = torch.Generator('cpu').manual_seed(7)
    return torch.randn(1, 4, 8, 8, generator=generator), generator


def picture_latent():
    rgb = torch.tensor([(37 * i) % 256 for i in range(16 * 16 * 3)]).double().reshape(16, 16, 3).permute(2, 0, 1)[None] / 255
    mean = vae.encode(2 * rgb - 1).latent_dist.mean
    return (mean - vae.config.shift_factor) * vae.config.scaling_factor


def add(config, trajectory, **request):
    n = str(len(notes) // 2)
    tensors[n] = torch.stack([z.detach().flatten() for z in trajectory]).float().contiguous()
    notes[n], notes[n + '.request'] = config, json.dumps(request)
    print(n, json.loads(config)['_class_name'], request, tensors[n].abs().max().item())


def run(scheduler, steps, network=None, strength=0.0, **request):
    network = network or Network(weight=request.get('cfg', 3.0))
    noise, generator = noise_and_generator()
    scheduler.set_timesteps(steps)
    first = max(steps - min(int(steps * strength), steps), 0) if strength else 0
    times = scheduler.timesteps[first:]
    if hasattr(scheduler, 'set_begin_index'):
        scheduler.set_begin_index(first)
    z = scheduler.add_noise(picture_latent().float(), noise, times[:1]) if strength else noise * scheduler.init_noise_sigma
    trajectory = [z]
    for t in times:
        m = network(scheduler.scale_model_input(z, t), t).float()
        kind = {} if isinstance(scheduler, (DDIMScheduler, EulerDiscreteScheduler)) else {'generator': generator}
        z = scheduler.step(m, t, z, **kind).prev_sample
        trajectory.append(z)
    add(scheduler.to_json_string(), trajectory, steps=steps, strength=strength, **{'cfg': 3.0, **request})


def flow(steps, shift=1.0, sign=1, **request):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    t, z, network = scheduler.sigmas.double(), noise_and_generator()[0].double(), Network()
    trajectory = [z]
    for i in range(steps):
        z = z + sign * (t[i + 1] - t[i]) * network(z, 1000 * t[i])
        trajectory.append(z)
    add(scheduler.to_json_string(), trajectory, steps=steps, strength=0.0, cfg=3.0, **request)


class PeRFlow:
    """Four windows, one step each: e = lambda z + eta eps, or the velocity times the window's length."""

    def __init__(self, kind, network):
        root = np.sqrt(0.00085) + np.arange(1000) / 999 * (np.sqrt(0.012) - np.sqrt(0.00085))
        self.kept, self.kind, self.network = np.cumprod(1 - root ** 2), kind, network
        self.config = json.dumps({'_class_name': 'PeRFlowScheduler', 'num_train_timesteps': 1000, 'set_alpha_to_one': False, 't_clean': 0,
                                  't_noise': 1, 'num_time_windows': 4, 'prediction_type': kind, 'trained_betas': None, **SD})

    def segment(self, z, k):
        start, end = 1 - k / 4, 1 - (k + 1) / 4
        output = self.network(z, 1000 * start)
        if self.kind == 'velocity':
            return z + (end - start) * output
        a_s, a_e = self.kept[round(1000 * start) - 1], self.kept[max(round(1000 * end) - 1, 0)]
        if self.kind == 'diff_eps':
            gamma = math.sqrt(a_s / a_e)
            return z / gamma - math.sqrt(1 - gamma ** 2) / gamma * output
        return math.sqrt(a_e / a_s) * z + (math.sqrt(1 - a_e) - math.sqrt(a_e / a_s * (1 - a_s))) * output


def perflow(kind):
    p, z = PeRFlow(kind, Network()), noise_and_generator()[0].double()
    trajectory = [z]
    for k in range(4):
        z = p.segment(z, k)
        trajectory.append(z)
    add(p.config, trajectory, steps=4, strength=0.0, cfg=3.0)


def guided_case(kind, iterations=5):
    """Anchored guidance as the paper has it, through PeRFlow's segments, by autograd."""
    p, noise = PeRFlow(kind, Network()), noise_and_generator()[0].double()
    encoder = guided.Encoder(os.path.join(TINY, 'identity_encoder.onnx'))
    rgb = torch.tensor([(53 * i + i // 7) % 256 for i in range(16 * 16 * 3)]).double().reshape(16, 16, 3).permute(2, 0, 1)[None] / 255
    target, scale = encoder(rgb), math.sqrt(noise.numel() / 16384)
    offset, losses, norms, sizes = [torch.zeros_like(noise) for _ in range(4)], [], [], []
    for i in range(iterations + 1):
        sizes.append([o.norm().item() for o in offset])
        z, ends = noise, []
        for k in range(4):
            z = z.detach().requires_grad_(True)
            ends.append((z, p.segment(z, k)))
            z = ends[-1][1] + offset[k]
        z = z.detach().requires_grad_(True)
        decoded = vae.decode(z / vae.config.scaling_factor + vae.config.shift_factor).sample / 2 + 0.5
        loss = 100 * (1 - F.cosine_similarity(encoder(decoded.clamp(0, 1)), target).sum())
        losses.append(loss.item())
        gradient, = torch.autograd.grad(loss, z)
        pulled = [None] * 4
        for k in reversed(range(4)):
            gradient, = torch.autograd.grad(ends[k][1], ends[k][0], gradient)
            pulled[k] = gradient
        norms.append([g.norm().item() for g in pulled])
        offset = [o - scale * g / max(1.0, g.norm().item()) for o, g in zip(offset, pulled)]
    tensors['guided.losses'], tensors['guided.norms'] = torch.tensor(losses), torch.tensor(norms)
    tensors['guided.offsets'] = torch.tensor(sizes)
    notes['guided'] = p.config
    print('guided', losses, norms[0], sizes[-1])


ddim = lambda **more: DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **SD, **more)
run(ddim(), 4)
run(EulerDiscreteScheduler(prediction_type='v_prediction', timestep_spacing='leading', steps_offset=1, **SD), 4)
run(EulerAncestralDiscreteScheduler(**SD), 4)
run(DPMSolverMultistepScheduler(use_karras_sigmas=True, **SD), 5)
run(DPMSolverMultistepScheduler(prediction_type='v_prediction', **SD), 5)
run(LCMScheduler(), 3, cfg=1.0)
flow(3, 1.5)
flow(4, sign=-1, prediction='instaflow')
perflow('diff_eps'), perflow('ddim_eps'), perflow('velocity')
run(ddim(), 5, strength=0.6)
run(EulerAncestralDiscreteScheduler(**SD), 5, strength=0.5)
words = (('a ', 1.0), ('red', 1.4), (' person ', 1.0), ('on a hill', 1 / 1.1), (' (1)', 1.0))
run(EulerDiscreteScheduler(**SD), 3, Network(words), prompt='a (red:1.4) person [on a hill] \\(1\\)')
run(EulerDiscreteScheduler(**SD), 3, Network(clip_skip=2), clip_skip=2)
guided_case('diff_eps')
out = os.path.join(HERE, '..', 'data', 'models', 'tiny_sampling.safetensors')
save_file({k: v.float().contiguous() for k, v in tensors.items()}, out, metadata=notes)
print(os.path.getsize(out), 'bytes')
