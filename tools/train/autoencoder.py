# autoencoder.py: trains the picture <-> latent half of Cameo (diffusers' AutoencoderKL, f8, 16 channels).
#
#   x [3,128,128] --encoder--> mean, log variance [16,16,16] --sample, extra noise--> decoder --> y [3,128,128]
#
# loss = 0.5 |x-y| + 8 (x-y)^2 + 0.5 |grad x - grad y|  (edges of line drawings)
#      + 2e-3 KL                                        (unused channels stay noise, used ones near unit variance)
#      + 0.1 of the same for  half-size latents         (a latent shrunk by 2 decodes to the picture shrunk by 2:
#                                                        fine detail stays out of the coarse latent, which a small
#                                                        flow model then learns sooner)
# Extra noise on the latents makes the decoder forgive the flow's small errors.  First 64-pixel crops, which see four
# times more pictures a second, then whole pictures, so that group statistics are those of use.
#
# State: WORK/autoencoder.pt (or decoder.pt: --decoder-only trains on a finished one, its latents unchanged).
# Result: WORK/autoencoder/ in diffusers layout, once training time is used up.

import os

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import data
import fastnorm

CONFIG = dict(in_channels=3, out_channels=3, sample_size=128, latent_channels=16, block_out_channels=[16, 32, 64, 128],
              down_block_types=['DownEncoderBlock2D'] * 4, up_block_types=['UpDecoderBlock2D'] * 4,
              layers_per_block=1, norm_num_groups=8, mid_block_add_attention=False, act_fn='silu')
CROPS_UNTIL = 0.64               # fraction of the training time spent on crops


def build(args):
    model = AutoencoderKL(**CONFIG).to(args.device, memory_format=torch.channels_last)
    return model if args.gpu else fastnorm.install(model)


def pool(table):
    """Picture numbers to draw from: line drawings, which are hardest, appear more often."""
    times = {'notionists': 5, 'adventurer': 4, 'lorelei': 3, 'openPeeps': 3, 'micah': 3}
    return torch.from_numpy(np.concatenate([np.full(times.get(r['style'], 2), i) for i, r in enumerate(table)]))


def crops(pictures, choices, count, size):
    """Random crops, half of them mirrored; offsets overshoot and are clamped, so that corners are seen as often as the middle."""
    device, room = pictures.device, data.SIZE - size
    which = choices[torch.randint(len(choices), (count,), device=device)]
    y, x = torch.randint(-16, room + 17, (2, count), device=device).clamp(0, room)
    line = torch.arange(size, device=device)
    mirrored = torch.where(torch.rand(count, 1, device=device) < 0.5, line, size - 1 - line)
    crop = pictures[which[:, None, None], (y[:, None] + line)[:, :, None], (x[:, None] + mirrored)[:, None, :]]
    return data.to_tensor(crop, device)


def distance(y, x):
    d = y - x
    edges = d.diff(dim=2).abs().mean() + d.diff(dim=3).abs().mean()
    return 0.5 * d.abs().mean() + 8 * d.square().mean() + 0.5 * edges


def decoder_loss(args, model, encoder, decoder, x):
    """For --decoder-only: the latents stay as they are, the decoder learns to read them better."""
    with torch.no_grad(), data.half_precision(args):
        z = model.quant_conv(encoder(x)).float().chunk(2, 1)[0]
    z = z + 0.06 * torch.rand(len(x), 1, 1, 1, device=x.device) * z.std() * torch.randn_like(z)
    with data.half_precision(args):
        y = decoder(model.post_quant_conv(z.contiguous(memory_format=torch.channels_last))).float()
    reconstruction = distance(y, x)
    return reconstruction, reconstruction, torch.zeros(())


