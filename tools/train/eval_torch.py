# eval_torch.py: measures a Cameo folder with PyTorch: what the engine must reach, and what the model card says.
#
#   pictures   characters_val through the autoencoder: PSNR with 8-bit output, by style
#   text       eval/text_to_image.jsonl: is the background the prompt's (nearest of the 12 named colours to the median of
#              the two upper corners), and what does the classifier read (style, hair colour, glasses)?
#
# --model a Cameo folder (its model_index.json says steps and guidance), or --teacher for WORK/teacher.pt.

import json
import os

import numpy as np
import torch
from diffusers import AutoencoderKL

import autoencoder
import classifier
import data
import flow
from tokenizer import Tokenizer


def backgrounds(args):
    with open(os.path.join(args.data, 'eval', 'text_to_image.jsonl'), encoding='utf-8') as f:
        table = [json.loads(line) for line in f]
    return table, {r['background']: r['background_rgb'] for r in table}


def background_of(pictures, colours):
    names, rgb = list(colours), np.array(list(colours.values()), float)
    corners = np.concatenate([pictures[:, 2:14, 2:14].reshape(len(pictures), -1, 3), pictures[:, 2:14, -14:-2].reshape(len(pictures), -1, 3)], 1)
    middle = np.median(corners, axis=1)
    return [names[i] for i in ((middle[:, None] - rgb[None]) ** 2).sum(-1).argmin(1)]


def read_attributes(path, pictures):
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    names = [o.name for o in session.get_outputs()]
    parts = [session.run(names, {'pixels': data.to_tensor(pictures[i:i + 50]).contiguous().numpy()}) for i in range(0, len(pictures), 50)]
    return {k: np.concatenate([p[n] for p in parts]).argmax(1) for n, k in enumerate(names)}


def main(arguments=None):
    p = data.parser('evaluation', 0)
    p.add_argument('--model', help='a Cameo folder')
    p.add_argument('--teacher', action='store_true')
    p.add_argument('--steps', type=int)
    p.add_argument('--guidance', type=float)
    p.add_argument('--count', type=int, default=200)
    p.add_argument('--psnr', action='store_true')
    p.add_argument('--classifier', default=os.path.join(os.path.dirname(__file__), '../../tests/data/attributes.onnx'))
    p.add_argument('--sheet', help='write a contact sheet there')
    args = data.setup(p.parse_args(arguments))
    folder = args.model or args.work
    unet, text = flow.build(os.path.join(folder, 'tokenizer'))
    steps, guidance = 20, 3.0
    if args.teacher:
        flow.load_average(data.load_state(os.path.join(args.work, 'teacher.pt')), unet, text)
    else:
        flow.load_folder(args.model, unet, text)
        with open(os.path.join(args.model, 'model_index.json'), encoding='utf-8') as f:
            settings = json.load(f)['likeness']
        steps, guidance = settings['steps'], settings['guidance']
    steps, guidance = args.steps or steps, args.guidance or guidance
    flow.make_fast(args, unet, text)
    vae = AutoencoderKL.from_pretrained(os.path.join(folder, 'autoencoder' if args.teacher else 'vae')).float().to(args.device, memory_format=torch.channels_last)
    tokenizer = Tokenizer(os.path.join(folder, 'tokenizer'))
    result = {'steps': steps, 'guidance': guidance}

    if args.psnr:
        val, table = data.pixels(args, 'characters_val'), data.rows(args, 'characters_val')
        styles, mean = autoencoder.evaluate(vae, val, table)
        result['psnr'] = {'mean': round(mean, 2), **{k: round(v, 2) for k, v in styles.items()}}

    table, colours = backgrounds(args)
    table = table[:9 if args.smoke else args.count]
    pictures = []
    for i in range(0, len(table), 50):
        noise = torch.cat([torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(r['seed'])) for r in table[i:i + 50]])
        z = flow.sample_prompts(args, unet, text, tokenizer, [r['prompt'] for r in table[i:i + 50]], steps, guidance, noise)
        pictures.append(flow.decode(vae, z))
    pictures = np.concatenate(pictures)
    seen = background_of(pictures, colours)
    result['background'] = float(np.mean([a == r['background'] for a, r in zip(seen, table)]))
    result['background on real pictures'] = float(np.mean([a == r['attributes']['bg'] for a, r in zip(
        background_of(np.asarray(data.pixels(args, 'characters_val')), colours), data.rows(args, 'characters_val'))]))
    if os.path.exists(args.classifier):
        with open(os.path.join(args.data, 'characters_val', 'metadata.jsonl'), encoding='utf-8') as f:
            real = {r['file_name']: r for r in map(json.loads, f)}
        truth = np.array([classifier.labels(real[r['like']]) for r in table])
        result.update(classifier.accuracy(read_attributes(args.classifier, pictures), truth))
    data.log(args, 'eval', json.dumps({'model': 'teacher' if args.teacher else 'folder', 'pictures': len(pictures), **result}))
    if args.sheet:
        data.sheet(pictures[:54], 9, args.sheet)


if __name__ == '__main__':
    main()
