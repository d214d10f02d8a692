"""Textual inversions of tests/data/models/tiny in both forms, and what transformers gives with them: tests/data/embeddings.

    python3 tests/reference/embedding.py        (torch 2.15, transformers 5.24). Not run by any test.
"""
import os
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, '..', 'data', 'models', 'tiny')
OUT = os.path.join(HERE, '..', 'data', 'embeddings')
os.makedirs(OUT, exist_ok=True)
torch.manual_seed(9)
torch.set_num_threads(1)
tokenizer = CLIPTokenizer.from_pretrained(os.path.join(TINY, 'tokenizer'))
model = CLIPTextModel.from_pretrained(os.path.join(TINY, 'text_encoder')).double().eval()
two, one = torch.randn(2, 16), torch.randn(16)
save_file({'emb_params': two}, os.path.join(OUT, 'hill house.safetensors'), {'sshs_model_hash': '0'})
save_file({'<cat-toy>': one}, os.path.join(OUT, 'learned_embeds.safetensors'))
base = model.get_input_embeddings().num_embeddings
words = ['<h0>', '<h1>', '<cat-toy>']
assert tokenizer.add_tokens(words) == 3
model.resize_token_embeddings(base + 3)
model.get_input_embeddings().weight.data[base:] = torch.cat([two, one[None]]).double()
prompt = 'A red person,HILL house on a <CAT-TOY>!'  # words of A1111 are told by the file's name
written = prompt.replace('HILL house', '<h0><h1>').replace('<CAT-TOY>', '<cat-toy>')
ids = tokenizer(written, padding='max_length', max_length=77, return_tensors='pt').input_ids
assert (ids >= base).sum() == 3, ids
with torch.no_grad():
    hidden = model(ids).last_hidden_state
save_file({'ids': ids.int(), 'hidden': hidden.float()}, os.path.join(OUT, 'expected.safetensors'))
print(ids[0, :40].tolist(), base)
