import torch, os, data, json
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

UNET = dict(sample_size=16, in_channels=16, out_channels=16, block_out_channels=[80, 160, 160],
            down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'], mid_block_type='UNetMidBlock2DCrossAttn',
            up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], layers_per_block=1,
            cross_attention_dim=128, attention_head_dim=5, transformer_layers_per_block=1, norm_num_groups=16,
            flip_sin_to_cos=True, freq_shift=0)


def build(tokenizer_folder):
    with open(os.path.join(tokenizer_folder, 'vocab.json'), encoding='utf-8') as f:
        ids = json.load(f)
    config = CLIPTextConfig(vocab_size=len(ids), hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
                            max_position_embeddings=77, hidden_act='quick_gelu', projection_dim=128,
                            bos_token_id=ids['<|startoftext|>'], eos_token_id=ids['<|endoftext|>'], pad_token_id=ids['<|endoftext|>'])
    return UNet2DConditionModel(**UNET), CLIPTextModel(config)
