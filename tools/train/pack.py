# pack.py: carries the pictures and captions that training needs to another machine, in a few small files.
#
#   pack.py pack   --data DIR --to DIR [--shards 2]     characters_train, characters_val, captions, prompts -> DIR
#   pack.py unpack --from DIR --data DIR --work DIR     -> metadata below --data, pixel caches in --work
#
# Pictures are stored as training sees them, 128x128 (mean of 2x2), in lossless WebP: 3.1 KiB each, 58 MiB for the
# training set.  A shard holds every n-th identity of every style, so that training can begin with one of them.

import argparse
import io
import json
import lzma
import multiprocessing
import os

import numpy as np
from PIL import Image

import data

TEXTS = ['characters_train/metadata.jsonl', 'characters_val/metadata.jsonl', 'objects_train/metadata.jsonl', 'eval/text_to_image.jsonl']
SPLITS = ['characters_val', 'characters_train']
SHOTS = 6                        # renderings of an identity, one after the other


def encode(path):
    out = io.BytesIO()
    Image.fromarray(data.load_picture(path)).save(out, 'webp', lossless=True, method=4, quality=60)
    return out.getvalue()


def decode(blob):
    return np.asarray(Image.open(io.BytesIO(blob)).convert('RGB'))


def members(count, shard, shards):
    return [i for i in range(count) if i // SHOTS % shards == shard]


def pack(args, pool):
    os.makedirs(args.to, exist_ok=True)
    for name in TEXTS:
        with open(os.path.join(args.data, name), 'rb') as f, lzma.open(os.path.join(args.to, name.replace('/', '.') + '.xz'), 'wb') as out:
            out.write(f.read())
    for split in SPLITS:
        with open(os.path.join(args.data, split, 'metadata.jsonl'), encoding='utf-8') as f:
            paths = [os.path.join(args.data, split, json.loads(line)['file_name']) for line in f]
        shards = args.shards if split == 'characters_train' else 1
        for shard in range(shards):
            blobs = pool.map(encode, [paths[i] for i in members(len(paths), shard, shards)], chunksize=32)
            with open(os.path.join(args.to, f'{split}.{shard}-of-{shards}.bin'), 'wb') as f:
                np.save(f, np.array([len(b) for b in blobs], np.int32))
                f.write(b''.join(blobs))


def unpack(args, pool):
    """Shards that are missing are left out, their captions too."""
    os.makedirs(args.work, exist_ok=True)
    texts = {}
    for name in TEXTS:
        with lzma.open(os.path.join(args.source, name.replace('/', '.') + '.xz')) as f:
            texts[name] = f.read().splitlines(keepends=True)
    for split in SPLITS:
        files = sorted(f for f in os.listdir(args.source) if f.startswith(split + '.') and f.endswith('.bin'))
        assert files, f'no shard of {split} in {args.source}'
        rows, found = texts[split + '/metadata.jsonl'], {}
        for file in files:
            shard, shards = map(int, file[len(split) + 1:-4].split('-of-'))
            with open(os.path.join(args.source, file), 'rb') as f:
                blobs = [f.read(int(n)) for n in np.load(f)]
            found.update(zip(members(len(rows), shard, shards), blobs))
        kept = sorted(found)
        texts[split + '/metadata.jsonl'] = [rows[i] for i in kept]
        np.save(os.path.join(args.work, f'pixels_{split}.npy'), np.stack(pool.map(decode, [found[i] for i in kept], chunksize=64)))
        print(f'{split}: {len(kept)} of {len(rows)} pictures')
    for name, lines in texts.items():
        path = os.path.join(args.data, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.writelines(lines)


def main():
    p = argparse.ArgumentParser(description='carries training data to another machine')
    p.add_argument('what', choices=['pack', 'unpack'])
    p.add_argument('--data', required=True)
    p.add_argument('--to')
    p.add_argument('--from', dest='source')
    p.add_argument('--work')
    p.add_argument('--shards', type=int, default=2)
    args = p.parse_args()
    with multiprocessing.Pool() as pool:
        (pack if args.what == 'pack' else unpack)(args, pool)


if __name__ == '__main__':
    main()
