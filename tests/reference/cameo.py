"""Fixture for tests/models/test_cameo.c: one call of each network of a model folder, by diffusers and transformers.

    python3 tests/reference/cameo.py assets/cameo tests/data/models/cameo/case.safetensors

(torch 2.15, diffusers 0.42.1, transformers 5.24.) To be made anew whenever the weights in assets/cameo change: the file
remembers which weights it belongs to. Not run by any test.
"""
import hashlib, math, os, sys
import torch
from safetensors.torch import save_file
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

FILES = ('text_encoder/model.safetensors', 'unet/diffusion_pytorch_model.safetensors', 'vae/diffusion_pytorch_model.safetensors')
folder, target = sys.argv[1:]
torch.manual_seed(7)
torch.set_num_threads(2)
text = CLIPTextModel.from_pretrained(os.path.join(folder, 'text_encoder'), torch_dtype=torch.float32).double().eval()
unet = UNet2DConditionModel.from_pretrained(os.path.join(folder, 'unet'), torch_dtype=torch.float32).double().eval()
vae = AutoencoderKL.from_pretrained(os.path.join(folder, 'vae'), torch_dtype=torch.float32).double().eval()
half = lambda *shape: torch.randn(*shape, dtype=torch.float64).half().double()

ids = torch.randint(0, text.config.vocab_size - 2, (2, 77))
ids[:, 0], ids[0, 9:], ids[1, 40:] = text.config.bos_token_id, text.config.eos_token_id, text.config.eos_token_id
hidden = text(input_ids=ids).last_hidden_state.detach()
side = unet.config.sample_size


def features(t):  # in double, where diffusers uses f32
    h = unet.config.block_out_channels[0] // 2
    angle = t[:, None].double() * torch.exp(-math.log(10000) * torch.arange(h, dtype=torch.float64) / (h - unet.config.freq_shift))
    return torch.cat([angle.cos(), angle.sin()] if unet.config.flip_sin_to_cos else [angle.sin(), angle.cos()], 1)


unet.time_proj.forward = features
sample, steps = half(2, unet.config.in_channels, side, side).requires_grad_(True), torch.tensor([1000.0, 250.0]).double()
velocity = unet(sample, steps, encoder_hidden_states=hidden.float().double()).sample
v = half(*velocity.shape)
gradient, = torch.autograd.grad((velocity * v).sum(), sample)
z = half(1, vae.config.latent_channels, side, side).requires_grad_(True)
picture = vae.decode(z).sample
u = half(*picture.shape)
z_gradient, = torch.autograd.grad((picture * u).sum(), z)
mean = vae.encode(picture.detach().half().double()).latent_dist.mean.detach()
tensors = dict(ids=ids.int(), hidden=hidden.float(), sample=sample.detach().half(), steps=steps.float(),
               velocity=velocity.detach().float(), velocity_cotangent=v.half(), gradient=gradient.float(),
               z=z.detach().half(), picture=picture.detach().float(), picture_cotangent=u.half(),
               z_gradient=z_gradient.float(), encoder_input=picture.detach().half(), mean=mean.float())
seen = ''.join(hashlib.sha256(open(os.path.join(folder, f), 'rb').read()).hexdigest() for f in FILES)
os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
save_file({k: t.contiguous() for k, t in tensors.items()}, target, metadata=dict(weights=seen))
print(target, os.path.getsize(target) // 1024, 'KiB')
