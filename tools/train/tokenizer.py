# tokenizer.py: trains Cameo's own vocabulary, in CLIP's file format.
#
#   caption --lower case, single spaces--> words --UTF-8 bytes as printable symbols--> byte pairs merged by frequency
#
#   vocab.json   256 byte symbols | 256 of them with </w> (end of a word) | one entry a merge | the two special tokens
#   merges.txt   a version line, then one pair a line, earliest merge first
#
# Trained on the captions of characters_train and objects_train.  Byte level: any text can be written down, whether
# its words were seen or not.  Result: WORK/tokenizer/, which transformers' CLIPTokenizer loads.

import collections
import json
import os

import numpy as np
import regex

import data

ENTRIES = 2000
LENGTH = 77
START, END = '<|startoftext|>', '<|endoftext|>'
WORDS = regex.compile(r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""",
                      regex.IGNORECASE)


def byte_symbols():
    """A printable symbol for each byte: itself where printable, else the next free one from 256 on; CLIP's order."""
    order = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1), *range(ord('®'), ord('ÿ') + 1)]
    symbols = {b: chr(b) for b in order}
    for b in range(256):
        if b not in symbols:
            symbols[b] = chr(256 + len(symbols) - len(order))
    return symbols


def split(text):
    return WORDS.findall(' '.join(text.split()).lower())


def symbols_of(word, table):
    s = [table[b] for b in word.encode('utf-8')]
    return (*s[:-1], s[-1] + '</w>')


def merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train(captions, entries):
    table = byte_symbols()
    counts = collections.Counter(w for c in captions for w in split(c))
    words = {symbols_of(w, table): n for w, n in sorted(counts.items())}
    base = list(table.values())
    merges, wanted = [], entries - 2 * len(base) - 2
    while len(merges) < wanted:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))       # ties by name, so that the result never varies
        merges.append(best)
        words = {merge(word, best): n for word, n in words.items()}
    entries = base + [s + '</w>' for s in base] + [a + b for a, b in merges] + [START, END]
    return {e: i for i, e in enumerate(entries)}, merges


def write(folder, vocabulary, merges):
    os.makedirs(folder, exist_ok=True)

    def put(name, value):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
            f.write(value)
    put('vocab.json', json.dumps(vocabulary, ensure_ascii=False))
    put('merges.txt', '#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in merges))
    put('tokenizer_config.json', json.dumps(dict(
        tokenizer_class='CLIPTokenizer', model_max_length=LENGTH, do_lower_case=True, add_prefix_space=False,
        errors='replace', bos_token=START, eos_token=END, pad_token=END, unk_token=END), indent=1) + '\n')
    put('special_tokens_map.json', json.dumps(dict(bos_token=START, eos_token=END, pad_token=END, unk_token=END),
                                              indent=1) + '\n')


class Tokenizer:
    """Reads a tokenizer folder; encode() gives 77 ids, the end token as padding."""

    def __init__(self, folder):
        with open(os.path.join(folder, 'vocab.json'), encoding='utf-8') as f:
            self.ids = json.load(f)
        with open(os.path.join(folder, 'merges.txt'), encoding='utf-8') as f:
            self.rank = {tuple(line.split()): i for i, line in enumerate(f.read().splitlines()[1:])}
        self.table, self.known = byte_symbols(), {}

    def word(self, word):
        if word not in self.known:
            s = symbols_of(word, self.table)
            while True:
                best = min(zip(s, s[1:]), key=lambda p: self.rank.get(p, 1 << 30), default=None)
                if best is None or best not in self.rank:
                    break
                s = merge(s, best)
            self.known[word] = [self.ids[x] for x in s]
        return self.known[word]

    def encode(self, text):
        ids = [i for w in split(text) for i in self.word(w)][:LENGTH - 2]
        return [self.ids[START], *ids, *[self.ids[END]] * (LENGTH - 1 - len(ids))]

    def batch(self, texts):
        return np.array([self.encode(t) for t in texts], np.int64)


def main(arguments=None):
    args = data.setup(data.parser('tokenizer', 1).parse_args(arguments))
    captions = [r['text'] for s in ('characters_train', 'objects_train') for r in data.rows(args, s)]
    vocabulary, merges = train(captions, ENTRIES)
    folder = os.path.join(args.work, 'tokenizer')
    write(folder, vocabulary, merges)
    ours = Tokenizer(folder)
    lengths = [sum(i != vocabulary[END] for i in ours.encode(c)) for c in captions[:: max(1, len(captions) // 2000)]]
    data.log(args, 'tokenizer', f'{len(vocabulary)} entries, {len(merges)} merges, longest caption {max(lengths)} tokens')
    from transformers import CLIPTokenizer
    theirs = CLIPTokenizer.from_pretrained(folder)
    for text in captions[::997] + ["Zoë's 3 cats, ½ naïve!", '']:
        assert theirs(text, padding='max_length', truncation=True, max_length=LENGTH).input_ids == ours.encode(text), text
    data.log(args, 'tokenizer', 'CLIPTokenizer agrees')


if __name__ == '__main__':
    main()
