"""What pytrec_eval says of a run: the judge that csplade's own metrics are held against.

    python pytrec_eval_figures.py QRELS.tsv RUN.txt METRIC...

QRELS.tsv is in BEIR's form, RUN.txt in TREC's. Prints JSON: query -> metric -> value, for every
judged query. pytrec_eval leaves out a judged query that the run lacks; trec_eval -c, and this,
count it as 0.
"""

import json
import sys
from collections import defaultdict
from importlib.metadata import version

import pytrec_eval

NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}


def read_qrels(path):
    qrels = defaultdict(dict)
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            query, document, grade = line.rstrip("\r\n").split("\t")
            if grade != "score":
                qrels[query][document] = int(grade)
    return dict(qrels)


def best(hits, k):
    """The k first of trec_eval's order: by score (a float32 there), then by id, both descending."""
    import numpy

    order = sorted(hits, key=lambda id: (numpy.float32(hits[id]), id.encode()), reverse=True)
    return {id: hits[id] for id in order[:k]}


def figures(qrels, run, metric):
    name, k = metric.split("@")
    if name == "mrr":
        cut = {query: best(hits, int(k)) for query, hits in run.items()}
        found = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(cut)
        return {query: values["recip_rank"] for query, values in found.items()}
    found = pytrec_eval.RelevanceEvaluator(qrels, {f"{NAMES[name]}.{k}"}).evaluate(run)
    return {query: values[f"{NAMES[name]}_{k}"] for query, values in found.items()}


def main(qrels_file, run_file, *metrics):
    qrels = read_qrels(qrels_file)
    with open(run_file, encoding="utf-8") as lines:
        run = pytrec_eval.parse_run(lines)
    queries = {query: {} for query in qrels}
    for metric in metrics:
        values = figures(qrels, run, metric)
        for query, row in queries.items():
            row[metric] = round(values.get(query, 0.0), 6)
    print(json.dumps({"made_with": f"pytrec_eval-terrier {version('pytrec_eval-terrier')}", "queries": queries}, indent=1))


main(*sys.argv[1:])
