# data.py: pictures, captions and small helpers shared by every training script.
#
#   characters_train/*.png (256x256 palette)  --box filter-->  pixels_train.npy  uint8 [N,128,128,3] in RGB
#   characters_train/metadata.jsonl           ------------->  rows: caption phrases, style, identity, attributes
#
# The box filter (mean of 2x2) is exact, has no ringing and every image library has it.  The cache is written once,
# to a temporary name that is renamed when complete, so that a kill at any moment leaves no half file.
# Every script takes --data (the image sets), --work (caches, states, logs), --minutes (wall time to train, counted
# over all its runs) and --smoke (a few steps of everything).  A state file holds weights, optimiser, averages and
# the seconds already used; schedules run over those seconds, so that a run ends on time on any machine.

import argparse
import json
import os
import time

import numpy as np
from PIL import Image

SIZE = 128                       # pixels of a Cameo picture
STYLES = ['adventurer', 'avataaars', 'bigEars', 'bigSmile', 'lorelei', 'micah', 'notionists', 'openPeeps', 'personas']


def parser(what, minutes):
    p = argparse.ArgumentParser(description=what)
    p.add_argument('--data', default='../shared/data', help='folder with characters_train, characters_val, ...')
    p.add_argument('--work', default='build/train', help='folder for caches, states and logs')
    p.add_argument('--minutes', type=float, default=minutes, help='wall time to train, over all runs')
    p.add_argument('--threads', type=int, default=2, help='CPU threads')
    p.add_argument('--device', help='cpu or cuda; default: cuda where there is one')
    p.add_argument('--compile', action='store_true', help='compile the networks (pays on a GPU)')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--init-from', help='a Cameo folder: start from its weights when there is no state')
    p.add_argument('--smoke', action='store_true', help='a few steps of everything, in a folder of its own')
    return p


