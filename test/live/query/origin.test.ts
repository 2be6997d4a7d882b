/** Terms that the shipped model added to documents, and the words of the documents that they came from. */
import assert from "node:assert/strict";
import path from "node:path";
import { packageRoot } from "../../../src/config/package-root.js";
import type { SettingName } from "../../../src/config/settings.js";
import { openEncoder, type Encoder } from "../../../src/encoder/encoder.js";
import { openQueryEncoder } from "../../../src/encoder/query-encoder.js";
import type { TracedHit } from "../../../src/gateway/traced-hit.js";
import { openSearcher, type Answer, type QuestionOptions } from "../../../src/searcher/searcher.js";
import { environmentOf, runCsplade } from "../../support/csplade-command.js";
import { startTestGateway } from "../../support/gateway.js";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { testServers } from "../../support/servers.js";
import { testConfig } from "../../support/tiny-checkpoints.js";

const MODEL = path.join(packageRoot, "models", "csplade-smollm2-135m-prompt");
const QUESTION = "railway carriage anxiety";
const LONG =
  "The village lies between two hills and a slow river. Farmers bring apples, plums and honey to its market. ".repeat(
    8,
  );
const DOCUMENTS = [
  {
    _id: "fear",
    title: "Claustrophobia",
    text: "a morbid fear of being closed in a confined space, such as elevators or tunnels; people who suffer from it avoid trains",
  },
  { _id: "bread", title: "Bread", text: "is baked from flour, water and <salt> & yeast" },
  { _id: "long", title: "A village", text: `${LONG}Once a day the old steam train stops there.` },
];

