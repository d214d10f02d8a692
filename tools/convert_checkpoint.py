#!/usr/bin/env python3
"""Turns PyTorch files (.ckpt, .pt, .pth, .bin) into safetensors, because likeness never reads pickles.

    python3 tools/convert_checkpoint.py model.ckpt [model.safetensors] [--half]
    python3 tools/convert_checkpoint.py FOLDER             every .bin of a diffusers folder, in place beside it

A pickle can run programs when it is read. This script reads with torch.load(weights_only=True), which refuses that;
classes that training programs left inside (callbacks, optimisers) are replaced by empty ones, never imported. Needs
torch 2.6 or newer and safetensors.

What is kept: the tensors of "state_dict" where there is one; of a textual inversion its vectors, as "emb_params".
"""
import argparse, os, pickle, sys
import torch
from safetensors.torch import save_file


def load(path):
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    for name in names:
        module, _, last = name.rpartition('.')
        empty = type(last, (), {'__module__': module, '__setstate__': lambda self, state: None,
                                '__init__': lambda self, *a, **k: None})
        torch.serialization.add_safe_globals([(empty, name)])
        print(f'{path}: {name} inside is left aside', file=sys.stderr)
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if 'unsupported' in line.lower()), 'it holds more than data')
        raise SystemExit(f'{path}: refused, it would run a program when read: {reason}') from None


def tensors_of(document, path):
    if not isinstance(document, dict):
        raise SystemExit(f'{path}: holds a {type(document).__name__}, not a dictionary of tensors')
    if isinstance(document.get('string_to_param'), dict):  # textual inversion of AUTOMATIC1111
        return {'emb_params': next(iter(document['string_to_param'].values()))}
    for key in ('state_dict', 'params_ema', 'params', 'model'):
        if isinstance(document.get(key), dict):
            document = document[key]
            break
    found = {k: v for k, v in document.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if not found:
        raise SystemExit(f'{path}: no tensors found')
    return found


def convert(path, out, half):
    tensors = tensors_of(load(path), path)
    for key, value in tensors.items():
        value = value.detach()
        if half and value.is_floating_point():
            value = value.half()
        tensors[key] = value.contiguous().clone()  # tensors that share memory are written apart
    temporary = out + '.part'
    save_file(tensors, temporary, {'format': 'pt'})
    os.replace(temporary, out)
    print(f'{out}: {len(tensors)} tensors')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('input', help='a PyTorch file, or a diffusers folder')
    parser.add_argument('output', nargs='?', help='default: the same name with .safetensors')
    parser.add_argument('--half', action='store_true', help='store floats as f16')
    options = parser.parse_args()
    if os.path.isdir(options.input):
        files = [os.path.join(folder, name) for folder, _, names in os.walk(options.input) for name in names
                 if name.endswith('.bin')]
        if not files:
            raise SystemExit(f'{options.input}: there is no .bin file inside')
        for path in sorted(files):
            stem = os.path.basename(path)[:-4].replace('pytorch_model', 'model') \
                if os.path.basename(path).startswith('pytorch_model') else os.path.basename(path)[:-4]
            convert(path, os.path.join(os.path.dirname(path), stem + '.safetensors'), options.half)
    else:
        out = options.output or os.path.splitext(options.input)[0] + '.safetensors'
        convert(options.input, out, options.half)


if __name__ == '__main__':
    main()
