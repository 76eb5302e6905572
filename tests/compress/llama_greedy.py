"""Run by llama.cpp's own Python: greedy continuations of token ids, one JSON in, one out.

In: `path`, `prompts` (lists of ids), `count`, `texts`. Out: for each prompt the ids and how far
the second best logit was at each; for each text its ids.
"""

from __future__ import annotations

import json
import sys

import llama_cpp
import numpy as np


def main() -> None:
    request = json.load(sys.stdin)
    model = llama_cpp.Llama(
        request["path"], n_ctx=1024, n_batch=512, n_threads=1, verbose=False, seed=0
    )
    answers = []
    for prompt in request["prompts"]:
        model.reset()
        model.eval(prompt)
        tokens, gaps = [], []
        for _ in range(request["count"]):
            found = llama_cpp.llama_get_logits(model._ctx.ctx)
            row = np.ctypeslib.as_array(found, shape=(model.n_vocab(),))
            second, first = np.partition(row, -2)[-2:]
            tokens.append(int(row.argmax()))
            gaps.append(float(first - second))
            model.eval(tokens[-1:])
        answers.append({"tokens": tokens, "gaps": gaps})
    texts = [
        model.tokenize(text.encode(), add_bos=True, special=False) for text in request["texts"]
    ]
    json.dump({"answers": answers, "texts": texts, "metadata": model.metadata}, sys.stdout)


if __name__ == "__main__":
    main()
