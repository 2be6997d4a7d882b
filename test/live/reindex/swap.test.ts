import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { pathOf } from "../../../src/cluster/request.js";
import { behind, contentOf, fill, testDocuments } from "../../support/reindexing.js";
import { openReindexSuite, type ReindexSuite } from "../../support/reindex-suite.js";

const textOf = (document: unknown) => (document as { text?: string } | undefined)?.text;

describe("an alias that is moved", function () {
  this.timeout(300_000);
  let suite: ReindexSuite;
  before(async () => {
    suite = await openReindexSuite("sw-", { "reindex.slice_documents": 100 });
  });
  after(() => suite.close());

  async function demand(method: "GET" | "POST" | "PUT", path: string, body?: object) {
    return await suite.cluster.demand(
      { method, path, ...(body === undefined ? {} : { body }) },
      `${method} ${path}`,
    );
  }

  it("keeps its filter and routing, and leads to an index with the shards, similarity, limits and _meta of its source", async () => {
    await demand("PUT", "/sw-shape", {
      settings: {
        index: {
          number_of_shards: 3,
          max_ngram_diff: 5,
          mapping: { total_fields: { limit: 1_234 } },
          similarity: { flat: { type: "BM25", b: 0 } },
          analysis: {
            tokenizer: { grams: { type: "ngram", min_gram: 2, max_gram: 6 } },
            analyzer: { grams: { type: "custom", tokenizer: "grams" } },
          },
        },
      },
      mappings: {
        _meta: { owner: "the catalogue team" },
        properties: {
          text: { type: "text", similarity: "flat" },
          code: { type: "text", analyzer: "grams" },
          tenant: { type: "keyword" },
        },
      },
      aliases: {
        "sw-shape-of-a": { filter: { term: { tenant: "a" } }, is_write_index: true },
      },
    });
    const documents = testDocuments(60).map((each, i) => ({ ...each, tenant: i % 2 ? "a" : "b" }));
    await fill(suite.cluster, "sw-shape", documents);
    const run = await suite.run({ from: ["sw-shape"], alias: "sw-shape-of-a", target: "sw-new" });
    assert.equal(run.state, "done");
    const made = (await demand("GET", "/sw-new")) as Record<
      string,
      {
        settings: { index: Record<string, unknown> };
        mappings: { _meta: object };
        aliases: Record<string, { filter?: object; is_write_index?: boolean }>;
      }
    >;
    const { settings, mappings, aliases } = made["sw-new"] ?? assert.fail("no index");
    assert.equal(settings.index.number_of_shards, "3");
    assert.equal(settings.index.max_ngram_diff, "5");
    assert.deepEqual(settings.index.mapping, { total_fields: { limit: "1234" } });
    assert.deepEqual(settings.index.similarity, { flat: { type: "BM25", b: "0" } });
    assert.equal(settings.index.refresh_interval, undefined);
    assert.equal(settings.index.gc_deletes, undefined);
    assert.equal((mappings._meta as { owner?: string }).owner, "the catalogue team");
    assert.deepEqual(aliases["sw-shape-of-a"]?.filter, { term: { tenant: "a" } });
    assert.equal(aliases["sw-shape-of-a"].is_write_index, true);
    const seen = (await demand("GET", "/sw-shape-of-a/_count")) as { count: number };
    assert.equal(seen.count, 30, "the tenant sees its own documents");
  });

  it("loses no write and undoes none that an application sends through it while it moves", async () => {
    await demand("PUT", "/sw-live", { aliases: { "sw-live-search": {} } });
    await fill(suite.cluster, "sw-live", testDocuments(900));
    const expected = new Map<string, number | "deleted">();
    let over = false;
    let writes = 0;
    const write = async () => {
      for (let i = 0; !over; i++) {
        const id = i % 3 === 0 ? `new${i}` : `d${(i * 7) % 900}`;
        const removes = i % 5 === 4;
        const path = pathOf("sw-live-search", "_doc", id);
        const answer = await suite.cluster.send(
          removes
            ? { method: "DELETE", path }
            : {
                method: "PUT",
                path,
                body: { text: `Written by an application as number ${i}.`, i },
              },
        );
        // 403 while the run holds writes: an application sends it again.
        if (answer.status === 403) continue;
        assert.ok(answer.status < 300 || answer.status === 404, `${path}: ${answer.status}`);
        expected.set(id, removes ? "deleted" : i);
        writes += 1;
      }
    };
    const writer = write();
    const run = await suite.run({ from: ["sw-live"], alias: "sw-live-search" });
    const before = writes;
    await sleep(1_000);
    over = true;
    await writer;
    assert.equal(run.state, "done");
    assert.ok(writes > before, "the writer went on after the swap");
    assert.deepEqual(await behind(suite.cluster, "sw-live-search"), [run.target]);
    const content = await contentOf(suite.cluster, run.target);
    for (const [id, what] of expected) {
      if (what === "deleted") assert.equal(content.has(id), false, `${id} was deleted`);
      else assert.equal(content.get(id)?.i, what, id);
    }
    for (const { id } of testDocuments(900)) {
      if (!expected.has(id)) assert.ok(content.has(id), `${id} was copied`);
    }
    const settings = (await demand("GET", "/sw-live/_settings")) as Record<
      string,
      { settings: { index: Record<string, unknown> } }
    >;
    assert.equal(settings["sw-live"]?.settings.index.blocks, undefined, "nobody is held any more");
  });

  it("leaves alone what an application adds and changes through it while --follow copies what the source changes and deletes", async () => {
    await fill(suite.cluster, "sw-follow", testDocuments(50));
    const stop = new AbortController();
    const seen = { state: "" };
    const running = suite.run(
      { from: ["sw-follow"], alias: "sw-follow-search", target: "sw-followed" },
      { follow: true, signal: stop.signal, onProgress: (now) => (seen.state = now.run.state) },
    );
    running.catch(() => {});
    while (seen.state !== "following") await sleep(200);
    await demand("PUT", "/sw-follow-search/_doc/mine", { text: "Written by an application." });
    await demand("PUT", "/sw-follow-search/_doc/d2", { text: "Changed by an application." });
    for (const [id, text] of [
      ["d2", "Changed in the source as well."],
      ["d3", "Changed in the source alone."],
    ] as const) {
      await demand("PUT", `/sw-follow/_doc/${id}`, { text });
    }
    const gone = await suite.cluster.send({ method: "DELETE", path: "/sw-follow/_doc/d1" });
    assert.equal(gone.status, 200);
    let content = new Map<string, unknown>();
    for (let i = 0; i < 60; i++) {
      await sleep(500);
      content = await contentOf(suite.cluster, "sw-followed");
      if (!content.has("d1")) break;
    }
    stop.abort();
    await assert.rejects(running);
    assert.equal(content.has("d1"), false, "a delete in the source follows");
    assert.ok(content.has("mine"), "the application's document stays");
    assert.equal(content.size, 50);
    assert.equal(textOf(content.get("d2")), "Changed by an application.");
    assert.equal(textOf(content.get("d3")), "Changed in the source alone.");
  });

  it("keeps what an application writes between the look of --follow and its write, and a part that it changed in a bulk request", async () => {
    const target = "sw-between-new";
    await fill(suite.cluster, "sw-between", testDocuments(30));
    const alias = "sw-between-search";
    const stop = new AbortController();
    const seen = { state: "" };
    let meanwhile: (() => Promise<unknown>) | undefined;
    const cluster: Cluster = {
      ...suite.cluster,
      async demand(request, doing) {
        const answer = await suite.cluster.demand(request, doing);
        const isLook = request.path === pathOf(target, "_mget");
        if (isLook && JSON.stringify(request.body).includes('"d4"')) {
          const write = meanwhile;
          meanwhile = undefined;
          await write?.();
        }
        return answer;
      },
    };
    const running = suite.run(
      { from: ["sw-between"], alias, target },
      {
        cluster,
        follow: true,
        signal: stop.signal,
        onProgress: (now) => (seen.state = now.run.state),
      },
    );
    running.catch(() => {});
    while (seen.state !== "following") await sleep(200);
    const theirs = "Changed by an application.";
    const inBulk = (id: string) =>
      suite.cluster.demand(
        {
          method: "POST",
          path: "/_bulk",
          body: `${JSON.stringify({ update: { _index: alias, _id: id } })}\n${JSON.stringify({ doc: { text: theirs } })}\n`,
        },
        "Updating",
      );
    await inBulk("d3");
    meanwhile = async () => {
      await demand("PUT", `/${alias}/_doc/d4`, { text: theirs });
      await inBulk("d5");
      await demand("PUT", `/${alias}/_doc/new`, { text: theirs });
    };
    const change = (text: string, ids: readonly string[]) =>
      fill(
        suite.cluster,
        "sw-between",
        ids.map((id) => ({ id, text })),
      );
    const until = async (isDone: (content: Map<string, unknown>) => boolean) => {
      for (let i = 0; i < 120; i++) {
        const content = await contentOf(suite.cluster, target);
        if (isDone(content)) return content;
        await sleep(500);
      }
      return contentOf(suite.cluster, target);
    };
    await change("The source's first.", ["d3", "d4", "d5", "new", "d6", "d7", "late"]);
    await until((content) => textOf(content.get("late")) === "The source's first.");
    assert.equal(meanwhile, undefined, "the application wrote between look and write");
    // What was written after the swap is followed on; it can go, and come again.
    for (const id of ["late", "d7"]) {
      await suite.cluster.send({ method: "DELETE", path: `/sw-between/_doc/${id}` });
    }
    await until((content) => !content.has("late") && !content.has("d7"));
    await change("The source's second.", ["late", "d6", "d3", "d4"]);
    await until((content) => textOf(content.get("late")) === "The source's second.");
    await change("The source's third.", ["late", "d6"]);
    const content = await until((now) => textOf(now.get("late")) === "The source's third.");
    stop.abort();
    await assert.rejects(running);
    const texts = ["d3", "d4", "d5", "new", "d6", "d7", "late"].map((id) =>
      textOf(content.get(id)),
    );
    const last = "The source's third.";
    assert.deepEqual(texts, [theirs, theirs, theirs, theirs, last, undefined, last]);
    assert.equal(content.size, 31);
  });

  it("leads to no state from long ago of a document that is gone whenever a pass reads and there whenever one sweeps", async () => {
    const source = "sw-comes";
    await fill(suite.cluster, source, testDocuments(20));
    const remove = () => suite.cluster.send({ method: "DELETE", path: `/${source}/_doc/d1` });
    let isRead = false;
    const cluster: Cluster = {
      ...suite.cluster,
      async demandText(request, doing) {
        const answer = await suite.cluster.demandText(request, doing);
        if (isRead || request.path !== pathOf(source, "_search")) return answer;
        isRead = answer.includes('"d1"');
        if (isRead) await remove();
        return answer;
      },
      async demand(request, doing) {
        if (request.path !== pathOf(source, "_mget")) return suite.cluster.demand(request, doing);
        await demand("PUT", `/${source}/_doc/d1`, { text: "It is back for a moment." });
        const answer = await suite.cluster.demand(request, doing);
        await remove();
        return answer;
      },
    };
    const what = { from: [source], alias: `${source}-search` };
    const { target } = await suite.run(what, { cluster, verify: false });
    assert.ok(isRead);
    const content = await contentOf(suite.cluster, target);
    assert.deepEqual([content.has("d1"), content.size], [false, 19]);
  });

  it("is refused before work when it leads to several indices, and stays when nothing could be copied", async () => {
    for (const index of ["sw-one", "sw-two"]) {
      await demand("PUT", `/${index}`, { aliases: { "sw-both": {} } });
      await fill(suite.cluster, index, testDocuments(3));
    }
    await assert.rejects(
      suite.run({ from: ["sw-one"], alias: "sw-both" }),
      /sw-both.*sw-one|several/,
    );
    assert.deepEqual((await behind(suite.cluster, "sw-both")).sort(), ["sw-one", "sw-two"]);

    await demand("PUT", "/sw-numbers", { aliases: { "sw-numbers-search": {} } });
    await fill(suite.cluster, "sw-numbers", [{ id: "a", text: 7 }]);
    await assert.rejects(
      suite.run({ from: ["sw-numbers"], alias: "sw-numbers-search" }),
      /empty|dead letter/,
    );
    assert.deepEqual(await behind(suite.cluster, "sw-numbers-search"), ["sw-numbers"]);
  });
});
