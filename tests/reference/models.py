"""Fixtures for tests/models: six random small configurations of each network, outputs and vector-Jacobian products.

    python3 tests/reference/models.py        (torch 2.15, diffusers 0.42.1, transformers 5.24)

Writes tests/data/models/<kind>_<n>/: config.json and weights as the libraries save them (f16, whose rounding is part of
the model, so that f16 storage is exact) and case.safetensors: inputs (f16-representable), results computed in double
and stored as f32. Not run by any test.
"""
import json, math, os, shutil, sys
import torch
from safetensors.torch import save_file
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data', 'models')
torch.set_num_threads(1)


def half(*shape, scale=1.0):
    return (torch.randn(*shape, dtype=torch.float64) * scale).half().double()


def randomise(model):
    """Weights that keep activations near 1, norms that do something; all representable in f16."""
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.dim() >= 2 and 'embedding.weight' not in name:
                fan = p[0].numel()
                p.copy_(half(*p.shape, scale=1.0 / math.sqrt(fan)))
            elif p.dim() >= 2:
                p.copy_(half(*p.shape))
            elif name.endswith('weight'):
                p.copy_((1 + 0.3 * torch.randn(*p.shape, dtype=torch.float64)).half().double())
            else:
                p.copy_(half(*p.shape, scale=0.3))


def write(kind, n, model, tensors):
    folder = os.path.join(DATA, f'{kind}_{n}')
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder, safe_serialization=True)
    out = {}
    for name, t in tensors.items():
        exact = t.is_floating_point() and torch.equal(t.half().double(), t.double())
        out[name] = (t.half() if exact else t.float() if t.is_floating_point() else t.to(torch.int32)).contiguous()
    save_file(out, os.path.join(folder, 'case.safetensors'))
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(kind, n, sum(p.numel() for p in model.parameters()), 'parameters', size // 1024, 'KiB')


# ---- text encoder ----

CLIP = [  # layers, width, heads, intermediate, activation, eos, length, batch
    (1, 16, 2, 32, 'quick_gelu', 49, 9, 1),
    (2, 24, 3, 40, 'gelu', 49, 12, 3),
    (3, 20, 5, 52, 'quick_gelu', 2, 12, 2),
    (2, 32, 1, 64, 'quick_gelu', 31, 7, 3),
    (3, 8, 4, 16, 'gelu', 2, 1, 1),
    (1, 40, 4, 24, 'quick_gelu', 49, 12, 2),
]


def clip(n):
    layers, width, heads, inner, act, eos, length, batch = CLIP[n]
    torch.manual_seed(100 + n)
    config = CLIPTextConfig(vocab_size=50, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                            num_attention_heads=heads, max_position_embeddings=12, hidden_act=act, eos_token_id=eos,
                            bos_token_id=48, pad_token_id=49, projection_dim=width)
    model = CLIPTextModel(config).double().eval()
    randomise(model)
    ids = torch.randint(0, 47, (batch, length))
    for b in range(batch):  # begin, words, end, padding, the end at another place in every row
        ids[b, 0] = 48
        ids[b, max(1, length - 2 - b) if length > 1 else 0:] = 49 if eos == 2 else eos
    leaf = {}

    def replace(module, args, output):
        leaf['x'] = output.detach().requires_grad_(True)
        return leaf['x']
    model.embeddings.token_embedding.register_forward_hook(replace)
    result = model(input_ids=ids)
    hidden, pooled = result.last_hidden_state, result.pooler_output
    v, w = half(*hidden.shape), half(*pooled.shape)
    gradient, = torch.autograd.grad(((hidden * v).sum() + (pooled * w).sum()), leaf['x'])
    write('clip', n, model, dict(ids=ids, hidden=hidden.detach(), pooled=pooled.detach(), cotangent=v,
                                 pooled_cotangent=w, embeddings=leaf['x'].detach(), gradient=gradient))


# ---- U-Net ----

C, D, CU, U = 'CrossAttnDownBlock2D', 'DownBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'
UNET = [  # config, batch, height, width, tokens, use of a key mask
    (dict(block_out_channels=(8, 16), down_block_types=(D, C), up_block_types=(CU, U), layers_per_block=1,
          attention_head_dim=2, norm_num_groups=4, cross_attention_dim=12), 1, 16, 16, 7, False),
    (dict(block_out_channels=(8, 12), down_block_types=(C, C), up_block_types=(CU, CU), layers_per_block=2,
          attention_head_dim=(2, 3), norm_num_groups=4, cross_attention_dim=10, use_linear_projection=True,
          transformer_layers_per_block=(1, 2)), 3, 17, 23, 5, False),
    (dict(block_out_channels=(12, 20), down_block_types=(D, D), up_block_types=(U, U), layers_per_block=3,
          mid_block_type='UNetMidBlock2D', norm_num_groups=4, cross_attention_dim=12, center_input_sample=True,
          flip_sin_to_cos=False, freq_shift=1, downsample_padding=0), 2, 17, 23, 0, False),
    (dict(block_out_channels=(8, 8, 16), down_block_types=(C, D, C), up_block_types=(CU, U, CU),
          layers_per_block=(1, 2, 1), attention_head_dim=4, norm_num_groups=2, cross_attention_dim=16,
          use_linear_projection=True, norm_eps=1e-4), 1, 17, 23, 77, True),
    (dict(block_out_channels=(20,), down_block_types=(C,), up_block_types=(CU,), layers_per_block=2, in_channels=3,
          out_channels=5, attention_head_dim=5, norm_num_groups=5, cross_attention_dim=9, conv_in_kernel=1,
          conv_out_kernel=5, time_embedding_dim=28), 3, 9, 7, 3, True),
    (dict(block_out_channels=(8, 8, 12, 12), down_block_types=(D, D, D, D), up_block_types=(U, U, U, U),
          layers_per_block=1, attention_head_dim=1, norm_num_groups=4, cross_attention_dim=8), 1, 17, 23, 4, False),
]


def unet(n):
    config, batch, height, width, tokens, masked = UNET[n]
    torch.manual_seed(200 + n)
    model = UNet2DConditionModel(sample_size=16, **config).double().eval()
    randomise(model)
    c = model.config
    steps = torch.tensor([501.5, 3.25, 999.0])[:batch].double()

    def features(t):  # in double, where diffusers uses f32
        h = c.block_out_channels[0] // 2
        angle = t[:, None].double() * torch.exp(-math.log(10000) * torch.arange(h, dtype=torch.float64) / (h - c.freq_shift))
        parts = [angle.cos(), angle.sin()] if c.flip_sin_to_cos else [angle.sin(), angle.cos()]
        return torch.cat(parts, 1)
    theirs = model.time_proj(steps.float())
    assert (theirs.double() - features(steps)).abs().max() < 2e-3
    model.time_proj.forward = features
    x = half(batch, c.in_channels, height, width).requires_grad_(True)
    context = half(batch, max(tokens, 1), c.cross_attention_dim).requires_grad_(tokens > 0)
    extra = {}
    if masked:
        mask = torch.rand(batch, tokens) > 0.3
        mask[:, 0] = True
        extra = dict(encoder_attention_mask=mask)
    y = model(x, steps, encoder_hidden_states=context if tokens else None, **extra).sample
    v = half(*y.shape)
    wrt = [x, context] if tokens else [x]
    grads = torch.autograd.grad((y * v).sum(), wrt)
    tensors = dict(sample=x.detach(), steps=steps, output=y.detach(), cotangent=v, gradient=grads[0])
    if tokens:
        tensors |= dict(context=context.detach(), context_gradient=grads[1])
    if masked:
        tensors['key_bias'] = (1 - mask.double()) * -10000.0
    write('unet', n, model, tensors)


# ---- autoencoder ----

VAE = [  # config, batch, height, width of the picture, latent height and width
    (dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4), 1, 16, 16, 8, 8),
    (dict(block_out_channels=(8, 12), layers_per_block=2, norm_num_groups=2, latent_channels=3,
          mid_block_add_attention=False), 3, 17, 23, 7, 5),
    (dict(block_out_channels=(12,), layers_per_block=3, norm_num_groups=3, latent_channels=4, use_quant_conv=False,
          use_post_quant_conv=False, in_channels=1, out_channels=1), 3, 17, 23, 17, 23),
    (dict(block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=16,
          scaling_factor=0.3611, shift_factor=0.1159), 1, 19, 29, 5, 3),
    (dict(block_out_channels=(4, 8, 8, 12), layers_per_block=1, norm_num_groups=2, latent_channels=5,
          mid_block_add_attention=False, use_quant_conv=False), 2, 33, 17, 3, 1),
    (dict(block_out_channels=(16, 8), layers_per_block=2, norm_num_groups=8, latent_channels=4,
          use_post_quant_conv=False), 1, 23, 17, 9, 11),
]


