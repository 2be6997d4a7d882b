import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { openIngestSuite, type IngestSuite } from "../../support/ingesting.js";
import { contentOf } from "../../support/reindexing.js";

interface Letter {
  readonly file: string;
  readonly line: number;
  readonly offset?: number;
  readonly document?: string;
  readonly document_base64?: string;
  readonly code: string;
  readonly reason: string;
}

describe("the dead-letter file", function () {
  this.timeout(120_000);
  let suite: IngestSuite;
  before(async () => {
    suite = await openIngestSuite("letters-");
  });
  after(() => suite.close());

  const lettersIn = (file: string) =>
    readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Letter);

  /** Writes text as it is. */
  function put(name: string, text: string | Buffer): string {
    const file = path.join(suite.folder, name);
    writeFileSync(file, text);
    return file;
  }

  it("stops the run with its name and the cause where it cannot be written, or its disk is full", async () => {
    const file = put("bad.ndjson", '{"_id":"a","text":"good"}\n{broken\n');
    const cases = [
      [path.join(suite.folder, "no-such-folder", "letters.ndjson"), /ENOENT/],
      [suite.folder, /EISDIR/],
      ["/dev/full", /ENOSPC/],
    ] as const;
    for (const [deadLetters, cause] of cases) {
      const running = suite.ingest("letters-unwritable", [file], { deadLetters });
      await assert.rejects(running, (error: Error & { code?: string }) => {
        assert.equal(error.code, "file_unwritable");
        assert.ok(error.message.includes(deadLetters), error.message);
        assert.match(error.message, cause);
        return true;
      });
    }
  });

  it("is replayed as far as it has texts: a letter without one fails alone, and says why", async () => {
    const letter = { code: "document_rejected", reason: "for the test", line: 7, bytes: 10 };
    const gone = { ...letter, file: "/gone.ndjson", offset: 0 };
    const there = { ...letter, file: "there.ndjson", document: '{"_id":"there","text":"words"}' };
    const text = [gone, there].map((each) => JSON.stringify(each)).join("\n") + "\n";
    const summary = await suite.ingest("letters-partial", [put("partial.ndjson", text)], {
      fromDeadLetters: true,
    });
    assert.deepEqual([summary.read, summary.written, summary.failed], [2, 1, 1]);
    const [left] = lettersIn(suite.lettersOf("letters-partial"));
    assert.equal(left?.code, "source_unreadable");
    assert.match(left.reason, /no text.*\/gone\.ndjson.*document_rejected: for the test/);
  });

  it("names the input and carries the text of what was spooled, through any number of replays", async () => {
    const index = "letters-again";
    const array = put(
      "array.json",
      Buffer.concat([
        Buffer.from('[{"_id":"a","text":"good"},\n{"_id":"b","body":"words"},\n{"_id":"c",}, '),
        Buffer.from([0x22, 0xff, 0x22]),
        Buffer.from("]"),
      ]),
    );
    const first = await suite.ingest(index, [array]);
    assert.deepEqual([first.written, first.failed], [1, 3]);
    assert.ok(first.failures.every(({ example }) => example.file === array));
    const texts = ['{"_id":"b","body":"words"}', '{"_id":"c",}'];
    const letters = lettersIn(suite.lettersOf(index));
    const bodies = () => lettersIn(suite.lettersOf(index)).map(({ document }) => document);
    assert.deepEqual(
      letters.map(({ file, line, offset }) => [file, line, offset]),
      [2, 3, 3].map((line) => [array, line, undefined]),
    );
    for (const text of texts) assert.ok(bodies().includes(text), text);
    let replayed = suite.lettersOf(index);
    for (let i = 0; i < 2; i++) {
      const copy = put(`copy-${i}.ndjson`, readFileSync(replayed));
      const again = await suite.ingest(index, [copy], { fromDeadLetters: true });
      assert.deepEqual([again.written, again.failed], [0, 3]);
      assert.ok(lettersIn(suite.lettersOf(index)).every(({ file }) => file === copy));
      for (const text of texts) assert.ok(bodies().includes(text), text);
      replayed = suite.lettersOf(index);
    }
    const mended = readFileSync(replayed, "utf8")
      .replace("body", "text")
      .replace('{\\"_id\\":\\"c\\",}', '{\\"_id\\":\\"c\\",\\"text\\":\\"words\\"}');
    const last = await suite.ingest(index, [put("mended.ndjson", mended)], {
      fromDeadLetters: true,
    });
    assert.deepEqual([last.written, last.failed], [2, 1]);
    const found = await contentOf(suite.cluster, index);
    assert.deepEqual([...found.keys()].sort(), ["a", "b", "c"]);
  });
});