def loss_of(args, model, encoder, decoder, x):
    with data.half_precision(args):
        moments = model.quant_conv(encoder(x))
    mean, logvar = moments.float().chunk(2, 1)
    logvar = logvar.clamp(-20, 5)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    extra = 0.1 * torch.rand(len(x), 1, 1, 1, device=x.device) * mean.detach().std()
    z = (z + extra * torch.randn_like(z)).contiguous(memory_format=torch.channels_last)
    half = slice(0, len(x) // 2)
    with data.half_precision(args):
        y = decoder(model.post_quant_conv(z)).float()
        y_half = decoder(model.post_quant_conv(F.avg_pool2d(z[half], 2))).float()
    reconstruction = distance(y, x)
    return reconstruction + 0.1 * distance(y_half, F.avg_pool2d(x[half], 2)) + 2e-3 * kl, reconstruction, kl


@torch.no_grad()
def reconstruct(model, pictures, batch=20):
    """uint8 pictures -> uint8 pictures through the latent mean, in f32."""
    out, device = [], next(model.parameters()).device
    for i in range(0, len(pictures), batch):
        x = data.to_tensor(pictures[i:i + batch], device)
        out.append(data.to_uint8(model.decode(model.encode(x).latent_dist.mean).sample))
    return np.concatenate(out)


def evaluate(model, pictures, table):
    """Mean PSNR of each style."""
    values = data.psnr(reconstruct(model, pictures), pictures)
    styles = np.array([r['style'] for r in table])
    return {s: float(values[styles == s].mean()) for s in data.STYLES if (styles == s).any()}, float(values.mean())


@torch.no_grad()
def export(args, model, pictures, config=None):
    """Rounds to f16 and writes the diffusers folder; measures the latents' mean and deviation unless they are known."""
    if config is None:
        picks = np.linspace(0, len(pictures) - 1, min(len(pictures), 1800)).astype(int)
        z = torch.cat([model.encode(data.to_tensor(pictures[torch.from_numpy(p)], args.device)).latent_dist.mean
                       for p in np.array_split(picks, max(1, len(picks) // 30))])
        config = dict(CONFIG, scaling_factor=round(float(1 / z.std()), 5), shift_factor=round(float(z.mean()), 5))
        data.log(args, 'autoencoder', f'latents: scaling_factor {config["scaling_factor"]} shift_factor {config["shift_factor"]} '
                 f'channel deviations {[round(float(s), 2) for s in z.std(dim=(0, 2, 3))]}')
    out = AutoencoderKL(**{k: v for k, v in config.items() if not k.startswith('_')})
    out.load_state_dict({k: v.cpu() for k, v in model.state_dict().items()})
    out.half().save_pretrained(os.path.join(args.work, 'autoencoder'))


def main(arguments=None):
    args = data.parser(__doc__ or 'autoencoder', 35)
    args.add_argument('--peak', type=float, default=1.2e-3, help='highest learning rate')
    args.add_argument('--batch', type=int, default=8, help='whole pictures; four times as many crops')
    args.add_argument('--decoder-only', action='store_true', help='train the finished autoencoder\'s decoder on; latents stay valid')
    args = data.setup(args.parse_args(arguments))
    name = 'decoder' if args.decoder_only else 'autoencoder'
    model, finished = build(args), os.path.join(args.work, 'autoencoder')
    start = finished if args.decoder_only else os.path.join(args.init_from, 'vae') if args.init_from else None
    if start:
        model.load_state_dict(AutoencoderKL.from_pretrained(start).float().state_dict())
    if args.decoder_only:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = data.Average([model], 0.998)
    path, step, used = os.path.join(args.work, name + '.pt'), 0, 0.0
    state = data.load_state(path)
    if state:
        model.load_state_dict(state['model'])
        optimiser.load_state_dict(state['optimiser'])
        average.load(state['average'])
        step, used = state['step'], state['used']
    fast = torch.compile if args.compile else lambda m, dynamic: m            # for training steps of one shape only
    encoder, decoder = fast(model.encoder, dynamic=False), fast(model.decoder, dynamic=False)
    pictures = data.on_device(args, 'characters_train')
    choices = pool(data.rows(args, 'characters_train')).to(args.device)
    val, table = data.pixels(args, 'characters_val'), data.rows(args, 'characters_val')
    some = np.arange(0, len(val), max(1, len(val) // 135))
    torch.manual_seed(args.seed + step)
    clock = data.Clock(args, used)
    feeders = {}
    data.log(args, name, f'start at step {step}, {used / 60:.1f} of {args.minutes} minutes used, '
             f'{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters')

    def feeder(size, count):
        if size not in feeders:
            feeders.clear()
            feeders[size] = data.feed(args, lambda: crops(pictures, choices, count, size))
        return feeders[size]

    def store():
        data.save_state(path, {'model': model.state_dict(), 'optimiser': optimiser.state_dict(),
                               'average': average.state(), 'step': step, 'used': clock.used})

    evaluated = clock.used
    while True:
        fraction = clock.tick()
        if fraction >= 1:
            break
        small = fraction < CROPS_UNTIL and not args.decoder_only and not args.gpu
        x = (feeder(64, 4 * args.batch) if small else feeder(128, args.batch))()
        for group in optimiser.param_groups:
            group['lr'] = data.learning_rate(fraction, args.peak)
        loss, reconstruction, kl = (decoder_loss if args.decoder_only else loss_of)(args, model, encoder, decoder, x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update()
        step += 1
        if step % 50 == 0 and args.gpu:
            torch.cuda.synchronize()                  # the clock must not run ahead of the work
        if clock.log_due():
            data.log(args, name, f'step {step} {100 * fraction:.1f} % loss {float(loss.detach()):.4f} '
                     f'reconstruction {float(reconstruction.detach()):.4f} kl {float(kl.detach()):.3f}')
        if clock.used - evaluated > 240:
            evaluated = clock.used
            average.swap()
            styles, mean = evaluate(model, val[some], [table[i] for i in some])
            average.swap()
            data.log(args, name, f'val PSNR {mean:.2f} ' + ' '.join(f'{s} {v:.1f}' for s, v in styles.items()))
        if clock.save_due():
            store()
    store()
    average.swap()
    plain = build(args)
    plain.load_state_dict(model.state_dict())
    export(args, plain, pictures, AutoencoderKL.load_config(finished) if args.decoder_only else None)
    final = AutoencoderKL.from_pretrained(os.path.join(args.work, 'autoencoder')).float().to(args.device)
    styles, mean = evaluate(final, val, table)
    data.log(args, name, f'final val PSNR {mean:.2f} ' + ' '.join(f'{s} {v:.2f}' for s, v in styles.items()))
    data.sheet(np.concatenate([val[some[::9]], reconstruct(final, val[some[::9]])]), len(some[::9]),
               os.path.join(args.work, 'autoencoder.png'))


if __name__ == '__main__':
    main()
