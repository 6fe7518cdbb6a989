"""How good are frozen word vectors? Simple probes over the shared task data; `benchmarks/quality.py` runs them.

    readers.py      the task files -> sentences, labels, pairs                        <- START HERE
    vectors.py      a biLM, static vectors, a sentence transformer: where vectors come from
    cache.py        vectors of a data set, computed once, in memory-mapped files
    run.py          what every task gets, and the scores that it gives back
    metrics.py      entity F1, intervals, the noise of the robustness test
    perplexity.py   exact held-out perplexity of each genre
    senses.py       word in context, usage similarity, word-sense disambiguation by nearest neighbour
    sentences.py    sentence similarity by pooling; linear probes for sentiment and topic
    probes.py       logistic regression; linear probes for POS, NER and chunking
    tagger.py       the same small BiLSTM tagger over any frozen vectors, clean and with damaged test words
    report.py       raw results as JSON
    tables.py       Markdown made from them

docs/quality.md says what each number means and where it comes from.
"""