def setup(args):
    """Threads, device, seeds and folders; a smoke run gets its own folder so that it never touches real states."""
    import torch
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    args.gpu = args.device != 'cpu'
    if args.gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    if args.smoke:
        args.work = os.path.join(args.work, 'smoke')
        args.minutes = min(args.minutes, 0.15)
    os.makedirs(args.work, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    return args


# ---- pictures and captions ------------------------------------------------------------------------------------------

def rows(args, split):
    with open(os.path.join(args.data, split, 'metadata.jsonl'), encoding='utf-8') as f:
        out = [json.loads(line) for line in f]
    if args.smoke:                   # the first and the last rendering of every 18th person
        out = [r for i, r in enumerate(out) if i // 6 % 17 == 0 and i % 6 in (0, 5)]
    return out


def load_picture(path, size=SIZE):
    picture = Image.open(path).convert('RGB')
    if picture.size != (size, size):
        if picture.width % size == 0 and picture.width == picture.height:
            picture = picture.reduce(picture.width // size)
        else:
            picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def pixels(args, split):
    """uint8 [N,128,128,3], in the order of rows(args, split), mapped from the cache."""
    path = os.path.join(args.work, f'pixels_{split}.npy')
    if not os.path.exists(path):
        table = rows(args, split)
        temporary = path + '.tmp'
        cache = np.lib.format.open_memmap(temporary, 'w+', np.uint8, (len(table), SIZE, SIZE, 3))
        for i, row in enumerate(table):
            cache[i] = load_picture(os.path.join(args.data, split, row['file_name']))
        cache.flush()
        del cache
        os.replace(temporary, path)
    return np.load(path, mmap_mode='r')


def on_device(args, split):
    """pixels() as a tensor of the training device: a GPU holds them all, a CPU maps the file."""
    import torch
    pixels(args, split)                                # makes the file
    held = torch.from_numpy(np.load(os.path.join(args.work, f'pixels_{split}.npy'), mmap_mode='c'))
    return held.to(args.device) if args.gpu else held


def to_tensor(batch, device='cpu'):
    """uint8 [N,H,W,3] -> float [N,3,H,W] in [-1,1], channels last in memory."""
    import torch
    if not torch.is_tensor(batch):
        batch = torch.from_numpy(np.ascontiguousarray(batch))
    return batch.to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(x):
    """float [N,3,H,W] in [-1,1] -> uint8 array [N,H,W,3]."""
    return x.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def half_precision(args):
    """bf16 arithmetic where it is safe."""
    import torch
    return torch.autocast('cuda' if args.gpu else 'cpu', torch.bfloat16)


def caption(phrases, keep=lambda name: True):
    """The caption of the kept phrases, joined as the data set joins them; style and background always stay."""
    p = {k: v for k, v in phrases.items() if k in ('style', 'background') or keep(k)}
    head = ' '.join(p[k] for k in ('style', 'person', 'hair') if k in p)
    tail = [p[k] for k in ('beard', 'expression', 'eyes', 'clothes', 'accessories', 'background') if k in p]
    return ', '.join([head] + tail)


def sheet(batch, columns, path):
    """uint8 [N,H,W,3] as one contact sheet."""
    n, h, w, _ = batch.shape
    lines = (n + columns - 1) // columns
    page = np.full((lines * (h + 4), columns * (w + 4), 3), 128, np.uint8)
    for i in range(n):
        y, x = i // columns * (h + 4), i % columns * (w + 4)
        page[y:y + h, x:x + w] = batch[i]
    Image.fromarray(page).save(path)


def psnr(a, b):
    """Per-picture PSNR in dB of two uint8 batches."""
    mse = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255 ** 2 / np.maximum(mse, 1e-3))


# ---- states, time and averages --------------------------------------------------------------------------------------

def save_state(path, state):
    import torch
    torch.save(state, path + '.tmp')
    with open(path + '.tmp', 'rb') as f:
        os.fsync(f.fileno())
    os.replace(path + '.tmp', path)


def load_state(path):
    import torch
    return torch.load(path, map_location='cpu', weights_only=False) if os.path.exists(path) else None


def feed(args, make):
    """The next batch: made by a thread ahead of time on a CPU, on the spot where a GPU makes it in no time."""
    return make if args.gpu else InBackground(make).next


class Clock:
    """Seconds trained over all runs, and when to save and to log."""

    def __init__(self, args, used=0.0):
        self.total, self.used, self.last, self.saved, self.logged = args.minutes * 60, used, time.time(), time.time(), 0
        self.save_every, self.log_every = (20, 5) if args.gpu else (240, 30)       # a GPU is often lent for minutes only

    def tick(self):
        now = time.time()
        self.used += min(now - self.last, 60)          # a machine that slept does not count
        self.last = now
        return min(self.used / self.total, 1.0)

    def save_due(self):
        due = time.time() - self.saved > self.save_every
        self.saved = time.time() if due else self.saved
        return due

    def log_due(self):
        due = time.time() - self.logged > self.log_every
        self.logged = time.time() if due else self.logged
        return due


def log(args, name, text):
    line = time.strftime('%H:%M:%S ') + text
    print(line, flush=True)
    with open(os.path.join(args.work, name + '.log'), 'a') as f:
        f.write(line + '\n')


def learning_rate(fraction, peak, warmup=0.02, floor=0.02):
    """Linear warm-up, then a cosine to floor * peak."""
    if fraction < warmup:
        return peak * max(fraction / warmup, 0.02)
    return peak * (floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * (fraction - warmup) / (1 - warmup))))


class Average:
    """Exponential moving average of weights, kept in f32; its memory grows with the number of steps."""

    def __init__(self, modules, decay=0.999):
        self.parameters = [p for m in modules for p in m.parameters()]
        self.decay, self.steps = decay, 0
        self.mean = [p.detach().clone() for p in self.parameters]

    def update(self):
        import torch
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], 1 - decay)

    def swap(self):
        """Exchanges weights and averages; call twice to go back."""
        for p, m in zip(self.parameters, self.mean):
            held = p.data.clone()
            p.data.copy_(m)
            m.copy_(held)

    def state(self):
        return {'steps': self.steps, 'mean': self.mean}

    def load(self, state):
        self.steps = state['steps']
        for m, s in zip(self.mean, state['mean']):
            m.copy_(s.to(m.device))


class InBackground:
    """Runs a function that makes the next batch in a thread of its own, a few batches ahead."""

    def __init__(self, make, ahead=3):
        import queue
        import threading
        self.queue = queue.Queue(ahead)

        def work():
            while True:
                try:
                    self.queue.put(make())
                except Exception as e:             # the trainer sees it instead of waiting for ever
                    self.queue.put(e)
                    return
        threading.Thread(target=work, daemon=True).start()

    def next(self):
        batch = self.queue.get()
        if isinstance(batch, Exception):
            raise batch
        return batch
