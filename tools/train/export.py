# export.py: puts a Cameo folder together, in diffusers layout, all weights f16.
#
#   WORK/tokenizer, WORK/autoencoder, WORK/<flow state>, WORK/*.onnx  ->  OUT/{model_index.json, scheduler, unet, vae,
#   text_encoder, tokenizer, identity_encoder.onnx, judge.onnx}
#
# --from teacher or student chooses the flow's weights; --random writes untrained ones where no state exists, so that
# engine code can load real shapes before anything is trained.

import json
import os
import shutil

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

import autoencoder
import data
import encoders
import flow
import onnx_writer

SCHEDULER = dict(_class_name='FlowMatchEulerDiscreteScheduler', num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False,
                 base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)


def put_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        json.dump(value, f, indent=2, ensure_ascii=False)
        f.write('\n')


def main(arguments=None):
    p = data.parser('export', 0)
    p.add_argument('--out', required=True)
    p.add_argument('--from', dest='source', default='student', choices=['teacher', 'student'])
    p.add_argument('--random', action='store_true', help='untrained weights where there is no state')
    args = data.setup(p.parse_args(arguments))
    os.makedirs(args.out, exist_ok=True)

    shutil.copytree(os.path.join(args.work, 'tokenizer'), os.path.join(args.out, 'tokenizer'), dirs_exist_ok=True)
    vae = os.path.join(args.work, 'autoencoder')
    if os.path.exists(vae):
        shutil.copytree(vae, os.path.join(args.out, 'vae'), dirs_exist_ok=True)
    else:
        assert args.random, 'no autoencoder yet'
        AutoencoderKL(**autoencoder.CONFIG, scaling_factor=1.0, shift_factor=0.0).half().save_pretrained(os.path.join(args.out, 'vae'))

    unet, text = flow.build(os.path.join(args.work, 'tokenizer'))
    state = data.load_state(os.path.join(args.work, args.source + '.pt'))
    assert state or args.random, f'no {args.source} yet'
    guidance, steps = (5.0, 20) if args.source == 'teacher' else (1.0, 4)
    if state:
        flow.load_average(state, unet, text)
        guidance = state.get('guidance', guidance)
    unet.half().save_pretrained(os.path.join(args.out, 'unet'))
    text.half().save_pretrained(os.path.join(args.out, 'text_encoder'))
    weights = os.path.join(args.out, 'text_encoder', 'model.safetensors')          # the names every other CLIP file has
    save_file({'text_model.' + k.removeprefix('text_model.'): v for k, v in load_file(weights).items()}, weights, {'format': 'pt'})

    put_json(os.path.join(args.out, 'scheduler', 'scheduler_config.json'), SCHEDULER)
    put_json(os.path.join(args.out, 'model_index.json'), {
        '_class_name': 'LikenessPipeline', 'scheduler': ['diffusers', 'FlowMatchEulerDiscreteScheduler'],
        'unet': ['diffusers', 'UNet2DConditionModel'], 'vae': ['diffusers', 'AutoencoderKL'],
        'text_encoder': ['transformers', 'CLIPTextModel'], 'tokenizer': ['transformers', 'CLIPTokenizer'],
        'likeness': {'name': 'Cameo', 'size': 128, 'prediction': 'velocity', 'steps': steps, 'guidance': guidance,
                     'identity_encoder': 'identity_encoder.onnx', 'judge': 'judge.onnx'}})

    for which, file in encoders.FILES.items():
        trained = os.path.join(args.work, file)
        if os.path.exists(trained):
            shutil.copy(trained, os.path.join(args.out, file))
        else:
            assert args.random, f'no {file} yet'
            onnx_writer.write(os.path.join(args.out, file), encoders.BUILD[which]().eval(), encoders.SIZES[which],
                              encoders.metadata(which, 0.5 if which == 'judge' else None))
    for d, _, fs in os.walk(args.out):
        for f in fs:
            os.chmod(os.path.join(d, f), 0o644)
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(args.out) for f in fs)
    data.log(args, 'export', f'{args.out}: {total / 2**20:.2f} MiB, flow from {args.source if state else "nothing"}')


if __name__ == '__main__':
    main()
