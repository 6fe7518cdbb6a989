"""A biLM used as what it was trained to be, a language model in two directions.

network.py      LanguageModel: a model with a softmax, made ready; `load` opens one                  <- START HERE
losses.py       streams of word ids -> exact losses of both directions (the trainer validates through it)
perplexity.py   evaluate a text                score.py        log probabilities of sentences and words
generate.py     text in either direction       substitutes.py  what else fits here?
text.py         files -> sentences, prompts, the place of a word
"""
