import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { CspladeError } from "../../../src/errors/csplade-error.js";
import { parseQrels, readCollection } from "../../../src/evaluate/beir.js";

describe("BEIR collection", () => {
  let folder: string;

  const write = async (files: { queries?: string; qrels?: string; corpus?: string }) => {
    await mkdir(path.join(folder, "qrels"), { recursive: true });
    const contents = {
      "corpus.jsonl": files.corpus ?? '{"_id":"d1","text":"one"}\n',
      "queries.jsonl": files.queries ?? '{"_id":"q1","text":"what"}\n{"_id":"q2","text":"who"}\n',
      "qrels/test.tsv": files.qrels ?? "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    };
    for (const [name, text] of Object.entries(contents))
      await writeFile(path.join(folder, name), text);
  };

  const rejects = async (message: RegExp, code = "file_invalid") => {
    await assert.rejects(readCollection(folder), (error) => {
      assert.ok(error instanceof CspladeError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    });
  };

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "csplade-beir-"));
  });

  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it("has the judged queries, with their grades", async () => {
    await write({ qrels: "query-id\tcorpus-id\tscore\r\nq2\td1\t2\r\nq2\td2\t0\r\n" });
    const { queries, qrels, name } = await readCollection(folder);
    assert.equal(name, path.basename(folder));
    assert.deepEqual(queries, [{ id: "q2", text: "who" }]);
    assert.deepEqual(
      [...qrels.get("q2")!],
      [
        ["d1", 2],
        ["d2", 0],
      ],
    );
  });

  it("reads qrels without a header too", () => {
    assert.deepEqual([...parseQrels("q1\td1\t1\n", "test.tsv").keys()], ["q1"]);
  });

  it("names the line of queries.jsonl that is wrong", async () => {
    await write({ queries: '{"_id":"q1","text":"what"}\n{"_id":"q2"' });
    await rejects(/queries\.jsonl, line 2 is not JSON/);
    await write({ queries: '\n{"_id":"q1","title":"what"}\n' });
    await rejects(/queries\.jsonl, line 2 is not a query.*text/s);
    await write({ queries: '{"_id":"q1","text":"a"}\n{"_id":"q1","text":"b"}\n' });
    await rejects(/queries\.jsonl, line 2 repeats the query q1/);
  });

  it("names the line of the qrels that is wrong", async () => {
    const header = "query-id\tcorpus-id\tscore\n";
    await write({ qrels: `${header}q1\td1\t1\nq1 d2 1\n` });
    await rejects(/test\.tsv, line 3 is not/);
    await write({ qrels: `${header}q1\td1\t0.5\n` });
    await rejects(/test\.tsv, line 2 is not/);
    await write({ qrels: header });
    await rejects(/judges no query/);
  });

  it("names a judged query that has no text, and what is missing", async () => {
    await write({ qrels: "q9\td1\t1\n" });
    await rejects(/judges the query q9, which .*queries\.jsonl lacks/);
    await write({});
    await rm(path.join(folder, "corpus.jsonl"));
    await rejects(/no corpus\.jsonl/, "source_unreadable");
    await write({});
    await rm(path.join(folder, "qrels/test.tsv"));
    await rejects(/not a test collection/, "source_unreadable");
  });
});
