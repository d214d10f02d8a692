# flow.py: trains the teacher, a text-conditioned rectified flow on the autoencoder's latents.
#
#   caption --some phrases dropped--> 77 ids --CLIPTextModel--> [77,128] --cross attention--> UNet2DConditionModel
#   x_t = (1-t) x0 + t eps,   the network is fed 1000 t and learns   v = eps - x0   (t = 1 noise, t = 0 data)
#
# Style and background always stay in a caption, each other phrase goes with probability 0.3 (a dropped person becomes
# "of a person" half of the time, as users write it), the whole caption with 0.1 for classifier-free guidance.  All 77
# hidden states are seen, padding too, without a mask: as at inference.
#
# Matrices are stepped by orthogonalised momentum (Muon: the momentum's polar factor, by a quintic Newton-Schulz
# iteration), which needs far fewer steps than AdamW here; vectors, embeddings and the outer convolutions by AdamW.
#
# State: WORK/teacher.pt, averaged weights inside.  Samples: WORK/teacher.png.

import json
import os

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel

import data
import fastnorm
from tokenizer import Tokenizer

UNET = dict(sample_size=16, in_channels=16, out_channels=16, block_out_channels=[80, 160, 160],
            down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'], mid_block_type='UNetMidBlock2DCrossAttn',
            up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], layers_per_block=1,
            cross_attention_dim=128, attention_head_dim=5, transformer_layers_per_block=1, norm_num_groups=16,
            flip_sin_to_cos=True, freq_shift=0)          # attention_head_dim is the number of heads in this class


def build(tokenizer_folder):
    with open(os.path.join(tokenizer_folder, 'vocab.json'), encoding='utf-8') as f:
        ids = json.load(f)
    config = CLIPTextConfig(vocab_size=len(ids), hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
                            max_position_embeddings=77, hidden_act='quick_gelu', projection_dim=128,
                            bos_token_id=ids['<|startoftext|>'], eos_token_id=ids['<|endoftext|>'], pad_token_id=ids['<|endoftext|>'])
    return UNet2DConditionModel(**UNET), CLIPTextModel(config)


def make_fast(unet, text):
    """Same mathematics, faster on a CPU: channels last, fused norms, plain attention (sequences are short)."""
    unet.to(memory_format=torch.channels_last)
    fastnorm.install(unet)
    unet.set_attn_processor(AttnProcessor())
    text.config._attn_implementation = 'eager'
    return unet, text


def load_average(state, unet, text):
    for p, m in zip([*unet.parameters(), *text.parameters()], state['average']['mean']):
        p.data.copy_(m)


def load_folder(folder, unet, text):
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(folder, subfolder='unet').float().state_dict())
    text.load_state_dict(CLIPTextModel.from_pretrained(os.path.join(folder, 'text_encoder')).float().state_dict())


# ---- data -----------------------------------------------------------------------------------------------------------

def load_autoencoder(args):
    return AutoencoderKL.from_pretrained(os.path.join(args.work, 'autoencoder')).float().to(memory_format=torch.channels_last)


def latents(args, split):
    """Scaled latent means, f16 [N,16,16,16]."""
    path = os.path.join(args.work, f'latents_{split}.npy')
    if not os.path.exists(path):
        model, pictures, out = load_autoencoder(args), data.pixels(args, split), []
        fastnorm.install(model)
        for i in range(0, len(pictures), 64):
            x = data.to_tensor(pictures[i:i + 64]).contiguous(memory_format=torch.channels_last)
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
                z = model.encode(x).latent_dist.mean.float()
            out.append(((z - model.config.shift_factor) * model.config.scaling_factor).half().numpy())
        with open(path + '.tmp', 'wb') as f:
            np.save(f, np.concatenate(out))
        os.replace(path + '.tmp', path)
    return np.load(path)


@torch.no_grad()
def decode(autoencoder, z, batch=16):
    z = z.float() / autoencoder.config.scaling_factor + autoencoder.config.shift_factor
    return np.concatenate([data.to_uint8(autoencoder.decode(part.contiguous(memory_format=torch.channels_last)).sample)
                           for part in z.split(batch)])


def dropped(phrases, random):
    """A caption as a user might write it: fewer phrases, or nothing at all."""
    if random.random() < 0.1:
        return ''
    keep = {k: random.random() >= 0.3 for k in phrases}
    if not keep.get('person', True) and random.random() < 0.5:
        phrases, keep = dict(phrases, person='of a person'), dict(keep, person=True)
    return data.caption(phrases, keep.get)


