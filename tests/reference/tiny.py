"""The tiny model of the tests: tests/data/models/tiny, a whole model folder with random weights, and what diffusers and
an independent PyTorch loop make with it.

    python3 tests/reference/tiny.py            (torch 2.15, diffusers 0.42.1, transformers 5.24, onnx 1.23)

Pictures of 16 x 16 pixels, latents 4 x 8 x 8, two levels, a tokenizer of single bytes and a few pairs. Not run by any
test.
"""
import json, os, sys
import torch
from safetensors.torch import load_file, save_file
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, '..', 'data', 'models', 'tiny')
sys.path.insert(0, os.path.join(HERE, '..', '..', 'tools', 'train'))
import guided  # noqa: E402
import onnx_writer  # noqa: E402

torch.manual_seed(11)
torch.set_num_threads(2)
os.makedirs(os.path.join(OUT, 'tokenizer'), exist_ok=True)


def put(path, value):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False) + '\n')


# ---- tokenizer: CLIP's bytes, each alone and at the end of a word, and a handful of merges
def byte_letters():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in kept}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return [letters[b] for b in kept] + [letters[b] for b in range(256) if b not in kept]


MERGES = ['r e', 'i n', 'e r', 're d</w>', 'o n</w>', 'p er', 's on</w>', 'per son</w>']
letters = byte_letters()
vocabulary = letters + [x + '</w>' for x in letters] + [m.replace(' ', '') for m in MERGES]
vocabulary += ['<|startoftext|>', '<|endoftext|>']
put('tokenizer/vocab.json', {word: i for i, word in enumerate(vocabulary)})
put('tokenizer/merges.txt', '#version: 0.2\n' + '\n'.join(MERGES) + '\n')
put('tokenizer/special_tokens_map.json', {'bos_token': '<|startoftext|>', 'eos_token': '<|endoftext|>',
                                          'pad_token': '<|endoftext|>', 'unk_token': '<|endoftext|>'})
put('tokenizer/tokenizer_config.json', {'model_max_length': 77, 'tokenizer_class': 'CLIPTokenizer'})

# ---- networks
text = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                    num_attention_heads=2, max_position_embeddings=77, hidden_act='quick_gelu',
                                    bos_token_id=len(vocabulary) - 2, eos_token_id=len(vocabulary) - 1,
                                    pad_token_id=len(vocabulary) - 1))
unet = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
                            down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
                            up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'), cross_attention_dim=16,
                            attention_head_dim=2, norm_num_groups=4)
vae = AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 16), layers_per_block=1,
                    down_block_types=('DownEncoderBlock2D',) * 2, up_block_types=('UpDecoderBlock2D',) * 2,
                    norm_num_groups=4, sample_size=16, scaling_factor=0.7, shift_factor=0.1)
encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.PReLU(8), torch.nn.Conv2d(8, 16, 3, 2, 1),
                              torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 16))
judge = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.ReLU(), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
                            torch.nn.Linear(128, 12))
for network in (text, unet, vae, encoder, judge):
    for p in network.parameters():                     # livelier than their initial values, and exact in f16
        p.data = (p.data * (1.5 if p.dim() > 1 else 1)).half().float()
MEAN, STD = [0.5, 0.45, 0.4], [0.3, 0.25, 0.2]


def metadata(size, **more):
    return {'likeness.size': size, 'likeness.mean': ','.join(map(str, MEAN)), 'likeness.std': ','.join(map(str, STD)),
            'likeness.channels': 'RGB', **more}


unet.half().save_pretrained(os.path.join(OUT, 'unet'))
vae.half().save_pretrained(os.path.join(OUT, 'vae'))
text.half().save_pretrained(os.path.join(OUT, 'text_encoder'))
weights = os.path.join(OUT, 'text_encoder', 'model.safetensors')
save_file({'text_model.' + k.removeprefix('text_model.'): v for k, v in load_file(weights).items()}, weights, {'format': 'pt'})
FlowMatchEulerDiscreteScheduler(shift=1.5).save_pretrained(os.path.join(OUT, 'scheduler'))
put('model_index.json', {
    '_class_name': 'LikenessPipeline', 'scheduler': ['diffusers', 'FlowMatchEulerDiscreteScheduler'],
    'unet': ['diffusers', 'UNet2DConditionModel'], 'vae': ['diffusers', 'AutoencoderKL'],
    'text_encoder': ['transformers', 'CLIPTextModel'], 'tokenizer': ['transformers', 'CLIPTokenizer'],
    'likeness': {'name': 'Tiny', 'size': 16, 'prediction': 'velocity', 'steps': 3, 'guidance': 1.0,
                 'identity_encoder': 'identity_encoder.onnx', 'judge': 'judge.onnx'}})
onnx_writer.write(os.path.join(OUT, 'identity_encoder.onnx'), encoder.eval(), 12, metadata(12))
onnx_writer.write(os.path.join(OUT, 'judge.onnx'), judge.eval(), 8, metadata(8, **{'likeness.threshold': '0.25'}))

# ---- what they make
guided.make_case(OUT, os.path.join(OUT, 'case.safetensors'), 'red person on a hill', 'rain')
