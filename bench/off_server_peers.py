"""Peers without a server: Block-Max Pruning (bmp), Seismic (pyseismic-lsr) and bm25s.

Reads a corpus, builds the peers' indices, then answers questions from standard input, a line of
JSON each, so that they take turns with the systems of the benchmark that started it.

    python off_server_peers.py FOLDER PEER...          builds what is not built, answers
    python off_server_peers.py --build FOLDER PEER...  only builds

FOLDER holds documents.jsonl ({"id", "text", "vector": {term: weight}}), ids counting from 0. Indices
that an earlier call built there are opened as they are. The first line of output names what each peer needs; then one answer for each question
({"peer", "text", "vector"} -> {"hits": [[id, score]...], "ms"}).
The milliseconds are the library's own search: no tokenizing of vectors, no JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

HITS = 10


def documents(folder):
    with open(folder / "documents.jsonl", encoding="utf8") as lines:
        for line in lines:
            yield json.loads(line)


def size_of(path):
    """Bytes of a file or of all files below a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


class BlockMaxPruning:
    """Exact settings (alpha and beta 1) over impacts quantized to a byte, as its paper has them."""

    def build(self, folder):
        from bmp import Indexer

        heaviest = max((max(one["vector"].values(), default=0) for one in documents(folder)), default=1)
        path = folder / "index.bmp"
        indexer = Indexer(str(path), bsize=16, compress_range=False)
        for one in documents(folder):
            impacts = {t: max(1, round(255 * w / heaviest)) for t, w in one["vector"].items()}
            indexer.add_document(one["id"], impacts)
        indexer.finish()

    def open(self, folder):
        from bmp import Searcher

        path = folder / "index.bmp"
        self.bytes = size_of(path)
        self.searcher = Searcher(str(path))

    def prepare(self, question):
        return question["vector"]

    def search(self, vector):
        return self.searcher.search(vector, k=HITS, alpha=1.0, beta=1.0)

    def hits(self, found):
        ids, scores = found
        return list(zip(ids, scores))


class Seismic:
    """Its own default index; 10 query terms, heap factor 0.7."""

    def build(self, folder):
        import numpy
        from seismic import SeismicDataset, SeismicIndex, get_seismic_string

        dataset = SeismicDataset()
        for one in documents(folder):
            terms = numpy.array(list(one["vector"]), dtype=get_seismic_string())
            weights = numpy.array(list(one["vector"].values()), dtype=numpy.float32)
            dataset.add_document(one["id"], terms, weights)
        SeismicIndex.build_from_dataset(dataset).save(str(folder / "seismic"))

    def open(self, folder):
        import numpy
        from seismic import SeismicIndex, get_seismic_string

        self.numpy, self.string = numpy, get_seismic_string()
        path = str(folder / "seismic.index.seismic")
        self.index = SeismicIndex.load(path)
        self.bytes = size_of(path)

    def prepare(self, question):
        vector = question["vector"]
        terms = self.numpy.array(list(vector), dtype=self.string)
        return terms, self.numpy.array(list(vector.values()), dtype=self.numpy.float32)

    def search(self, prepared):
        terms, weights = prepared
        return self.index.search(
            query_id="0",
            query_components=terms,
            query_values=weights,
            k=HITS,
            query_cut=10,
            heap_factor=0.7,
        )

    def hits(self, found):
        return [(document, score) for _, score, document in found]


class Bm25s:
    """k1 1.2, b 0.75, English stems and stop words, as OpenSearch's english analyzer has them."""

    def __init__(self):
        import bm25s
        import Stemmer

        self.bm25s, self.stemmer = bm25s, Stemmer.Stemmer("english")

    def build(self, folder):
        retriever = self.bm25s.BM25(k1=1.2, b=0.75)
        texts = [one["text"] for one in documents(folder)]
        retriever.index(self.tokens(texts), show_progress=False)
        retriever.save(str(folder / "bm25s"))

    def open(self, folder):
        path = str(folder / "bm25s")
        self.retriever = self.bm25s.BM25.load(path)
        self.bytes = size_of(path)

    def tokens(self, texts):
        return self.bm25s.tokenize(texts, stopwords="en", stemmer=self.stemmer, show_progress=False)

    def prepare(self, question):
        return question["text"]

    def search(self, text):
        return self.retriever.retrieve(self.tokens([text]), k=HITS, show_progress=False, n_threads=0)

    def hits(self, found):
        places, scores = found
        return [(str(place), float(score)) for place, score in zip(places[0], scores[0])]


PEERS = {"bmp": BlockMaxPruning, "seismic": Seismic, "bm25s": Bm25s}


def build(folder, name):
    """Builds an index that is not there. Returns the peer and how many seconds it took."""
    peer = PEERS[name]()
    # Written last: without it an index may be half of one.
    stamp = folder / f"{name}.seconds"
    if not stamp.exists():
        print(f"building {name}", flush=True)
        start = time.perf_counter()
        peer.build(folder)
        stamp.write_text(str(time.perf_counter() - start))
    return peer, float(stamp.read_text())


def open_all(folder, names):
    built, told = {}, {}
    for name in names:
        try:
            peer, seconds = build(folder, name)
            peer.open(folder)
            built[name] = peer
            told[name] = {"bytes": peer.bytes, "build_s": seconds}
        except Exception as failure:  # whatever a peer does, the others are measured
            told[name] = {"failure": f"{type(failure).__name__}: {failure}"}
    return built, told


def main():
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)
    if sys.argv[1] == "--build":
        for name in sys.argv[3:]:
            try:
                build(Path(sys.argv[2]), name)
            except Exception as failure:  # told when it is opened
                print(f"{name} could not be built: {failure}", flush=True)
        return
    built, told = open_all(Path(sys.argv[1]), sys.argv[2:])
    print(json.dumps(told), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        peer = built[question["peer"]]
        prepared = peer.prepare(question)
        start = time.perf_counter()
        found = peer.search(prepared)
        ms = 1000 * (time.perf_counter() - start)
        answer = {"hits": peer.hits(found), "ms": ms}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