def vae(n):
    config, batch, height, width, lh, lw = VAE[n]
    torch.manual_seed(300 + n)
    levels = len(config['block_out_channels'])
    model = AutoencoderKL(down_block_types=('DownEncoderBlock2D',) * levels, up_block_types=('UpDecoderBlock2D',) * levels,
                          sample_size=32, **config).double().eval()
    randomise(model)
    c = model.config
    x = half(batch, c.in_channels, height, width).requires_grad_(True)
    latent = model.encode(x).latent_dist
    v, w = half(*latent.mean.shape), half(*latent.mean.shape)
    gradient, = torch.autograd.grad((latent.mean * v).sum() + (latent.logvar * w).sum(), x)
    z = half(batch, c.latent_channels, lh, lw).requires_grad_(True)
    y = model.decode(z).sample
    u = half(*y.shape)
    z_gradient, = torch.autograd.grad((y * u).sum(), z)
    write('vae', n, model, dict(picture=x.detach(), mean=latent.mean.detach(), log_variance=latent.logvar.detach(),
                                mean_cotangent=v, log_variance_cotangent=w, picture_gradient=gradient, z=z.detach(),
                                decoded=y.detach(), decoded_cotangent=u, z_gradient=z_gradient))


if __name__ == '__main__':
    for make, count in ((clip, len(CLIP)), (unet, len(UNET)), (vae, len(VAE))):
        for i in range(count):
            if len(sys.argv) < 2 or f'{make.__name__}_{i}' in sys.argv[1:] or make.__name__ in sys.argv[1:]:
                make(i)