class Batches:
    def __init__(self, args, tokenizer, count):
        self.z, self.table = latents(args, 'characters_train'), data.rows(args, 'characters_train')
        self.tokenizer, self.count, self.order = tokenizer, count, np.empty(0, int)
        self.random = np.random.default_rng()

    def next(self):
        if len(self.order) < self.count:
            self.order = np.concatenate([self.order, self.random.permutation(len(self.z))])
        at, self.order = self.order[:self.count], self.order[self.count:]
        ids = self.tokenizer.batch([dropped(self.table[i]['phrases'], self.random) for i in at])
        return torch.from_numpy(self.z[at]).float(), torch.from_numpy(ids)


def times(count):
    """Mostly logit-normal (the middle is hardest), a fifth uniform (both ends are used too)."""
    middle = torch.sigmoid(torch.randn(count))
    return torch.where(torch.rand(count) < 0.2, torch.rand(count), middle)


# ---- optimiser ------------------------------------------------------------------------------------------------------

def polar_factor(m):
    """The nearest (semi-)orthogonal matrices of a stack [n,rows,columns], roughly: singular values come out in 0.7 .. 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m.bfloat16()
    wide = x if x.shape[1] <= x.shape[2] else x.transpose(1, 2)
    wide = wide / (wide.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(5):
        g = wide @ wide.transpose(1, 2)
        wide = a * wide + (b * g + c * g @ g) @ wide
    return (wide if x.shape[1] <= x.shape[2] else wide.transpose(1, 2)).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group['params']:
                if p.grad is None:
                    continue
                state = self.state[p]
                if 'momentum' not in state:
                    state['momentum'] = torch.zeros_like(p)
                state['momentum'].lerp_(p.grad, 1 - group['momentum'])
                update = p.grad.lerp(state['momentum'], group['momentum'])
                shapes.setdefault((p.shape[0], p.numel() // p.shape[0]), []).append((p, update))
            for (rows, columns), items in shapes.items():
                factors = polar_factor(torch.stack([u.reshape(rows, columns) for _, u in items]))
                size = 0.2 * max(rows, columns) ** 0.5            # an update's root mean square is then about 0.2 lr, as Adam's
                for (p, _), f in zip(items, factors):
                    p.mul_(1 - group['lr'] * group['weight_decay'])
                    p.add_(f.reshape(p.shape), alpha=-group['lr'] * size)


def optimisers(unet, text, matrix_rate, vector_rate, muon=True):
    outer = {'conv_in.weight', 'conv_out.weight', 'embeddings.token_embedding.weight', 'embeddings.position_embedding.weight'}
    matrices, vectors = [], []
    for module in (unet, text):
        for name, p in module.named_parameters():
            known = name.removeprefix('text_model.')
            (matrices if muon and p.dim() > 1 and known not in outer else vectors).append(p)
    adam = torch.optim.AdamW(vectors, lr=vector_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    made = [(adam, vector_rate)]
    if matrices:
        made.append((Muon(matrices, lr=matrix_rate, weight_decay=0.01), matrix_rate))
    return made


# ---- sampling -------------------------------------------------------------------------------------------------------

@torch.no_grad()
def velocity(unet, text_states, x, t, guidance, empty_states):
    n = len(x)
    with torch.autocast('cpu', torch.bfloat16):
        if guidance == 1:
            return unet(x, torch.full((n,), 1000.0 * t), text_states).sample.float()
        both = torch.cat([text_states, empty_states.expand(n, -1, -1)])
        v, empty = unet(torch.cat([x, x]), torch.full((2 * n,), 1000.0 * t), both).sample.float().chunk(2)
    return empty + guidance * (v - empty)


@torch.no_grad()
def sample(unet, text, tokenizer, prompts, steps, guidance, seed=0, keep=(), noise=None):
    """Euler from t = 1 to 0; returns the latents, and those at the times in keep."""
    states = text(torch.from_numpy(tokenizer.batch(prompts))).last_hidden_state
    empty = text(torch.from_numpy(tokenizer.batch(['']))).last_hidden_state
    x = noise if noise is not None else torch.randn(len(prompts), 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    x, kept = x.contiguous(memory_format=torch.channels_last), {}
    for k in range(steps):
        t = 1 - k / steps
        if t in keep:
            kept[t] = x
        x = x - velocity(unet, states, x, t, guidance, empty) / steps
    return (x, kept) if keep else x


# ---- training -------------------------------------------------------------------------------------------------------

def flow_loss(unet, text, x0, ids, t, noise):
    shape = t[:, None, None, None]
    x = ((1 - shape) * x0 + shape * noise).contiguous(memory_format=torch.channels_last)
    with torch.autocast('cpu', torch.bfloat16):
        v = unet(x, 1000 * t, text(ids).last_hidden_state).sample
    return (v.float() - (noise - x0)).square().mean()


class Validation:
    """Velocity error on unseen people, with fixed times and noise."""

    def __init__(self, args, tokenizer, count=144):
        z, table = latents(args, 'characters_val'), data.rows(args, 'characters_val')
        at = np.linspace(0, len(z) - 1, count).astype(int)
        self.z, self.ids = torch.from_numpy(z[at]).float(), torch.from_numpy(tokenizer.batch([table[i]['text'] for i in at]))
        g = torch.Generator().manual_seed(1)
        self.noise, self.t = torch.randn(self.z.shape, generator=g), (torch.arange(count) * 37 % count + 0.5) / count

    @torch.no_grad()
    def error(self, unet, text):
        return float(flow_loss(unet, text, self.z, self.ids, self.t, self.noise))


def pictures_of(args, unet, text, tokenizer, path, steps, guidance):
    with open(os.path.join(args.data, 'eval', 'text_to_image.jsonl'), encoding='utf-8') as f:
        prompts = [json.loads(line)['prompt'] for line in f][:9 if args.smoke else 36]
    z = sample(unet, text, tokenizer, prompts, steps, guidance, seed=5)
    data.sheet(decode(load_autoencoder(args), z), 9, path)


def main():
    p = data.parser('teacher', 55)
    p.add_argument('--batch', type=int, default=64)
    p.add_argument('--matrix-rate', type=float, default=2e-3)
    p.add_argument('--vector-rate', type=float, default=1e-3)
    p.add_argument('--adam', action='store_true', help='AdamW for everything')
    p.add_argument('--stop-at', type=float, default=1e9, help='stop after this many minutes, the schedule unfinished')
    p.add_argument('--name', default='teacher')
    args = data.setup(p.parse_args())
    tokenizer = Tokenizer(os.path.join(args.work, 'tokenizer'))
    unet, text = make_fast(*build(os.path.join(args.work, 'tokenizer')))
    path, step, used = os.path.join(args.work, args.name + '.pt'), 0, 0.0
    if args.init_from and not os.path.exists(path):
        load_folder(args.init_from, unet, text)
    made = optimisers(unet, text, args.matrix_rate, args.vector_rate, not args.adam)
    average = data.Average([unet, text], 0.999)
    state = data.load_state(path)
    if state:
        unet.load_state_dict(state['unet'])
        text.load_state_dict(state['text'])
        for (o, _), s in zip(made, state['optimisers']):
            o.load_state_dict(s)
        average.load(state['average'])
        step, used = state['step'], state['used']
    validation, feed = Validation(args, tokenizer), data.InBackground(Batches(args, tokenizer, args.batch).next)
    clock, checked, mean = data.Clock(args.minutes, used), used, None
    torch.manual_seed(args.seed + step)
    data.log(args, args.name, f'start at step {step}, {used / 60:.1f} of {args.minutes} minutes used, '
             f'{sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M + {sum(p.numel() for p in text.parameters()) / 1e6:.2f} M parameters')

    def store():
        data.save_state(path, {'unet': unet.state_dict(), 'text': text.state_dict(), 'optimisers': [o.state_dict() for o, _ in made],
                               'average': average.state(), 'step': step, 'used': clock.used, 'guidance': 3.0})

    while clock.tick() < 1 and clock.used < 60 * args.stop_at:
        fraction = clock.used / clock.total
        for o, peak in made:
            for group in o.param_groups:
                group['lr'] = data.learning_rate(fraction, peak, warmup=0.01)
        x0, ids = feed.next()
        loss = flow_loss(unet, text, x0, ids, times(len(x0)), torch.randn_like(x0))
        for o, _ in made:
            o.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(average.parameters, 1.0)
        for o, _ in made:
            o.step()
        average.update()
        step += 1
        now = float(loss.detach())
        mean = now if mean is None else 0.98 * mean + 0.02 * now
        if clock.log_due():
            data.log(args, args.name, f'step {step} {100 * fraction:.1f} % loss {mean:.4f}')
        if clock.used - checked > 180:
            checked = clock.used
            average.swap()
            data.log(args, args.name, f'step {step} validation {validation.error(unet, text):.5f}')
            average.swap()
        if clock.save_due():
            store()
    store()
    average.swap()
    data.log(args, args.name, f'stop at step {step}, validation {validation.error(unet, text):.5f}')
    pictures_of(args, unet, text, tokenizer, os.path.join(args.work, args.name + '.png'), 16, 3.0)


if __name__ == '__main__':
    main()
