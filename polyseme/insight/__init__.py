"""What vectors say about words: contexts that are alike, the senses of a word, pictures of both. Numpy only.

tour.py        the four views of `polyseme quickstart` on the bundled text                         <- START HERE
bundle.py      that text, with its senses marked (texts/en.txt, texts/zh.txt)
contexts.py    a text streams by: counts, a random sample, the places of a word, their vectors
neighbours.py  cosines, nearest contexts                senses.py   are same-sense contexts closer? groups of contexts
variety.py     which words vary most                    views.py    everything that a page shows about one word
plots.py       principal components, the map as SVG     page.py     one HTML file that needs nothing else
"""
