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
import ranks
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


def make_fast(args, unet, text):
    """Moves to the device. Same mathematics, faster: channels last; on a CPU fused norms and plain attention (sequences are short)."""
    unet.to(args.device, memory_format=torch.channels_last)
    text.to(args.device)
    if not args.gpu:
        fastnorm.install(unet)
        unet.set_attn_processor(AttnProcessor())
        text.config._attn_implementation = 'eager'
    return unet, text


def load_average(state, unet, text):
    for p, m in zip([*unet.parameters(), *text.parameters()], state['average']['mean']):
        p.data.copy_(m.to(p.device))


def load_folder(folder, unet, text):
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(folder, subfolder='unet').float().state_dict())
    text.load_state_dict(CLIPTextModel.from_pretrained(os.path.join(folder, 'text_encoder')).float().state_dict())


# ---- data -----------------------------------------------------------------------------------------------------------

def load_autoencoder(args):
    folder = os.path.join(args.work, 'autoencoder')
    return AutoencoderKL.from_pretrained(folder).float().to(args.device, memory_format=torch.channels_last)


def latents(args, split):
    """Scaled latent means, f16 [N,16,16,16]."""
    path = os.path.join(args.work, f'latents_{split}.npy')
    if not os.path.exists(path):
        model, pictures, out = load_autoencoder(args), data.pixels(args, split), []
        if not args.gpu:
            fastnorm.install(model)
        for i in range(0, len(pictures), 64):
            with torch.no_grad(), data.half_precision(args):
                z = model.encode(data.to_tensor(pictures[i:i + 64], args.device)).latent_dist.mean.float()
            out.append(((z - model.config.shift_factor) * model.config.scaling_factor).half().cpu().numpy())
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


VARIANTS = 24                    # captions of a picture that are drawn beforehand for a GPU, which is faster than the tokenizer


def caption_ids(args, seed=0):
    """int16 [VARIANTS,N,77]: captions with phrases dropped, made once."""
    path = os.path.join(args.work, 'captions.npy')
    if not os.path.exists(path):
        tokenizer, table = Tokenizer(os.path.join(args.work, 'tokenizer')), data.rows(args, 'characters_train')
        random, out = np.random.default_rng(seed), np.empty((VARIANTS, len(table), 77), np.int16)
        for i, row in enumerate(table):
            out[:, i] = tokenizer.batch([dropped(row['phrases'], random) for _ in range(VARIANTS)])
        with open(path + '.tmp', 'wb') as f:
            np.save(f, out)
        os.replace(path + '.tmp', path)
    return np.load(path)


class Batches:
    """Latents and token ids, every picture once before any comes again."""

    def __init__(self, args, tokenizer, count):
        self.args, self.tokenizer, self.count, self.order = args, tokenizer, count, torch.empty(0, dtype=torch.long)
        self.z, self.table = torch.from_numpy(latents(args, 'characters_train')).to(args.device), data.rows(args, 'characters_train')
        self.ids = torch.from_numpy(caption_ids(args)).to(args.device) if args.gpu else None
        self.random = np.random.default_rng()

    def next(self):
        while len(self.order) < self.count:
            self.order = torch.cat([self.order, torch.randperm(len(self.z))])
        at, self.order = self.order[:self.count], self.order[self.count:]
        if self.args.gpu:
            at = at.to(self.args.device)
            return self.z[at].float(), self.ids[torch.randint(VARIANTS, at.shape, device=at.device), at].long()
        ids = self.tokenizer.batch([dropped(self.table[i]['phrases'], self.random) for i in at.tolist()])
        return self.z[at].float(), torch.from_numpy(ids)


def times(count, device):
    """Mostly logit-normal (the middle is hardest), a fifth uniform (both ends are used too)."""
    middle = torch.sigmoid(torch.randn(count, device=device))
    return torch.where(torch.rand(count, device=device) < 0.2, torch.rand(count, device=device), middle)


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
def velocity(args, unet, text_states, x, t, guidance, empty_states):
    n = len(x)
    with data.half_precision(args):
        if guidance == 1:
            return unet(x, torch.full((n,), 1000.0 * t, device=x.device), text_states).sample.float()
        both = torch.cat([text_states, empty_states.expand(n, -1, -1)])
        v, empty = unet(torch.cat([x, x]), torch.full((2 * n,), 1000.0 * t, device=x.device), both).sample.float().chunk(2)
    return empty + guidance * (v - empty)


