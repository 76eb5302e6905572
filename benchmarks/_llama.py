"""llama.cpp, measured through llama-cpp-python's low-level API: the peer of `generate.py`.

The benchmark runs this file with the peer's own Python, one figure in one process:
`python _llama.py PART SETTINGS`. The last line printed is JSON. No sampling is done here, and no
text is made: what counts is `llama_decode` alone, which flatters the peer.
"""

from __future__ import annotations

import ctypes
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PEER = "llama-cpp-python==0.3.36"
CONTEXT = 256  # positions of each stream: a prompt of 128 and what it goes on with
FLASH = {"auto": -1, "off": 0, "on": 1}


def peer_python() -> Path:
    """An environment that holds the peer; made once (a compilation of about five minutes)."""
    from _machine import ROOT

    folder = ROOT / ".bench" / "llama"
    python = folder / "bin" / "python"
    name, version = PEER.split("==")
    test = (
        "from importlib.metadata import version; import llama_cpp; "
        f"assert version({name!r}) == {version!r}"
    )
    if not (python.exists() and not subprocess.call([python, "-c", test])):
        print(f"compiling {PEER} into {folder} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=True)
    return python


class Peer:
    """A model and how its contexts are made: `flash` and `unified` are llama.cpp's own options."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import llama_cpp

        self.L: Any = llama_cpp
        # Kept for as long as the library may call it.
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.threads = int(settings["threads"])
        self.flash = FLASH[settings.get("flash", "auto")]
        self.unified = bool(settings.get("unified", True))
        path = str(settings["gguf"]).encode()
        self.model = llama_cpp.llama_model_load_from_file(
            path, llama_cpp.llama_model_default_params()
        )
        assert self.model, f"llama.cpp cannot load {settings['gguf']}"
        self.random = random.Random(settings.get("seed", 0))

    def context(self, streams: int, positions: int) -> Any:
        """A context in which each of `streams` sequences has `positions`."""
        p = self.L.llama_context_default_params()
        p.n_ctx = streams * positions
        p.n_batch, p.n_ubatch = 2048, 512  # its defaults
        p.n_threads = p.n_threads_batch = self.threads
        p.n_seq_max = streams
        p.flash_attn_type, p.kv_unified = self.flash, self.unified
        made = self.L.llama_init_from_model(self.model, p)
        assert made, "llama.cpp refuses the context"
        return made

    def decode(self, context: Any, tokens: list[tuple[int, int, int, bool]]) -> None:
        """One call of `llama_decode` over (token, position, sequence, logits wanted)."""
        batch = self.L.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = wanted
        status = self.L.llama_decode(context, batch)
        assert status == 0, f"llama_decode returned {status}"
        self.L.llama_synchronize(context)
        self.L.llama_batch_free(batch)

    def prompt(self, context: Any, length: int, sequence: int = 0) -> None:
        self.decode(
            context,
            [(self.token(), i, sequence, i == length - 1) for i in range(length)],
        )

    def token(self) -> int:
        return self.random.randrange(5, 40_000)


def prefill(peer: Peer, settings: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second over a prompt; the first, which warms up, does not count."""
    length, runs = settings["tokens"], settings["runs"]
    context = peer.context(1, length + 64)
    seconds = []
    for _ in range(runs + 1):
        peer.L.llama_memory_clear(peer.L.llama_get_memory(context), True)
        started = time.perf_counter()
        peer.prompt(context, length)
        seconds.append(time.perf_counter() - started)
    peer.L.llama_free(context)
    counted = sorted(seconds[1:])
    return {"tokens_per_second": length / counted[len(counted) // 2]}


def decode(peer: Peer, settings: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second over all streams together, after prompts of so many tokens."""
    streams, length, new = settings["streams"], settings["prompt"], settings["new"]
    warm = 4
    assert length + new + warm <= CONTEXT
    context = peer.context(streams, CONTEXT)
    for sequence in range(streams):
        peer.prompt(context, length, sequence)
    started = 0.0
    for step in range(new + warm):
        if step == warm:
            started = time.perf_counter()
        peer.decode(context, [(peer.token(), length + step, s, True) for s in range(streams)])
    seconds = time.perf_counter() - started
    peer.L.llama_free(context)
    return {"tokens_per_second": streams * new / seconds}


def probe(settings: dict[str, Any]) -> dict[str, Any]:
    """The quickest of flash attention on or off, and of the two ways to keep several sequences."""
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    for flash in ("on", "off"):
        for unified in (True, False):
            choice = {"flash": flash, "unified": unified}
            peer = Peer(settings | choice)
            found = {"prefill": prefill(peer, settings | {"runs": 1})}
            for n in settings["streams"]:
                found[f"decode{n}"] = decode(peer, settings | {"streams": n})
            peer.L.llama_model_free(peer.model)
            for name, figure in found.items():
                speed = figure["tokens_per_second"]
                if name not in best or speed > best[name][0]:
                    best[name] = (speed, choice)
    return {name: choice for name, (_, choice) in best.items()}


def load(settings: dict[str, Any]) -> dict[str, Any]:
    """From nothing to the first token of an answer; whoever started this process has the clock."""
    peer = Peer(settings)
    context = peer.context(1, 2048)
    vocabulary = peer.L.llama_model_get_vocab(peer.model)
    text = settings["text"].encode()
    ids = (ctypes.c_int32 * 512)()
    count = peer.L.llama_tokenize(vocabulary, text, len(text), ids, 512, False, True)
    assert count > 0
    peer.decode(context, [(ids[i], i, 0, i == count - 1) for i in range(count)])
    row = peer.L.llama_get_logits_ith(context, count - 1)
    token = max(range(peer.L.llama_vocab_n_tokens(vocabulary)), key=row.__getitem__)
    print(json.dumps({"first_token": token}), flush=True)
    return {"token": token}


def memory(peer: Peer, settings: dict[str, Any]) -> dict[str, Any]:
    """Serve so many streams of so many tokens; whoever started this process reads its memory."""
    streams, length, new = settings["streams"], settings["prompt"], settings["new"]
    context = peer.context(streams, length + new)
    for sequence in range(streams):
        peer.prompt(context, length, sequence)
    for step in range(new):
        peer.decode(context, [(peer.token(), length + step, s, True) for s in range(streams)])
    status = Path("/proc/self/status").read_text().splitlines()
    lines = dict(line.split(":", 1) for line in status if ":" in line)
    peak = int(lines["VmHWM"].split()[0]) * 1024
    peer.L.llama_free(context)
    return {"peak_rss": peak}


def main() -> None:
    part, settings = sys.argv[1], json.loads(sys.argv[2])
    if part == "probe":
        found = probe(settings)
    elif part == "load":
        found = load(settings)
    else:
        found = {"prefill": prefill, "decode": decode, "memory": memory}[part](
            Peer(settings), settings
        )
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
