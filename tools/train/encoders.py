# encoders.py: the identity encoder (steers generation) and the judge (measures it), two views of "the same person".
#
#   encoder  128 px  residual, PReLU          additive angular margin (ArcFace)         even train identities
#   judge     96 px  plain, pooling, ReLU     supervised contrastive                    odd train identities
#
# Both learn beside that to name the drawing attributes that make an identity (hair, nose, ...; the heads are dropped
# afterwards), without which a short training on 1,620 identities does not generalise to new ones.
#
# They share no picture, no architecture and no input size, and what they call "the same person" is learned by another
# loss: a picture that only fools the encoder does not please the judge.  An identity is what stays over its 6 renderings.  Pictures are shifted, scaled, turned, blurred
# and made noisy, half of them pass through the autoencoder first (decoded pictures are what guidance sees), but
# colours stay: they are part of the person.  Two identities of one style are hard pairs, so every batch holds many
# identities of few styles.
#
# State: WORK/encoder.pt, WORK/judge.pt.  Result: WORK/identity_encoder.onnx, WORK/judge.onnx.

import os

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import data
import onnx_writer
from onnx_writer import Residual

MEAN, STD, WIDTH = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], 128
SIZES = {'encoder': 128, 'judge': 96}
FILES = {'encoder': 'identity_encoder.onnx', 'judge': 'judge.onnx'}


def conv(a, b, k=3, s=1, groups=1):
    return nn.Conv2d(a, b, k, s, k // 2, groups=groups, bias=False)


def build_encoder():
    """Residual blocks of two convolutions; strided ones halve, 128 -> 4."""
    def block(a, b, s):
        branch = nn.Sequential(conv(a, b, 3, s), nn.BatchNorm2d(b), nn.PReLU(b), conv(b, b), nn.BatchNorm2d(b))
        shortcut = None if s == 1 and a == b else nn.Sequential(conv(a, b, 1, s), nn.BatchNorm2d(b))
        return Residual(branch, shortcut, nn.PReLU(b))
    return nn.Sequential(conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.PReLU(16), block(16, 32, 2), block(32, 64, 2),
                         block(64, 64, 1), block(64, 128, 2), conv(128, 128, 3, 2), nn.BatchNorm2d(128), nn.PReLU(128),
                         conv(128, 192, 1), nn.BatchNorm2d(192), nn.PReLU(192),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, WIDTH))


