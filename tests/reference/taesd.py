"""A small TAESD decoder in both layouts, its output and vector-Jacobian product: tests/data/models/taesd.

    python3 tests/reference/taesd.py        (torch 2.15, diffusers 0.42.1). Not run by any test.
"""
import json, os
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data', 'models', 'taesd')
torch.manual_seed(5)
torch.set_num_threads(1)
os.makedirs(OUT, exist_ok=True)
model = AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                        num_encoder_blocks=(1, 1), num_decoder_blocks=(2, 1)).double().eval()
for p in model.parameters():
    p.data = (torch.randn_like(p) * (0.15 if p.dim() > 1 else 0.3)).half().double()
tensors = {k: v.half().contiguous() for k, v in model.state_dict().items()}
save_file(tensors, os.path.join(OUT, 'diffusion_pytorch_model.safetensors'))
original = {}
for key, value in tensors.items():
    if key.startswith('decoder.layers.'):
        number, rest = key.removeprefix('decoder.layers.').split('.', 1)
        original[f'{int(number) + 1}.{rest}'] = value  # a Clamp module is number 0 there
save_file(original, os.path.join(OUT, 'taesd_decoder.safetensors'))
z = (torch.randn(2, 4, 5, 3) * 2).half().double().requires_grad_(True)
picture = model.decode(z).sample / 2 + 0.5
v = torch.randn_like(picture).half().double()
gradient, = torch.autograd.grad((picture * v).sum(), z)
save_file({k: t.detach().float().contiguous() for k, t in
           dict(z=z, picture=picture, cotangent=v, gradient=gradient).items()}, os.path.join(OUT, 'case.safetensors'))
print({k: tuple(v.shape) for k, v in tensors.items() if k.startswith('decoder')})