@torch.no_grad()
def sample(args, unet, text, ids, empty, steps, guidance, noise, keep=(), second_order=False):
    """From t = 1 to 0 with token ids [N,77] and those of no caption [1,77]; returns the latents, and those at the times in keep.

    Euler, or with second_order the two-step Adams-Bashforth rule after one Euler step: as many calls, a much smaller error."""
    states, empty = (text(i.to(args.device)).last_hidden_state for i in (ids, empty))
    x, kept, last = noise.to(args.device).contiguous(memory_format=torch.channels_last), {}, None
    for k in range(steps):
        t = 1 - k / steps
        if t in keep:
            kept[t] = x
        v = velocity(args, unet, states, x, t, guidance, empty)
        x = x - (v if last is None else 1.5 * v - 0.5 * last) / steps
        last = v if second_order else None
    return (x, kept) if keep else x


def sample_prompts(args, unet, text, tokenizer, prompts, steps, guidance, noise=None):
    if noise is None:
        noise = torch.randn(len(prompts), 16, 16, 16, generator=torch.Generator().manual_seed(5))
    ids, empty = (torch.from_numpy(tokenizer.batch(p)) for p in (prompts, ['']))
    return sample(args, unet, text, ids, empty, steps, guidance, noise)


# ---- training -------------------------------------------------------------------------------------------------------

def flow_loss(args, unet, text, x0, ids, t, noise):
    shape = t[:, None, None, None]
    x = ((1 - shape) * x0 + shape * noise).contiguous(memory_format=torch.channels_last)
    with data.half_precision(args):
        v = unet(x, 1000 * t, text(ids).last_hidden_state).sample
    return (v.float() - (noise - x0)).square().mean()


class Validation:
    """Velocity error on unseen people, with fixed times and noise."""

    def __init__(self, args, tokenizer, count=144):
        z, table = latents(args, 'characters_val'), data.rows(args, 'characters_val')
        at = np.linspace(0, len(z) - 1, count).astype(int)
        g = torch.Generator().manual_seed(1)
        ids = torch.from_numpy(tokenizer.batch([table[i]['text'] for i in at]))
        noise, t = torch.randn(count, *z.shape[1:], generator=g), (torch.arange(count) * 37 % count + 0.5) / count
        self.args, self.held = args, [v.to(args.device) for v in (torch.from_numpy(z[at]).float(), ids, t, noise)]

    @torch.no_grad()
    def error(self, unet, text):
        return float(flow_loss(self.args, unet, text, *self.held))


def pictures_of(args, unet, text, tokenizer, path, steps, guidance):
    with open(os.path.join(args.data, 'eval', 'text_to_image.jsonl'), encoding='utf-8') as f:
        prompts = [json.loads(line)['prompt'] for line in f][:9 if args.smoke else 36]
    z = sample_prompts(args, unet, text, tokenizer, prompts, steps, guidance)
    data.sheet(decode(load_autoencoder(args), z), 9, path)