def build_judge():
    """Plain convolutions with average pooling between them; 96 -> 6."""
    def block(a, b, k=3, s=1):
        return [conv(a, b, k, s), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*block(3, 24, 5, 2), *block(24, 40), nn.AvgPool2d(2), *block(40, 80), nn.AvgPool2d(2), *block(80, 128),
                         nn.AvgPool2d(2), *block(128, 160), *block(160, 256, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(256, WIDTH))


BUILD = {'encoder': build_encoder, 'judge': build_judge}


def metadata(which, threshold=None):
    m = {'likeness.size': SIZES[which], 'likeness.mean': ','.join(map(str, MEAN)), 'likeness.std': ','.join(map(str, STD)),
         'likeness.channels': 'RGB', 'likeness.embedding': 'embedding'}
    if threshold is not None:
        m['likeness.threshold'] = f'{threshold:.4f}'
    return m


# ---- batches --------------------------------------------------------------------------------------------------------

def decoded(args, split='characters_train'):
    """Every third picture through the autoencoder with noisy latents: what guidance and the judge really look at."""
    from diffusers import AutoencoderKL
    path = os.path.join(args.work, 'pixels_decoded.npy')
    if not os.path.exists(path):
        pictures, folder = data.pixels(args, split), os.path.join(args.work, 'autoencoder')
        model = AutoencoderKL.from_pretrained(folder).float().to(args.device, memory_format=torch.channels_last)
        out = np.lib.format.open_memmap(path + '.tmp', 'w+', np.uint8, (len(pictures[::3]), data.SIZE, data.SIZE, 3))
        for i in range(0, len(out), 32):
            x = data.to_tensor(pictures[3 * i:3 * (i + 32):3], args.device)
            with torch.no_grad(), data.half_precision(args):
                z = model.encode(x).latent_dist.mean.float()
                z = z + 0.4 * torch.rand(len(z), 1, 1, 1, device=z.device) ** 2 / model.config.scaling_factor * torch.randn_like(z)
                y = model.decode(z).sample
            out[i:i + 32] = data.to_uint8(y)
        out.flush()
        del out
        os.replace(path + '.tmp', path)
    held = torch.from_numpy(np.load(path, mmap_mode='c'))
    return held.to(args.device) if args.gpu else held


def augment(x, size):
    """Shift, scale, turn (edges repeat), sometimes a soft blur, sometimes noise; colours stay."""
    n = len(x)
    rand = lambda *shape: torch.rand(*shape, device=x.device)
    angle, scale = (rand(n) - 0.5) * 0.35, torch.exp((rand(n) - 0.5) * 0.24)
    shift = (rand(n, 2, 1) - 0.5) * 0.2
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.cat([torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1), shift], 2)
    x = F.grid_sample(x, F.affine_grid(matrix, [n, 3, size, size], align_corners=False), padding_mode='border', align_corners=False)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode='replicate'), 3, 1)
    x = torch.lerp(x, soft, rand(n, 1, 1, 1) * (rand(n, 1, 1, 1) < 0.4))
    x = x + 0.12 * rand(n, 1, 1, 1) * (rand(n, 1, 1, 1) < 0.3) * torch.randn_like(x)
    return x.contiguous(memory_format=torch.channels_last)


