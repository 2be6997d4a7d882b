"""What bench/encoder.ts compares with, in Python: one peer per process, which answers lines of JSON.

    python bench/encoder_peers.py onnxruntime|torch-fp32|torch-bf16 --model DIRECTORY --threads N

First it prints {"name", "versions", "sizes"}: what it is, and the batch sizes worth trying. Then,
for each line {"texts": [...], "rows": [[ids]], "size": n, "vectors": bool}, one line
{"seconds", "cpu_seconds", "tokens", "padded_tokens", "vectors"}: the time to encode all of them in batches of
that size, and, if asked for, each text's weights by term id. A peer that cannot run prints
{"error": "..."}.

- onnxruntime runs the same graph over the same token ids, sorted by length, as a bare loop;
  its size is the tokens of a batch, padding included.
- torch-fp32 and torch-bf16 are the same network in PyTorch (the checkpoint read back by
  csplade_train.reopen) inside sentence-transformers' SparseEncoder, which tokenizes, sorts and
  batches the texts; its size is the texts of a batch. Without sentence-transformers they are a
  bare loop over the token ids.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOP_TERMS = 256


def batches_by_tokens(rows: list[list[int]], budget: int) -> list[list[int]]:
    """Places in `rows`, longest first, in batches of at most `budget` tokens with padding."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    batches: list[list[int]] = []
    for i in order:
        if batches and (len(batches[-1]) + 1) * len(rows[batches[-1][0]]) <= budget:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


class OnnxRuntime:
    """The same graph, from Python."""

    sizes = (512, 1024, 2048, 4096, 8192)

    def __init__(self, model: Path, threads: int) -> None:
        import numpy
        import onnxruntime

        self.np = numpy
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.name = "onnxruntime from Python, same graph"
        self.versions = {"onnxruntime (Python)": onnxruntime.__version__}

    def encode(self, texts: list[str], rows: list[list[int]], size: int) -> tuple[int, Callable[[], list[dict]]]:
        np = self.np
        padded = 0
        found: list[Any] = []
        k = np.array([TOP_TERMS], dtype=np.int64)
        for batch in batches_by_tokens(rows, size):
            width = len(rows[batch[0]])
            padded += width * len(batch)
            ids = np.zeros((len(batch), width), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, : len(rows[i])] = rows[i]
                mask[row, : len(rows[i])] = 1
            found.append(
                (batch, self.session.run(["indices", "weights"], {"input_ids": ids, "attention_mask": mask, "k": k}))
            )

        def vectors() -> list[dict]:
            by_place = {
                i: {int(t): float(w) for t, w in zip(indices[row], weights[row], strict=True) if w > 0}
                for batch, (indices, weights) in found
                for row, i in enumerate(batch)
            }
            return [by_place[i] for i in range(len(rows))]

        return padded, vectors


class Torch:
    """The same network in PyTorch, in sentence-transformers where that is installed."""

    sizes = (8, 16, 32, 64)

    def __init__(self, model: Path, threads: int, bfloat16: bool) -> None:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "training"))
        import torch
        from csplade_train.batches import padded
        from csplade_train.reopen import reopen
        from tokenizers import Tokenizer

        torch.set_num_threads(threads)
        self.torch, self.padded, self.bfloat16 = torch, padded, bfloat16
        network, tokenizer = reopen(model)
        network.eval()
        self.tokenizer = Tokenizer.from_str(tokenizer)
        self.limit = int(json.loads((model / "manifest.json").read_text(encoding="utf-8"))["max_tokens"]["document"])
        if bfloat16:
            # Stored as bfloat16 once, or autocast would convert them in every batch.
            for layer in network.layers:
                layer.to(torch.bfloat16)
                layer.attention_norm.float()
                layer.mlp_norm.float()
            network.embedding.to(torch.bfloat16)
        self.network = network
        self.padded_tokens = 0
        kind = "bf16" if bfloat16 else "fp32"
        self.versions = {"torch": torch.__version__}
        try:
            import sentence_transformers

            self.model: Any = self._sparse_encoder()
            self.versions["sentence-transformers"] = sentence_transformers.__version__
            self.name = f"sentence-transformers SparseEncoder, torch {kind}"
        except ImportError:
            self.model = None
            self.name = f"torch {kind}, bare loop (sentence-transformers is not installed)"

    def _forward(self, rows: list[list[int]]) -> Any:
        ids, mask = self.padded(rows)
        self.padded_tokens += ids.numel()
        return self.network(ids, mask)

    def _sparse_encoder(self) -> Any:
        """The network as sentence-transformers takes one: a module that reads and fills `features`."""
        from sentence_transformers import SparseEncoder

        torch, owner = self.torch, self

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = owner.network
                self.max_seq_length = owner.limit

            def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Any]:
                rows = [e.ids[: owner.limit] for e in owner.tokenizer.encode_batch(inputs)]
                ids, mask = owner.padded(rows)
                return {"input_ids": ids, "attention_mask": mask}

            tokenize = preprocess

            def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
                owner.padded_tokens += features["input_ids"].numel()
                weights = self.network(features["input_ids"], features["attention_mask"])
                features["sentence_embedding"] = weights.float()
                return features

            def get_sentence_embedding_dimension(self) -> int:
                return int(self.network.config.vocabulary)

            get_embedding_dimension = get_sentence_embedding_dimension

        return SparseEncoder(modules=[Network()], device="cpu")

    def encode(self, texts: list[str], rows: list[list[int]], size: int) -> tuple[int, Callable[[], list[dict]]]:
        torch = self.torch
        self.padded_tokens = 0
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            if self.model is not None:
                found = self.model.encode(
                    texts, batch_size=size, show_progress_bar=False, max_active_dims=TOP_TERMS, convert_to_tensor=False
                )

                def vectors() -> list[dict]:
                    return [
                        {int(i): float(v) for i, v in zip(e._indices()[-1], e._values(), strict=True) if v > 0}
                        for e in found
                    ]

                return self.padded_tokens, vectors
            order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
            top: dict[int, Any] = {}
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                values, indices = self._forward([rows[i] for i in batch]).float().topk(TOP_TERMS, dim=1)
                top.update({i: (indices[row], values[row]) for row, i in enumerate(batch)})

        def loop_vectors() -> list[dict]:
            return [
                {int(t): float(w) for t, w in zip(*top[i], strict=True) if w > 0} for i in range(len(rows))
            ]

        return self.padded_tokens, loop_vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["onnxruntime", "torch-fp32", "torch-bf16"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    # Whatever a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        peer: OnnxRuntime | Torch
        if options.peer == "onnxruntime":
            peer = OnnxRuntime(options.model, options.threads)
        else:
            peer = Torch(options.model, options.threads, options.peer == "torch-bf16")
    except (ImportError, OSError, ValueError, RuntimeError) as reason:
        answer({"error": f"{type(reason).__name__}: {reason}"})
        return
    answer({"name": peer.name, "versions": {"python": sys.version.split()[0], **peer.versions}, "sizes": peer.sizes})
    for line in sys.stdin:
        request = json.loads(line)
        started, cpu = time.perf_counter(), time.process_time()
        padded, vectors = peer.encode(request["texts"], request["rows"], request["size"])
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        tokens = sum(len(row) for row in request["rows"])
        answer(
            {
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "tokens": tokens,
                "padded_tokens": padded,
                "vectors": vectors() if request.get("vectors") else [],
            }
        )


if __name__ == "__main__":
    main()
