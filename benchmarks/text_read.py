"""The text that `polyseme train` has read after so many updates, a sentence a line: the same text for static vectors.

    python benchmarks/text_read.py CORPUS OUT.txt --updates 12140 --batch-size 64 --passages 2000      # en-small
    polyseme static fit word2vec OUT.txt --tokenized --lang en -o w2v --width 512

A run that ends before its corpus does has read the beginning of every lane. CORPUS and the options are those of the
run; words stand as the corpus has them, also those outside the model's vocabulary.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from polyseme.text.shards import Corpus
from polyseme.text.streams import Lanes, Stream, in_passages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=35)
    parser.add_argument("--passages", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    corpus = Corpus.open(options.corpus)
    epoch = 0
    stream = Stream(corpus.train.ids, corpus.train.starts)
    if options.passages:
        stream = in_passages(stream, options.passages, [options.seed, epoch])
    lanes = Lanes.cut(stream, options.batch_size)
    words = 0
    with options.out.open("w", encoding="utf-8", newline="\n") as file:
        for begin, size in zip(lanes.begins, lanes.sizes, strict=True):
            read = min(int(size), options.updates * options.steps)
            first, last = stream.sentence_at(np.asarray([begin, begin + read - 1]))
            for sentence in range(int(first), int(last) + 1):
                place = int(stream.places[sentence] if stream.places is not None else stream.starts[sentence])
                length = int(stream.starts[sentence + 1] - stream.starts[sentence])
                file.write(" ".join(corpus.words[id] for id in corpus.train.ids[place : place + length]) + "\n")
                words += length
    print(f"{words:,} of {corpus.train.n_words:,} words")


if __name__ == "__main__":
    main()
