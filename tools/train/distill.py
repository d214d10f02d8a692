# distill.py: trains the student, which walks the teacher's guided path in 4 straight segments.
#
#   prompt, noise --teacher, 16 guided steps--> x at t = 1, .75, .5, .25, 0
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
from tokenizer import Tokenizer

KNOTS = (1.0, 0.75, 0.5, 0.25)
CHUNK, STEPS = 64, 16


def walk(args, unet, text, tokenizer, table, random, guidance):
    """One chunk of the teacher's paths: ids [64,77], x [64,5,16,16,16]."""
    prompts = [flow.dropped(table[i]['phrases'], random) for i in random.integers(len(table), size=CHUNK)]
    prompts.sort(key=lambda p: p == '')
    bare = sum(p == '' for p in prompts)
    noise = torch.from_numpy(random.standard_normal((CHUNK, 16, 16, 16), dtype=np.float32))
    parts = []
    for part, w in ((slice(0, CHUNK - bare), guidance), (slice(CHUNK - bare, CHUNK), 1)):
        if len(prompts[part]):
            end, kept = flow.sample(unet, text, tokenizer, prompts[part], STEPS, w, keep=KNOTS, noise=noise[part])
            parts.append(torch.stack([*(kept[t] for t in KNOTS), end], 1))
    return tokenizer.batch(prompts).astype(np.int16), torch.cat(parts).half().numpy()


def generate(args, minutes, folder, guidance, most):
    tokenizer = Tokenizer(os.path.join(args.work, 'tokenizer'))
    unet, text = flow.make_fast(*flow.build(os.path.join(args.work, 'tokenizer')))
    flow.load_average(data.load_state(os.path.join(args.work, 'teacher.pt')), unet, text)
    table = data.rows(args, 'characters_train')
    os.makedirs(folder, exist_ok=True)
    end, count = time.time() + 60 * minutes, len(glob.glob(os.path.join(folder, '*.npz')))
    data.log(args, 'distill', f'{count} chunks of paths are there')
    while (time.time() < end or count == 0) and count < most:
        ids, x = walk(args, unet, text, tokenizer, table, np.random.default_rng(1000 + count), guidance)
        path = os.path.join(folder, f'{count:05d}')
        with open(path + '.tmp', 'wb') as f:
            np.savez(f, ids=ids, x=x)
        os.replace(path + '.tmp', path + '.npz')
        count += 1
    data.log(args, 'distill', f'{count * CHUNK} paths, guidance {guidance}')


class Segments:
    """Random points of random paths: (x, ids, t, velocity)."""

    def __init__(self, folder, count, random):
        chunks = [np.load(p) for p in sorted(glob.glob(os.path.join(folder, '*.npz')))]
        self.ids = np.concatenate([c['ids'] for c in chunks]).astype(np.int64)
        self.x = np.concatenate([c['x'] for c in chunks])
        self.count, self.random = count, random

    def next(self):
        n, r = self.count, self.random
        at, k = r.integers(len(self.x), size=n), r.integers(len(KNOTS), size=n)
        share = np.where(r.random(n) < 0.7, 0, r.random(n)).astype(np.float32)
        a, b = torch.from_numpy(self.x[at, k]).float(), torch.from_numpy(self.x[at, k + 1]).float()
        s = torch.from_numpy(share)[:, None, None, None]
        t = torch.from_numpy(np.array(KNOTS, np.float32)[k] - 0.25 * share)
        return torch.lerp(a, b, s), torch.from_numpy(self.ids[at]), t, (a - b) / 0.25


def train(args, folder, guidance):
    tokenizer = Tokenizer(os.path.join(args.work, 'tokenizer'))
    unet, text = flow.make_fast(*flow.build(os.path.join(args.work, 'tokenizer')))
    flow.load_average(data.load_state(os.path.join(args.work, 'teacher.pt')), unet, text)
    made = flow.optimisers(unet, text, args.matrix_rate, args.vector_rate)
    average = data.Average([unet, text], 0.998)
    path, step, used = os.path.join(args.work, 'student.pt'), 0, 0.0
    state = data.load_state(path)
    if state:
        unet.load_state_dict(state['unet'])
        text.load_state_dict(state['text'])
        for (o, _), s in zip(made, state['optimisers']):
            o.load_state_dict(s)
        average.load(state['average'])
        step, used = state['step'], state['used']
    feed = data.InBackground(Segments(folder, args.batch, np.random.default_rng(step)).next)
    clock, mean = data.Clock(args.minutes, used), None

    def store():
        data.save_state(path, {'unet': unet.state_dict(), 'text': text.state_dict(), 'optimisers': [o.state_dict() for o, _ in made],
                               'average': average.state(), 'step': step, 'used': clock.used, 'guidance': 1.0,
                               'teacher_guidance': guidance})

    while clock.tick() < 1:
        for o, peak in made:
            for group in o.param_groups:
                group['lr'] = data.learning_rate(clock.used / clock.total, peak, warmup=0.03)
        x, ids, t, target = feed.next()
        with torch.autocast('cpu', torch.bfloat16):
            v = unet(x.contiguous(memory_format=torch.channels_last), 1000 * t, text(ids).last_hidden_state).sample
        loss = (v.float() - target).square().mean()
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
            data.log(args, 'distill', f'student step {step} {100 * clock.used / clock.total:.1f} % loss {mean:.4f}')
        if clock.save_due():
            store()
    store()
    average.swap()
    flow.pictures_of(args, unet, text, tokenizer, os.path.join(args.work, 'student.png'), 4, 1)
    data.log(args, 'distill', f'student done at step {step}, loss {mean}')


def main():
    p = data.parser('student', 6)
    p.add_argument('--paths-minutes', type=float, default=6, help='time to spend on the teacher\'s paths in this run')
    p.add_argument('--most', type=int, default=200, help='chunks of 64 paths at most')
    p.add_argument('--guidance', type=float, default=3.0, help='the teacher\'s guidance weight')
    p.add_argument('--renew', action='store_true', help='forget paths and student')
    p.add_argument('--batch', type=int, default=64)
    p.add_argument('--matrix-rate', type=float, default=8e-4)
    p.add_argument('--vector-rate', type=float, default=3e-4)
    args = data.setup(p.parse_args())
    folder = os.path.join(args.work, 'paths')
    if args.renew:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(os.path.join(args.work, 'student.pt')):
            os.remove(os.path.join(args.work, 'student.pt'))
    generate(args, 0.1 if args.smoke else args.paths_minutes, folder, args.guidance, 1 if args.smoke else args.most)
    train(args, folder, args.guidance)


if __name__ == '__main__':
    main()
