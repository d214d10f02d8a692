# all.py: trains what is left of Cameo and exports it, in one process.
#
#   all.py [--budget HOURS] [--data DIR] [--work DIR] [--out DIR] [--init-from CAMEO] [--device cpu|cuda] [--compile] [--smoke]
#          [--only STAGE,...]
#
#   tokenizer -> autoencoder, decoder -> classifier -> encoder, judge -> teacher -> student -> export -> evaluation
#
# Every stage keeps its state in the work folder and counts the time it has used, so that a second call goes on where
# the first was stopped, at any moment, and a call after all is done only exports and measures.  --init-from takes
# committed weights as the starting point of a stage whose state was lost.  Meant for a GPU too (--compile, --budget
# 0.13), where it has not been run yet.

import argparse
import multiprocessing
import os
import time

SHARES = {'autoencoder': 0.27, 'decoder': 0.05, 'classifier': 0.03, 'encoder': 0.07, 'judge': 0.07, 'teacher': 0.33, 'student': 0.12}
GPU = {'autoencoder': ['--batch', '64'], 'decoder': ['--batch', '64'], 'teacher': ['--batch', '512'],
       'student': ['--batch', '512']}
STAGES = ['tokenizer', 'autoencoder', 'decoder', 'classifier', 'encoder', 'judge', 'teacher', 'student', 'export', 'evaluation']


def write_captions(arguments):
    import data
    import flow
    args = data.parser('captions', 0).parse_args(arguments)
    args.device, args.gpu = 'cpu', False
    flow.caption_ids(args)


def main():
    p = argparse.ArgumentParser(description='trains Cameo')
    p.add_argument('--budget', type=float, default=2.2, help='hours')
    p.add_argument('--data', default='../shared/data')
    p.add_argument('--work', default='build/train')
    p.add_argument('--out', default='build/cameo')
    p.add_argument('--init-from')
    p.add_argument('--device')
    p.add_argument('--compile', action='store_true')
    p.add_argument('--smoke', action='store_true')
    p.add_argument('--only', help='stages, joined by commas')
    args = p.parse_args()
    common = ['--data', args.data, '--work', args.work] + (['--smoke'] if args.smoke else [])
    extra = (['--device', args.device] if args.device else []) + (['--compile'] if args.compile else [])
    warm = ['--init-from', args.init_from] if args.init_from else []
    chosen = args.only.split(',') if args.only else STAGES
    assert set(chosen) <= set(STAGES), f'stages are {",".join(STAGES)}'

    import tokenizer
    if 'tokenizer' in chosen:
        tokenizer.main(common)
    import torch
    import data
    gpu = (args.device or ('cuda' if torch.cuda.is_available() else 'cpu')) != 'cpu'
    helper = None
    if gpu and 'teacher' in chosen and not args.smoke:        # the tokenizer is slower than a GPU: captions are made meanwhile
        helper = multiprocessing.get_context('spawn').Process(target=write_captions, args=(common,))
        helper.start()

    import autoencoder
    import classifier
    import distill
    import encoders
    import eval_torch
    import export
    import flow

    def minutes(stage):
        return ['--minutes', f'{60 * args.budget * SHARES[stage]:.3f}']

    def of(stage):
        return common + extra + minutes(stage) + (GPU.get(stage, []) if gpu else [])

    run = {'autoencoder': lambda: autoencoder.main(of('autoencoder') + warm),
           'decoder': lambda: autoencoder.main(of('decoder') + ['--decoder-only']),
           'classifier': lambda: classifier.main(of('classifier')),
           'encoder': lambda: encoders.main(of('encoder') + ['--which', 'encoder']),
           'judge': lambda: encoders.main(of('judge') + ['--which', 'judge']),
           'teacher': lambda: flow.main(of('teacher') + warm),
           'student': lambda: distill.main(of('student') + ['--paths-minutes', f'{60 * args.budget * 0.06:.3f}']),
           'export': lambda: export.main(common + ['--out', args.out]),
           'evaluation': lambda: eval_torch.main(common + extra + ['--model', args.out, '--psnr', '--count', '500', '--classifier',
                                                 os.path.join(args.work, 'attributes.onnx'), '--sheet', os.path.join(args.work, 'sheet.png')])}
    for stage in STAGES[1:]:
        if stage not in chosen:
            continue
        if stage == 'teacher' and helper:
            helper.join()
        began = time.time()
        print(f'== {stage}', flush=True)
        run[stage]()
        print(f'== {stage} took {time.time() - began:.1f} s', flush=True)


if __name__ == '__main__':
    main()
