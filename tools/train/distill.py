# distill.py: trains the student, which walks the teacher's guided path in 4 straight segments.
#
#   prompt, noise --teacher, guided steps--> x at t = 1, .75, .5, .25, 0
#   segment k:  the student at any point of the straight line from x(t_k) to x(t_k-1) predicts (x(t_k) - x(t_k-1)) / 0.25
#
# Most draws are at the segment's start, where the 4-step sampler asks; the others keep the field constant along the
# line, so that 8 steps work as well.  Guidance is inside the targets: the student runs with weight 1.  A tenth of the
# paths have no caption and no guidance.
#
# Paths lie in WORK/paths/ in chunks (each written once, whole); --renew forgets those of an older teacher.
# State: WORK/student.pt, averaged weights inside.

import glob
import os
import shutil
import time

import numpy as np
import torch

import data
import flow
import ranks
from tokenizer import Tokenizer

KNOTS = (1.0, 0.75, 0.5, 0.25)


def walk(args, unet, text, tokenizer, table, random, guidance, count):
    """One chunk of the teacher's paths: ids [count,77], x [count,5,16,16,16]."""
    prompts = [flow.dropped(table[i]['phrases'], random) for i in random.integers(len(table), size=count)]
    prompts.sort(key=lambda p: p == '')
    bare = sum(p == '' for p in prompts)
    noise, ids = torch.from_numpy(random.standard_normal((count, 16, 16, 16), dtype=np.float32)), tokenizer.batch(prompts)
    parts, empty = [], torch.from_numpy(tokenizer.batch(['']))
    for part, w in ((slice(0, count - bare), guidance), (slice(count - bare, count), 1)):
        if len(prompts[part]):
            end, kept = flow.sample(args, unet, text, torch.from_numpy(ids[part]), empty, args.path_steps, w, noise[part], KNOTS, True)
            parts.append(torch.stack([*(kept[t] for t in KNOTS), end], 1))
    return ids.astype(np.int16), torch.cat(parts).half().cpu().numpy()


def teacher_of(args):
    unet, text = flow.make_fast(args, *flow.build(os.path.join(args.work, 'tokenizer')))
    flow.load_average(data.load_state(os.path.join(args.work, 'teacher.pt')), unet, text)
    return unet, text


def generate(args, minutes, folder, guidance, most):
    tokenizer, chunk = Tokenizer(os.path.join(args.work, 'tokenizer')), 1024 if args.gpu and not args.smoke else 64
    unet, text = teacher_of(args)
    table = data.rows(args, 'characters_train')
    os.makedirs(folder, exist_ok=True)
    there = lambda: len(glob.glob(os.path.join(folder, '*.npz')))
    end, count = time.time() + 60 * minutes, args.rank
    data.log(args, 'distill', f'{there()} chunks of paths are there')
    while (time.time() < end or not there()) and count < most:
        path = os.path.join(folder, f'{count:05d}')
        if os.path.exists(path + '.npz'):
            count += args.ranks
            continue
        ids, x = walk(args, unet, text, tokenizer, table, np.random.default_rng(1000 + count), guidance, chunk)
        with open(path + '.tmp', 'wb') as f:
            np.savez(f, ids=ids, x=x)
        os.replace(path + '.tmp', path + '.npz')
    ranks.Ranks(args).wait()
    data.log(args, 'distill', f'{there() * chunk} paths, guidance {guidance}')


class Segments:
    """Random points of random paths: (x, ids, t, velocity)."""

    def __init__(self, folder, count, device):
        chunks = [np.load(p) for p in sorted(glob.glob(os.path.join(folder, '*.npz')))]
        self.ids = torch.from_numpy(np.concatenate([c['ids'] for c in chunks])).to(device)
        self.x = torch.from_numpy(np.concatenate([c['x'] for c in chunks])).to(device)
        self.knots, self.count, self.device = torch.tensor(KNOTS, device=device), count, device

    def next(self):
        n, d = self.count, self.device
        at, k = torch.randint(len(self.x), (n,), device=d), torch.randint(len(KNOTS), (n,), device=d)
        share = torch.where(torch.rand(n, device=d) < 0.7, torch.zeros(n, device=d), torch.rand(n, device=d))
        a, b = self.x[at, k].float(), self.x[at, k + 1].float()
        return torch.lerp(a, b, share[:, None, None, None]), self.ids[at].long(), self.knots[k] - 0.25 * share, (a - b) / 0.25


def train(args, folder, guidance):
    tokenizer = Tokenizer(os.path.join(args.work, 'tokenizer'))
    unet, text = teacher_of(args)
    feed = data.feed(args, Segments(folder, args.batch, args.device).next)
    trainer = flow.Trainer(args, 'student', unet, text, args.decay or 0.998, {'guidance': 1.0, 'teacher_guidance': guidance})

    def loss():
        x, ids, t, target = feed()
        with data.half_precision(args):
            v = trainer.network(x.contiguous(memory_format=torch.channels_last), 1000 * t, text(ids).last_hidden_state).sample
        return (v.float() - target).square().mean()

    trainer.run(loss, 0.03)
    if not trainer.ranks.first:
        return
    flow.pictures_of(args, unet, text, tokenizer, os.path.join(args.work, 'student.png'), 4, 1)
    data.log(args, 'distill', f'student done at step {trainer.step}, loss {trainer.mean}')


def main(arguments=None):
    p = flow.arguments_of('student', 6, 8e-4, 3e-4)
    p.add_argument('--paths-minutes', type=float, default=6, help='time to spend on the teacher\'s paths in this run')
    p.add_argument('--path-steps', type=int, default=12, help='of the teacher along a path, a multiple of 4')
    p.add_argument('--most', type=int, default=200, help='chunks of paths at most')
    p.add_argument('--guidance', type=float, default=3.0, help='the teacher\'s guidance weight')
    p.add_argument('--renew', action='store_true', help='forget paths and student')
    args = data.setup(p.parse_args(arguments))
    folder = os.path.join(args.work, 'paths')
    if args.renew and args.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(os.path.join(args.work, 'student.pt')):
            os.remove(os.path.join(args.work, 'student.pt'))
    generate(args, 0.1 if args.smoke else args.paths_minutes, folder, args.guidance, 1 if args.smoke else args.most)
    train(args, folder, args.guidance)


if __name__ == '__main__':
    main()