class Trainer:
    """Optimisers, averages, state and schedule of a U-Net and its text encoder; what the teacher and the student share."""

    def __init__(self, args, name, unet, text, decay, extra):
        self.args, self.name, self.unet, self.text, self.extra = args, name, unet, text, extra
        self.made = optimisers(unet, text, args.matrix_rate, args.vector_rate, not args.adam)
        self.average = data.Average([unet, text], decay)
        self.path, self.step, self.mean = os.path.join(args.work, name + '.pt'), 0, None
        state, used = data.load_state(self.path), 0.0
        if state:
            unet.load_state_dict(state['unet'])
            text.load_state_dict(state['text'])
            for (o, _), s in zip(self.made, state['optimisers']):
                o.load_state_dict(s)
            self.average.load(state['average'])
            self.step, used = state['step'], state['used']
        self.network = torch.compile(unet, dynamic=False) if args.compile else unet    # for training steps of one shape only
        self.clock, self.ranks = data.Clock(args, used), ranks.Ranks(args)
        torch.manual_seed(args.seed + self.step + 7919 * args.rank)
        self.log( f'start at step {self.step}, {used / 60:.1f} of {args.minutes} minutes used, '
                 f'{sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M + {sum(p.numel() for p in text.parameters()) / 1e6:.2f} M parameters')

    def log(self, text):
        if self.ranks.first:
            data.log(self.args, self.name, text)

    def store(self):
        if not self.ranks.first:
            return
        data.save_state(self.path, {'unet': self.unet.state_dict(), 'text': self.text.state_dict(),
                                    'optimisers': [o.state_dict() for o, _ in self.made], 'average': self.average.state(),
                                    'step': self.step, 'used': self.clock.used, **self.extra})

    def run(self, loss_of, warmup, stop_at=1e9, every=lambda: None):
        """loss_of() makes a batch's loss; every() runs each three minutes with the averages in place."""
        checked = self.clock.used
        end = min(1.0, 60 * stop_at / self.clock.total)
        fraction = self.clock.tick()
        while fraction < end:
            loss = loss_of()
            for o, _ in self.made:
                o.zero_grad()
            loss.backward()
            fraction = self.ranks.mean(self.average.parameters, self.clock.tick())
            for o, peak in self.made:
                for group in o.param_groups:
                    group['lr'] = data.learning_rate(fraction, peak, warmup=warmup)
            torch.nn.utils.clip_grad_norm_(self.average.parameters, 1.0)
            for o, _ in self.made:
                o.step()
            self.average.update()
            self.step += 1
            if self.step % 10 == 0 or not self.args.gpu:      # waits for the device
                now = float(loss.detach())
                self.mean = now if self.mean is None else 0.9 * self.mean + 0.1 * now
            if self.clock.log_due():
                self.log(f'step {self.step} {100 * fraction:.1f} % loss {self.mean or 0:.4f}')
            if self.ranks.first and self.clock.used - checked > (25 if self.args.gpu else 180):
                checked = self.clock.used
                self.average.swap()
                every()
                self.average.swap()
            if self.clock.save_due():
                self.store()
        self.store()
        self.average.swap()


def arguments_of(what, minutes, matrix_rate, vector_rate):
    p = data.parser(what, minutes)
    p.add_argument('--batch', type=int, default=64)
    p.add_argument('--matrix-rate', type=float, default=matrix_rate)
    p.add_argument('--vector-rate', type=float, default=vector_rate)
    p.add_argument('--adam', action='store_true', help='AdamW for everything')
    p.add_argument('--decay', type=float, help='of the averaged weights, a step')
    ranks.arguments(p)
    return p


def main(arguments=None):
    p = arguments_of('teacher', 55, 2e-3, 1e-3)
    p.add_argument('--stop-at', type=float, default=1e9, help='stop after this many minutes, the schedule unfinished')
    p.add_argument('--name', default='teacher')
    args = data.setup(p.parse_args(arguments))
    tokenizer = Tokenizer(os.path.join(args.work, 'tokenizer'))
    unet, text = make_fast(args, *build(os.path.join(args.work, 'tokenizer')))
    if args.init_from and not os.path.exists(os.path.join(args.work, args.name + '.pt')):
        load_folder(args.init_from, unet, text)
    validation, feed = Validation(args, tokenizer), data.feed(args, Batches(args, tokenizer, args.batch).next)
    trainer = Trainer(args, args.name, unet, text, args.decay or 0.999, {'guidance': 3.0})

    def loss():
        x0, ids = feed()
        return flow_loss(args, trainer.network, text, x0, ids, times(len(x0), x0.device), torch.randn_like(x0))

    def check():
        trainer.log(f'step {trainer.step} validation {validation.error(unet, text):.5f}')

    trainer.run(loss, 0.01, args.stop_at, check)
    if not trainer.ranks.first:
        return
    check()
    pictures_of(args, unet, text, tokenizer, os.path.join(args.work, args.name + '.png'), 16, 3.0)


if __name__ == '__main__':
    main()