def pick(pictures, through, at):
    """Pictures of these numbers [n,3,128,128]; where a decoded one exists it is taken three times out of four."""
    x = data.to_tensor(pictures[at])
    use = (at % 3 == 0) & (torch.rand(len(at), device=at.device) < 0.75)
    return torch.where(use[:, None, None, None], data.to_tensor(through[at // 3]), x)


class Batches:
    """Identities of one half; a batch holds `styles` styles x `people` identities x `shots` renderings."""

    def __init__(self, args, which, styles, people, shots):
        self.args, self.pictures, table = args, data.on_device(args, 'characters_train'), data.rows(args, 'characters_train')
        self.decoded = decoded(args)
        half = {'encoder': 0, 'judge': 1}[which]
        self.shots_of, by_style = {}, {}
        for i, row in enumerate(table):
            if int(row['identity'].rsplit('/t', 1)[1]) % 2 == half:
                self.shots_of.setdefault(row['identity'], []).append(i)
                by_style.setdefault(row['style'], set()).add(row['identity'])
        self.by_style = {s: sorted(v) for s, v in by_style.items()}
        self.label = {k: n for n, k in enumerate(sorted(self.shots_of))}
        self.size, self.counts = SIZES[which], (styles, people, shots)
        self.random = np.random.default_rng(args.seed + half)

    def next(self):
        styles, people, shots = self.counts
        at, labels = [], []
        for style in self.random.permutation(list(self.by_style))[:styles]:
            known = self.by_style[style]
            for who in self.random.permutation(len(known))[:people]:
                chosen = self.random.permutation(self.shots_of[known[who]])[:shots]
                at.extend(chosen)
                labels.extend([self.label[known[who]]] * len(chosen))
        at = torch.tensor(np.array(at), device=self.pictures.device)
        return augment(pick(self.pictures, self.decoded, at), self.size), torch.tensor(labels, device=at.device), at


# ---- losses ---------------------------------------------------------------------------------------------------------

class ArcFace(nn.Module):
    """Cross-entropy over identities, the true angle enlarged by a margin that grows while training."""

    def __init__(self, classes, scale=24.0, margin=0.3):
        super().__init__()
        self.centres, self.scale, self.margin = nn.Parameter(torch.randn(classes, WIDTH) * 0.1), scale, margin

    def forward(self, embedding, labels, fraction):
        cosine = F.normalize(embedding, dim=1) @ F.normalize(self.centres, dim=1).T
        angle = torch.acos(cosine.gather(1, labels[:, None]).clamp(-0.9999, 0.9999))
        enlarged = torch.cos((angle + self.margin * min(1.0, 3 * fraction)).clamp(max=3.14))
        return F.cross_entropy(self.scale * cosine.scatter(1, labels[:, None], enlarged), labels)


class SupervisedContrastive(nn.Module):
    def __init__(self, temperature=0.08):
        super().__init__()
        self.temperature = temperature

    def forward(self, embedding, labels, fraction):
        e = F.normalize(embedding, dim=1)
        own = torch.eye(len(e), dtype=torch.bool, device=e.device)
        logits = (e @ e.T / self.temperature).masked_fill(own, -1e4)
        same = (labels[:, None] == labels[None]) & ~own
        return -((F.log_softmax(logits, 1) * same).sum(1) / same.sum(1).clamp(min=1)).mean()


class Attributes(nn.Module):
    """Cross-entropy over the attributes of `identity_key`, one softmax for each key of each style."""

    def __init__(self, table, scale=10.0):
        super().__init__()
        values, self.scale = {}, scale
        for r in table:
            for k, _, v in (kv.partition('=') for kv in r['identity_key'].split()):
                values.setdefault((r['style'], k), {}).setdefault(v, len(values[r['style'], k]))
        self.keys = {k: n for n, k in enumerate(values)}
        self.heads = nn.ModuleList(nn.Linear(WIDTH, len(v)) for v in values.values())
        self.truth = torch.full((len(table), len(values)), -1)
        for i, r in enumerate(table):
            for k, _, v in (kv.partition('=') for kv in r['identity_key'].split()):
                self.truth[i, self.keys[r['style'], k]] = values[r['style'], k][v]

    def forward(self, embedding, at):
        e, truth, total = self.scale * F.normalize(embedding, dim=1), self.truth[at.cpu()].to(embedding.device), []
        for n in torch.nonzero((truth >= 0).any(0))[:, 0].tolist():
            known = truth[:, n] >= 0
            total.append(F.cross_entropy(self.heads[n](e[known]), truth[known, n], reduction='sum'))
        return sum(total) / len(at)


# ---- measures -------------------------------------------------------------------------------------------------------

def prepare(pictures, which, device='cpu'):
    x = data.to_tensor(pictures, device)
    return F.interpolate(x, size=(SIZES[which],) * 2, mode='bilinear', antialias=True, align_corners=False) if SIZES[which] != data.SIZE else x


@torch.no_grad()
def embed(network, pictures, which):
    device = next(network.parameters()).device
    network.eval()
    out = [F.normalize(network(prepare(pictures[i:i + 60], which, device).contiguous(memory_format=torch.channels_last)).float(), dim=1)
           for i in range(0, len(pictures), 60)]
    network.train()
    return torch.cat(out).cpu().numpy()


def verify(embeddings, table):
    """One threshold for all styles: 1 % of the false pairs of one style pass.  Share of true pairs that pass, by style."""
    true, false = {}, {}
    people, styles = np.array([r['identity'] for r in table]), np.array([r['style'] for r in table])
    for s in data.STYLES:
        at = np.flatnonzero(styles == s)
        if not len(at):
            continue
        cosine, upper = embeddings[at] @ embeddings[at].T, np.triu(np.ones((len(at), len(at)), bool), 1)
        same = people[at][:, None] == people[at][None]
        true[s], false[s] = cosine[same & upper], cosine[~same & upper]
    threshold = float(np.quantile(np.concatenate(list(false.values())), 0.99))
    passed = {s: float((v > threshold).mean()) for s, v in true.items() if len(v)}
    total = float((np.concatenate(list(true.values())) > threshold).mean())
    return threshold, total, passed, {s: float((v > threshold).mean()) for s, v in false.items()}


BATCHES = {('encoder', False): (4, 12, 2), ('judge', False): (2, 16, 3), ('encoder', True): (8, 20, 3), ('judge', True): (4, 32, 4)}


def train(args, which):
    network = BUILD[which]().to(args.device, memory_format=torch.channels_last)
    batches = Batches(args, which, *BATCHES[which, args.gpu])
    loss_of = (ArcFace(len(batches.label)) if which == 'encoder' else SupervisedContrastive()).to(args.device)
    attributes = Attributes(data.rows(args, 'characters_train')).to(args.device)
    learned = [*network.parameters(), *loss_of.parameters(), *attributes.parameters()]
    optimiser = torch.optim.AdamW(learned, betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    path, step, used = os.path.join(args.work, which + '.pt'), 0, 0.0
    state = data.load_state(path)
    if state:
        network.load_state_dict(state['network'])
        loss_of.load_state_dict(state['loss'])
        attributes.load_state_dict(state['attributes'])
        optimiser.load_state_dict(state['optimiser'])
        step, used = state['step'], state['used']
    clock, feed = data.Clock(args, used), data.feed(args, batches.next)
    val, table = data.pixels(args, 'characters_val'), data.rows(args, 'characters_val')

    def store():
        data.save_state(path, {'network': network.state_dict(), 'loss': loss_of.state_dict(),
                               'attributes': attributes.state_dict(), 'optimiser': optimiser.state_dict(), 'step': step, 'used': clock.used})

    while True:
        fraction = clock.tick()
        if fraction >= 1:
            break
        for group in optimiser.param_groups:
            group['lr'] = data.learning_rate(fraction, 3e-3, warmup=0.05, floor=0.005)
        x, labels, at = feed()
        with data.half_precision(args):
            embedding = network(x)
        loss = attributes(embedding.float(), at) + 0.3 * loss_of(embedding.float(), labels, fraction)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        if step % 20 == 0 and args.gpu:
            torch.cuda.synchronize()                  # the clock must not run ahead of the work
        if clock.log_due():
            text = f'step {step} {100 * fraction:.1f} % loss {float(loss.detach()):.4f}'
            if step > 100:
                text += f' val true accepted at 1 % false {verify(embed(network, val, which), table)[1]:.3f}'
            data.log(args, which, text)
        if clock.save_due():
            store()
    store()
    threshold, total, passed, false = verify(embed(network, val, which), table)
    network = network.cpu().eval()
    file = os.path.join(args.work, FILES[which])
    onnx_writer.write(file, network, SIZES[which], metadata(which, threshold if which == 'judge' else None))
    check(args, which, network, val)
    data.log(args, which, f'final: accepts {100 * total:.2f} % of true pairs at 1 % false, threshold {threshold:.4f}; true by style ' +
             ' '.join(f'{s} {100 * v:.1f}' for s, v in passed.items()) + '; false by style ' + ' '.join(f'{s} {100 * v:.1f}' for s, v in false.items()))


def check(args, which, network, val):
    """The file gives what PyTorch gives."""
    import onnxruntime
    x = prepare(val[:8], which)
    with torch.no_grad():
        ours = network(x).numpy()
    theirs = onnxruntime.InferenceSession(os.path.join(args.work, FILES[which])).run(None, {'pixels': x.numpy()})[0]
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(ours)
    assert error < 1e-4, error
    data.log(args, which, f'onnx agrees within {error:.1e}')


def main(arguments=None):
    p = data.parser('identity encoder and judge', 8)
    p.add_argument('--which', choices=['encoder', 'judge'], default='encoder')
    args = data.setup(p.parse_args(arguments))
    train(args, args.which)


if __name__ == '__main__':
    main()
