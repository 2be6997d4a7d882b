import assert from "node:assert/strict";
import type { Cluster } from "../../../src/cluster/cluster.js";
import type { ClusterRequest } from "../../../src/cluster/request.js";
import { openQueryEncoder } from "../../../src/encoder/query-encoder.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { createCorpusIdf } from "../../../src/query/corpus-idf.js";
import { searchedFields } from "../../../src/query/searched-fields.js";
import { openSearcher } from "../../../src/searcher/searcher.js";
import { toFeatures } from "../../../src/sparse/features.js";
import { sparseVector, termsOf, type SparseVector } from "../../../src/sparse/sparse-vector.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway } from "../../support/gateway.js";
import {
  scoresByHand,
  ZEBRA_QUESTION as QUESTION,
  ZEBRA_TEXTS as TEXTS,
} from "../../support/idf-by-hand.js";
import { startTestOpenSearch, testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";
import { testConfig, tinyCheckpoint } from "../../support/tiny-checkpoints.js";

const checkpoint = { "model.path": tinyCheckpoint("lexical") };
/** A cluster that has just started on a busy machine is slow. */
const patient = { idf_timeout_ms: 60_000 };

/** Words only, so that a score can be computed by hand. */
const byWords = testConfig({ ...checkpoint, "query.encoder": "table" });

describe("words weighed by the index", () => {
  let cluster: Cluster;
  let encoder: Encoder;
  let words: Encoder;
  let index: string;
  let nested: string;
  let documents: readonly SparseVector[];

  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    encoder = await openEncoder(testConfig(checkpoint));
    words = await openQueryEncoder(byWords);
    index = await fillEncodedIndex(cluster, encoder, "merged", undefined, TEXTS);
    nested = await fillEncodedIndex(cluster, encoder, "nested", undefined, TEXTS);
    const encoded = await encoder.encodeDocuments(TEXTS);
    documents = encoded.map(({ passages }) => passages[0]!.vector);
  });
  after(async () => {
    for (const name of [index, nested]) await cluster.send({ method: "DELETE", path: `/${name}` });
    await encoder.close();
    await cluster.close();
  });

  const byHand = () => scoresByHand(words, documents);

  for (const passages of ["merged", "nested"] as const) {
    it(`ranks as computed by hand, and otherwise than the model's own idf (${passages})`, async () => {
      const name = passages === "merged" ? index : nested;
      const searcher = openSearcher({ cluster, encoder: words, ...patient });
      const { hits, notes } = await searcher.search(name, QUESTION, { size: 20 });
      assert.deepEqual(notes, []);
      const expected = await byHand();
      assert.equal(hits.length, expected.size);
      for (const { id, score } of hits) {
        const wanted = expected.get(id)!;
        assert.ok(Math.abs(score - wanted) < 1e-4 * wanted, `${id}: ${score} and ${wanted}`);
      }
      assert.ok(["9", "10"].includes(hits[0]!.id), "the rare word of the index decides");
      const asModel = openSearcher({ cluster, encoder: words, idf: "model" });
      const before = await asModel.search(name, QUESTION, { size: 20 });
      assert.ok(!["9", "10"].includes(before.hits[0]!.id), "the rare word of the model decides");
    });
  }

  it("finds a word as soon as a document has it, though it was in none before", async () => {
    const searcher = openSearcher({ cluster, encoder: words, ...patient });
    const before = await searcher.search(index, "sea walrus");
    const walrus = (terms: readonly { term: string }[]) =>
      terms.some(({ term }) => term === "walrus");
    assert.equal(walrus(before.query_terms), false);
    const [encoded] = await encoder.encodeDocuments(["walrus"]);
    await cluster.demand(
      {
        method: "PUT",
        path: `/${index}/_doc/walrus`,
        query: { refresh: true },
        body: {
          text: "walrus",
          csplade_model: encoder.manifest.fingerprint,
          csplade: toFeatures(encoded!.passages[0]!.vector),
        },
      },
      "Adding a document",
    );
    try {
      const after = await searcher.search(index, "sea walrus", { explain: true });
      const found = after.hits.find(({ id }) => id === "walrus");
      assert.deepEqual(
        found?.terms.map(({ term, literal }) => [term, literal]),
        [["walrus", true]],
      );
      const { start, end } = found.spans.text![0]!;
      assert.deepEqual([start, end], [0, 6]);
    } finally {
      await cluster.demand(
        { method: "DELETE", path: `/${index}/_doc/walrus`, query: { refresh: true } },
        "Removing the document",
      );
    }
  });

  it("changes what the model gives to a term by the index's idf over its own, to 1.5 times at most", async () => {
    const { fields } = searchedFields({ passages: "merged" });
    const corpusIdf = createCorpusIdf({ scale: words.lexicon, ...patient });
    const [encoded] = await words.encodeQueries([QUESTION]);
    const own = encoded!.passages[0]!;
    const [zebra, sea] = own.words!;
    const given = 2;
    const vector = sparseVector([...termsOf(own.vector)].map(([id, w]) => [id, w + given]));
    const target = { cluster, index, fields };
    const before = new Map(termsOf((await corpusIdf.weigh(own, target)).vector));
    const after = new Map(
      termsOf((await corpusIdf.weigh({ vector, words: own.words }, target)).vector),
    );
    for (const { id, idf: model, count } of [zebra!, sea!]) {
      const { unit } = words.lexicon!;
      const here = (before.get(id)! * unit * Math.sqrt(model)) / count;
      const wanted = before.get(id)! + given * Math.min(1.5, here / model);
      assert.ok(Math.abs(after.get(id)! - wanted) < 1e-4 * wanted, `${id}: ${wanted}`);
    }
    // The same of a term that the question has not: only the model gave it a weight.
    const added = { vector: sparseVector([[zebra!.id, given]]), words: [{ ...zebra!, count: 0 }] };
    const [[, weight] = [0, 0]] = termsOf((await corpusIdf.weigh(added, target)).vector);
    assert.ok(Math.abs(weight - (after.get(zebra!.id)! - before.get(zebra!.id)!)) < 1e-4);
  });

  it("says that no document has the words of a question, as any search does", async () => {
    const searcher = openSearcher({ cluster, encoder: words, ...patient });
    const { hits, notes, query_terms } = await searcher.search(index, "walrus");
    assert.deepEqual(
      [hits.length, notes, query_terms.map(({ term }) => term)],
      [0, [], ["walrus"]],
    );
  });

  it("asks once for a word, and counts no further than it is told to", async () => {
    const bodies: ClusterRequest[] = [];
    const counting: Cluster = {
      ...cluster,
      send: (request) => {
        bodies.push(request);
        return cluster.send(request);
      },
    };
    const [encoded] = await words.encodeQueries([QUESTION]);
    const question = encoded!.passages[0]!;
    const { fields } = searchedFields({ passages: "merged" });
    const target = { cluster: counting, index, fields };
    const exact = createCorpusIdf({ scale: words.lexicon, ...patient });
    const first = await exact.weigh(question, target);
    assert.equal(bodies.length, 2, "the words, and how many documents there are");
    assert.deepEqual(await exact.weigh(question, target), first);
    assert.equal(bodies.length, 2);
    await exact.weigh(question, { ...target, caller: "somebody else" });
    assert.equal(bodies.length, 4, "what one caller sees is not for another");

    bodies.length = 0;
    const capped = createCorpusIdf({ scale: words.lexicon, counted_per_shard: 3, ...patient });
    const { vector, notes } = await capped.weigh(question, target);
    assert.deepEqual(notes, []);
    assert.equal(bodies.length, 4, "the words together, then each alone");
    const [exactly, roughly] = [new Map(termsOf(first.vector)), new Map(termsOf(vector))];
    const [zebra, sea] = question.words!.map(({ id }) => id);
    assert.equal(roughly.get(sea!), exactly.get(sea!), "a rare word is counted to the end");
    const model = new Map(termsOf(question.vector));
    assert.ok(
      roughly.get(zebra!)! > exactly.get(zebra!)! && roughly.get(zebra!)! < model.get(zebra!)!,
    );
  });

  it("leaves the model's weights and says so where the cluster cannot tell", async () => {
    const told: string[] = [];
    const corpusIdf = createCorpusIdf({
      scale: words.lexicon,
      onTrouble: (note) => told.push(note),
      ...patient,
    });
    const [encoded] = await words.encodeQueries([QUESTION]);
    const question = encoded!.passages[0]!;
    const { fields } = searchedFields({ passages: "merged" });
    for (let i = 0; i < 3; i++) {
      const { vector, notes } = await corpusIdf.weigh(question, { cluster, index: "gone", fields });
      assert.deepEqual(vector, question.vector);
      assert.match(notes[0] ?? "", /in gone: .*no such index/);
    }
    assert.equal(told.length, 1);
    const gone = new AbortController();
    gone.abort(new Error("nobody waits"));
    const target = { cluster, index, fields, signal: gone.signal };
    await assert.rejects(corpusIdf.weigh(question, target), /nobody waits/);
  });

  it("leaves a model without a lexical part alone, and asks nothing", async () => {
    const nowhere = { ...cluster, send: () => assert.fail("nothing is to be asked") };
    const target = {
      cluster: nowhere,
      index,
      fields: searchedFields({ passages: "merged" }).fields,
    };
    const [encoded] = await words.encodeQueries([QUESTION]);
    const { vector } = encoded!.passages[0]!;
    const question = { vector };
    const same = { vector, notes: [] };
    const scale = words.lexicon;
    assert.deepEqual(await createCorpusIdf({ scale }).weigh(question, target), same);
    assert.deepEqual(
      await createCorpusIdf({ scale, idf: "model" }).weigh(encoded!.passages[0]!, target),
      same,
    );
  });

  it("holds in the gateway's clause, its rules and its console too", async function () {
    this.timeout(120_000);
    const gateway = await startTestGateway({
      ...checkpoint,
      "query.encoder": "table",
      "query.idf_timeout_ms": 60_000,
      "opensearch.url": testServers().opensearchUrl,
    });
    try {
      const expected = await byHand();
      const answer = await gateway.post(`/${index}/_search`, {
        size: 20,
        query: { csplade: QUESTION },
      });
      const { hits } = (await answer.json()) as {
        hits: { hits: readonly { _id: string; _score: number }[] };
      };
      assert.equal(hits.hits.length, expected.size);
      for (const { _id, _score } of hits.hits) {
        const wanted = expected.get(_id)!;
        assert.ok(Math.abs(_score - wanted) < 1e-4 * wanted, `${_id}: ${_score} and ${wanted}`);
      }
      const compared = await gateway.post("/_csplade/compare", { index, question: QUESTION });
      const { csplade, terms } = (await compared.json()) as {
        csplade: { hits: readonly { id: string; score: number }[] };
        terms: readonly { term: string; literal: boolean }[];
      };
      const [best] = csplade.hits;
      assert.ok(Math.abs(best!.score - expected.get(best!.id)!) < 1e-3);
      assert.deepEqual(
        new Set(terms.map(({ term, literal }) => `${term} ${literal}`)),
        new Set(["zebra true", "sea true"]),
      );
    } finally {
      await gateway.stop();
    }
  });

  it("is counted on OpenSearch 2.19.1 as well, in plain and nested fields", async function () {
    this.timeout(600_000);
    const old = await startTestOpenSearch("2.19.1");
    const oldCluster = testCluster(old.url);
    try {
      const expected = await byHand();
      for (const passages of ["merged", "nested"] as const) {
        const name = await fillEncodedIndex(oldCluster, encoder, passages, undefined, TEXTS);
        const searcher = openSearcher({ cluster: oldCluster, encoder: words, ...patient });
        const { hits, notes } = await searcher.search(name, QUESTION, { size: 20 });
        assert.deepEqual(notes, []);
        for (const { id, score } of hits) {
          assert.ok(Math.abs(score - expected.get(id)!) < 1e-3, `${id}: ${score}`);
        }
      }
    } finally {
      await oldCluster.close();
      await old.stop();
    }
  });
});
