"""Makes tests/data/checkpoints/clip_ids.json: strings of tests/data/tokenizer/expected.json and the ids (without begin
and end) that transformers' CLIPTokenizer gives them with CLIP's whole vocabulary, built from the merges that we ship.

    python3 tests/reference/clip_ids.py        (transformers 5.24.0, tokenizers 0.23.3). Not run by any test.
"""
import gzip, json, os, tempfile
from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, '..', 'data')
merges = gzip.open(os.path.join(HERE, '..', '..', 'third_party', 'data', 'clip_merges.txt.gz')).read().decode()
kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
letters = [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]
vocabulary = letters + [x + '</w>' for x in letters] + [m.replace(' ', '') for m in merges.splitlines()[1:]]
vocabulary += ['<|startoftext|>', '<|endoftext|>']
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, 'vocab.json'), 'w') as f:
        json.dump({word: i for i, word in enumerate(vocabulary)}, f)
    with open(os.path.join(folder, 'merges.txt'), 'w') as f:
        f.write(merges)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
with open(os.path.join(DATA, 'tokenizer', 'expected.json')) as f:
    document = json.load(f)
texts = []


def collect(node):
    if isinstance(node, dict) and isinstance(node.get('text'), str):
        texts.append(node['text'])
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        collect(child)


collect(document)
texts = [t for t in dict.fromkeys(texts) if len(t) < 200][:160]
texts += ['a photograph of an astronaut riding a horse', 'Greg Rutkowski, trending on artstation, 8k, octane render']
rows = [{'text': t, 'ids': tokenizer(t, add_special_tokens=False).input_ids} for t in texts]
assert len(vocabulary) == 49408 and tokenizer('a cat', add_special_tokens=False).input_ids == [320, 2368]
with open(os.path.join(DATA, 'checkpoints', 'clip_ids.json'), 'w') as f:
    json.dump({'rows': rows}, f, ensure_ascii=True, separators=(',', ':'))
    f.write('\n')
print(len(rows), 'rows')
