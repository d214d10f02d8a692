# classifier.py: reads style, hair colour and glasses off a picture, for evaluation only.
#
#   picture [3,128,128] --residual network--> style (9), hair (colours of the captions), glasses (no, yes)
#
# Labels come from the captions.  Styles without a hair colour (notionists) give no hair label, nor do the heads of
# openPeeps that are drawn with black hair whatever colour the caption names (all but PEEPS_COLOURED; counted over
# characters_train: pixels within 12 of headContrastColor, median over a head's pictures above 60 of 16,384).  Trained on
# characters_train, some of it through the autoencoder (see encoders.py), measured on characters_val.
# State: WORK/classifier.pt.  Result: WORK/attributes.onnx, class names in its metadata.

import os
import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import data
import encoders
import onnx_writer
from encoders import conv
from onnx_writer import Residual

HAIR = ['black', 'gray', 'white', 'red', 'orange', 'yellow', 'green', 'teal', 'light blue', 'blue', 'purple', 'pink', 'brown',
        'dark brown', 'blond', 'auburn']
GLASSES = ['no', 'yes']
PEEPS_COLOURED = {'bangs', 'cornrows', 'grayBun', 'grayMedium', 'grayShort', 'mediumBangs2', 'mohawk', 'mohawk2', 'noHair3', 'short4'}


def labels(row):
    """Class numbers of one picture; -1 where the caption does not say."""
    p = row['phrases']
    hair = p['hair'].removeprefix('with ')
    named = [c for c in HAIR if re.match(c + r'\b', hair)]
    has_colour = 'hairColor' in row['attributes'] or row['attributes'].get('head') in PEEPS_COLOURED
    glasses = 'glasses' in p.get('accessories', '') or 'glasses' in p.get('eyes', '')
    return data.STYLES.index(row['style']), HAIR.index(max(named, key=len)) if named and has_colour else -1, int(glasses)


def build():
    def block(a, b, s):
        branch = nn.Sequential(conv(a, b, 3, s), nn.BatchNorm2d(b), nn.ReLU(), conv(b, b), nn.BatchNorm2d(b))
        shortcut = None if s == 1 and a == b else nn.Sequential(conv(a, b, 1, s), nn.BatchNorm2d(b))
        return Residual(branch, shortcut, nn.ReLU())
    classes = {'style': len(data.STYLES), 'hair': len(HAIR), 'glasses': len(GLASSES)}
    return nn.Sequential(conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), block(16, 32, 2), block(32, 48, 2), block(48, 96, 2),
                         conv(96, 128, 3, 2), nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         onnx_writer.Heads(128, classes))


@torch.no_grad()
def predict(network, pictures):
    device = next(network.parameters()).device
    network.eval()
    out = [{k: v.argmax(1).cpu().numpy() for k, v in network(data.to_tensor(pictures[i:i + 60], device)).items()}
           for i in range(0, len(pictures), 60)]
    network.train()
    return {k: np.concatenate([o[k] for o in out]) for k in out[0]}


def accuracy(predicted, truth):
    out = {}
    for n, k in enumerate(('style', 'hair', 'glasses')):
        known = truth[:, n] >= 0
        out[k] = float((predicted[k][known] == truth[known, n]).mean())
    return out


def main(arguments=None):
    args = data.setup(data.parser('classifier', 6).parse_args(arguments))
    network = build().to(args.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    path, step, used = os.path.join(args.work, 'classifier.pt'), 0, 0.0
    state = data.load_state(path)
    if state:
        network.load_state_dict(state['network'])
        optimiser.load_state_dict(state['optimiser'])
        step, used = state['step'], state['used']
    pictures, through = data.on_device(args, 'characters_train'), encoders.decoded(args)
    truth = torch.tensor([labels(r) for r in data.rows(args, 'characters_train')], device=pictures.device)
    val, val_truth = data.pixels(args, 'characters_val'), np.array([labels(r) for r in data.rows(args, 'characters_val')])
    clock = data.Clock(args, used)
    torch.manual_seed(args.seed + step)

    def batch():
        at = torch.randint(len(pictures), (384 if args.gpu else 96,), device=pictures.device)
        return encoders.augment(encoders.pick(pictures, through, at), data.SIZE), truth[at]

    feed = data.feed(args, batch)
    while True:
        fraction = clock.tick()
        if fraction >= 1:
            break
        for group in optimiser.param_groups:
            group['lr'] = data.learning_rate(fraction, 3e-3, warmup=0.05, floor=0.005)
        x, y = feed()
        with data.half_precision(args):
            out = network(x)
        loss = sum(F.cross_entropy(out[k].float(), y[:, n], ignore_index=-1) for n, k in enumerate(('style', 'hair', 'glasses')))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 20 == 0 and args.gpu:
            torch.cuda.synchronize()                  # the clock must not run ahead of the work
        if clock.log_due():
            data.log(args, 'classifier', f'step {step} {100 * fraction:.1f} % loss {float(loss.detach()):.4f}')
        if clock.save_due():
            data.save_state(path, {'network': network.state_dict(), 'optimiser': optimiser.state_dict(), 'step': step, 'used': clock.used})
    data.save_state(path, {'network': network.state_dict(), 'optimiser': optimiser.state_dict(), 'step': step, 'used': clock.used})
    right = accuracy(predict(network, val), val_truth)
    network = network.cpu().eval()
    onnx_writer.write(os.path.join(args.work, 'attributes.onnx'), network, data.SIZE, {
        'likeness.size': data.SIZE, 'likeness.mean': '0.5,0.5,0.5', 'likeness.std': '0.5,0.5,0.5', 'likeness.channels': 'RGB',
        'classes.style': ','.join(data.STYLES), 'classes.hair': ','.join(HAIR), 'classes.glasses': ','.join(GLASSES),
        'accuracy': ','.join(f'{k}={v:.4f}' for k, v in right.items())})
    data.log(args, 'classifier', 'val accuracy ' + ' '.join(f'{k} {100 * v:.2f}' for k, v in right.items()))


if __name__ == '__main__':
    main()
