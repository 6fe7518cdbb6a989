"""Words to work: texts, pairs of texts and words get labels, from contextual and static vectors together.

    data (data.py, conll.py) -> vectors, computed once (features.py) -> a small network (tag.py, classify.py, nli.py),
    trained by one loop (loop.py) -> a folder (folder.py)

Needs the extra `tasks`; reading data needs nothing.
"""