describe("the origins of added terms", function () {
  this.timeout(240_000);
  let suite: IngestSuite;
  let encoder: Encoder;

  const configOf = (flags: Partial<Record<SettingName, unknown>> = {}) =>
    testConfig({
      home: suite.folder,
      "opensearch.url": testServers().opensearchUrl,
      "redis.url": testServers().redisUrl,
      "model.path": MODEL,
      "model.threads": 2,
      ...flags,
    });

  before(async () => {
    suite = await openIngestSuite("origin-");
    encoder = await openEncoder(configOf());
    const file = suite.write("documents.ndjson", DOCUMENTS);
    for (const passages of ["merged", "nested", "documents"]) {
      const config = configOf({ "ingest.passages": passages });
      const done = await suite.ingest(`origin-${passages}`, [file], { config, encoder });
      assert.equal(done.written, DOCUMENTS.length);
    }
  });
  after(async () => {
    await encoder.close();
    await suite.close();
  });

  const ask = (index: string, options: QuestionOptions) =>
    openSearcher({ cluster: suite.cluster, encoder }).search(index, QUESTION, options);
  const originsOf = ({ hits }: Answer, id: string) => {
    const hit = hits.find((each) => each.id.replace(/#\d+$/, "") === id);
    const terms = hit?.terms.filter(({ origin }) => origin !== undefined) ?? [];
    return new Map(terms.map(({ term, origin = [] }) => [term, origin]));
  };

  for (const passages of ["merged", "nested", "documents"] as const) {
    it(`are words of the text, at their places in its fields, with ${passages} passages`, async () => {
      const index = `origin-${passages}`;
      const answer = await ask(index, { origin: true, origin_timeout_ms: 120_000 });
      assert.deepEqual(answer.notes, []);
      let found = 0;
      for (const { source, terms } of answer.hits) {
        for (const { literal, origin = [] } of terms) {
          assert.ok(!literal || origin.length === 0, "what stands in the text needs no origin");
          for (const { field, start, end, text } of origin) {
            assert.equal((source[field] as string).slice(start, end), text);
            found += 1;
          }
        }
      }
      assert.ok(found > 2, String(found));
      const carriage = originsOf(answer, "fear").get("carriage");
      assert.ok(
        carriage?.some(({ text }) => text === "trains"),
        JSON.stringify(carriage),
      );
      const [rail] = [...originsOf(answer, "long")].filter(([term]) => /rail|train/.test(term));
      if (rail !== undefined) assert.ok(rail[1].some(({ text }) => text === "train"));
    });
  }

  it("are marked in fragments, escaped, as a cluster highlights", async () => {
    const { hits } = await ask("origin-merged", { origin: true, mode: "hybrid" });
    const hit = hits.find(({ id }) => id === "fear");
    assert.match(hit?.origin_highlight?.text?.[0] ?? "", /avoid <em>trains<\/em>$/);
  });

  it("cost nothing unless they are asked for, and are found within their time or not at all", async () => {
    const before = encoder.totals();
    const plain = await ask("origin-merged", { explain: true });
    assert.equal(encoder.totals().texts, before.texts + 1, "the question alone is encoded");
    assert.ok(plain.hits.every((hit) => hit.origin_highlight === undefined));
    const late = await ask("origin-merged", { origin: true, origin_timeout_ms: 1 });
    assert.match(late.notes.join(" "), /known of 0 of \d+ hits/);
    assert.deepEqual(
      late.hits.map(({ terms, origin_highlight }) => [terms, origin_highlight]),
      plain.hits.map(({ terms }) => [terms, undefined]),
    );
  });

  it("are refused where nothing could be encoded, and where nothing was added to documents", async () => {
    const table = await openQueryEncoder(configOf({ "query.encoder": "table" }));
    const searcher = openSearcher({ cluster: suite.cluster, encoder: table });
    await assert.rejects(searcher.search("origin-merged", "trains", { origin: true }), {
      code: "encode_unsupported",
    });
    await table.close();
    await assert.rejects(ask("origin-merged", { origin: true, mode: "lexical" }), {
      code: "query_invalid",
    });
  });

  it("are shown by csplade search --origin", async () => {
    const command = ["search", "--index", "origin-merged", "--origin"];
    const environment = environmentOf(configOf());
    const run = (...more: string[]) =>
      runCsplade(suite.folder, [...command, ...more, QUESTION], environment);
    const brief = await run();
    assert.equal(brief.code, 0, brief.err);
    assert.match(brief.out, /\+carriage \d\.\d\d \([^)]*trains/);
    assert.match((await run("--explain")).out, /\+carriage .* = .* from .*trains/);
    const { hits } = JSON.parse((await run("--json")).out) as Answer;
    assert.match(JSON.stringify(hits), /"origin":\[\{"field":"text","start":\d+/);
  });

  it("are given by the gateway for one hit, with their places in what the console shows", async () => {
    const gateway = await startTestGateway({
      "opensearch.url": testServers().opensearchUrl,
      "model.path": MODEL,
      "model.threads": 2,
    });
    try {
      const asked = { index: "origin-m*", question: QUESTION, hit_index: "origin-merged" };
      const answer = await gateway.post("/_csplade/origin", { ...asked, id: "fear" });
      assert.equal(answer.status, 200, await answer.clone().text());
      const { terms, marks, origin_highlight } = (await answer.json()) as TracedHit;
      const { text } = DOCUMENTS[0]!;
      assert.ok(terms.some(({ literal, origin }) => !literal && origin !== undefined));
      const marked = marks.text.map(({ start, end }) => text.slice(start, end));
      assert.ok(marked.includes("trains"), marked.join(" "));
      const words = new Set(terms.flatMap(({ origin = [] }) => origin.map((span) => span.text)));
      for (const word of marked) assert.ok(words.has(word), word);
      assert.match(origin_highlight.text?.[0] ?? "", /<em>trains<\/em>/);
      const none = await gateway.post("/_csplade/origin", { ...asked, id: "nobody" });
      assert.equal(none.status, 400);
      assert.match(await none.text(), /no hit of this question/);
    } finally {
      await gateway.stop();
    }
  });
});
