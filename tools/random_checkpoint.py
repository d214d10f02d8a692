"""Writes a checkpoint of Stable Diffusion's full size with random weights: to measure memory and time without the real one.

    python3 tools/random_checkpoint.py OUT.safetensors        one file in the original layout
    python3 tools/random_checkpoint.py --folder OUT           the same weights in diffusers' layout, without a tokenizer
    ... --family sd2, --dtype f32, --seed 3

Names and shapes are those of tests/data/checkpoints. Matrices are normal with deviation 0.7 / sqrt(inputs), gains 1, biases
small, so that values stay in a network's usual range. Needs numpy alone; 2 GB of disk for sd1 in f16.
"""
import argparse
import gzip
import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CLIP = {'sd1': dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act='quick_gelu',
                    projection_dim=768),
        'sd2': dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act='gelu',
                    projection_dim=512)}


def configs(family):
    """What the published models of the family say in diffusers' layout."""
    down = ['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D']
    up = ['UpBlock2D'] + ['CrossAttnUpBlock2D'] * 3
    second = family == 'sd2'
    return {
        'unet/config.json': dict(_class_name='UNet2DConditionModel', sample_size=64, in_channels=4, out_channels=4, down_block_types=down,
                                 up_block_types=up, block_out_channels=[320, 640, 1280, 1280], layers_per_block=2, norm_num_groups=32,
                                 cross_attention_dim=CLIP[family]['hidden_size'], attention_head_dim=[5, 10, 20, 20] if second else 8,
                                 use_linear_projection=second),
        'vae/config.json': dict(_class_name='AutoencoderKL', in_channels=3, out_channels=3, latent_channels=4, sample_size=512,
                                block_out_channels=[128, 256, 512, 512], layers_per_block=2, norm_num_groups=32, act_fn='silu',
                                down_block_types=['DownEncoderBlock2D'] * 4, up_block_types=['UpDecoderBlock2D'] * 4,
                                scaling_factor=0.18215),
        'text_encoder/config.json': dict(architectures=['CLIPTextModel'], model_type='clip_text_model', vocab_size=49408,
                                         max_position_embeddings=77, layer_norm_eps=1e-5, **CLIP[family]),
        'scheduler/scheduler_config.json': dict(_class_name='DDIMScheduler', num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012,
                                                beta_schedule='scaled_linear', prediction_type='epsilon', clip_sample=False,
                                                set_alpha_to_one=False, steps_offset=1),
        'model_index.json': dict(_class_name='StableDiffusionPipeline', unet=['diffusers', 'UNet2DConditionModel'],
                                 vae=['diffusers', 'AutoencoderKL'], text_encoder=['transformers', 'CLIPTextModel'],
                                 tokenizer=['transformers', 'CLIPTokenizer'], scheduler=['diffusers', 'DDIMScheduler'])}


def values(name, shape, random):
    if name.endswith('position_ids'):
        return np.arange(shape[-1], dtype=np.int64).reshape(shape)
    if name.endswith('.bias') or len(shape) == 0:
        return 0.02 * random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return 1 + 0.02 * random.standard_normal(shape, dtype=np.float32)
    fan = int(np.prod(shape[1:])) if 'embedding' not in name else 2500
    return 0.7 / fan ** 0.5 * random.standard_normal(shape, dtype=np.float32)


def write(path, tensors, dtype, seed):
    """tensors: [(name, shape, number in the list)]. One tensor is in memory at a time."""
    kinds = {'f16': ('F16', np.float16), 'f32': ('F32', np.float32)}
    header, offset = {}, 0
    for name, shape, _ in tensors:
        integer = name.endswith('position_ids')
        size = int(np.prod(shape)) * (8 if integer else np.dtype(kinds[dtype][1]).itemsize)
        header[name] = {'dtype': 'I64' if integer else kinds[dtype][0], 'shape': list(shape), 'data_offsets': [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path + '.part', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for name, shape, number in tensors:
            v = values(name, shape, np.random.default_rng([seed, number]))
            f.write((v if v.dtype == np.int64 else v.astype(kinds[dtype][1])).tobytes())
    os.replace(path + '.part', path)
    print(f'{path}: {len(tensors)} tensors, {offset / 2**20:.0f} MiB')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out')
    p.add_argument('--folder', action='store_true')
    p.add_argument('--family', choices=['sd1', 'sd2'], default='sd1')
    p.add_argument('--dtype', choices=['f16', 'f32'], default='f16')
    p.add_argument('--seed', type=int, default=0)
    args = p.parse_args()
    if args.folder and args.family == 'sd2':
        p.error('OpenCLIP\'s fused matrices are not cut here: --folder writes sd1 only')
    with gzip.open(os.path.join(HERE, '..', 'tests', 'data', 'checkpoints', args.family + '.txt.gz'), 'rt') as f:
        rows = [line.rstrip('\n').split('\t') for line in f]
    shape = lambda text: tuple(int(n) for n in text.split(',')) if text else ()
    network = lambda name: name.startswith(('model.diffusion_model.', 'first_stage_model.', 'cond_stage_model.'))
    if not args.folder:
        write(args.out, [(r[0], shape(r[1]), i) for i, r in enumerate(rows) if network(r[0])], args.dtype, args.seed)
        return
    for name, config in configs(args.family).items():
        path = os.path.join(args.out, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            json.dump(config, f, indent=2)
    files = {'unet': 'diffusion_pytorch_model', 'vae': 'diffusion_pytorch_model', 'text_encoder': 'model'}
    for part, file in files.items():
        inside = [(r[2].split('/', 1)[1], shape(r[3]), i) for i, r in enumerate(rows) if r[2].startswith(part + '/')]
        write(os.path.join(args.out, part, file + '.safetensors'), inside, args.dtype, args.seed)
    print('a tokenizer is not written: copy one, or use the single file, whose tokenizer is built in')


if __name__ == '__main__':
    main()
