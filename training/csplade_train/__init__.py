"""Training of CSPLADE models: learned sparse retrieval with causal language models.

Paper: "CSPLADE: Learned Sparse Retrieval with Causal Language Models",
arXiv 2504.10816.  The package turns a small causal language model into a
sparse text encoder and exports it as a checkpoint directory that the
TypeScript runtime loads (`manifest.json`, `model.onnx`, `tokenizer.json`).
"""

__version__ = "0.1.0"
