import assert from "node:assert/strict";
import fc from "fast-check";
import { plainDocument, type BulkOperation } from "../../../src/cluster/bulk-operation.js";
import { JsonObject } from "../../../src/json/json-object.js";
import { contentHash } from "../../../src/index/content-hash.js";
import type { IndexInfo } from "../../../src/index/csplade-index.js";
import {
  checkDocument,
  deletionSteps,
  documentSteps,
  type IndexableDocument,
  type PassageVector,
  type VectorShape,
} from "../../../src/index/index-document.js";
import type { PassagesMode } from "../../../src/index/index-meta.js";
import { NOTHING_STORED, type StoredState } from "../../../src/index/stored-state.js";
import { sparseVector } from "../../../src/sparse/sparse-vector.js";

const shape: VectorShape = { prune_type: "none", prune_ratio: 0, quantize_bits: 24 };

function info(passages: PassagesMode): IndexInfo {
  return {
    name: "articles",
    indices: ["articles"],
    created: true,
    model: { fingerprint: "0123456789abcdef", name: "m", variant: "bi", vocabulary_size: 100 },
    passages,
    text_fields: ["title", "text"],
    title_field: "title",
  };
}

const document = {
  id: "7",
  text: "A title First half. Second half.",
  body: JsonObject.of({ title: "A title", text: "First half. Second half.", year: 2025 }),
};

const passages: PassageVector[] = [
  {
    start: 0,
    end: 19,
    vector: sparseVector([
      [3, 2],
      [5, 1],
    ]),
  },
  {
    start: 19,
    end: 32,
    vector: sparseVector([
      [3, 1],
      [9, 4],
    ]),
  },
];

/** An operation and its document as the cluster reads it. */
function plain(operation: BulkOperation | undefined) {
  return { ...operation, document: plainDocument(operation?.document ?? {}) };
}

describe("index document", () => {
  it("merged: keeps each term's greatest weight over the passages", () => {
    const steps = documentSteps(info("merged"), document, passages, {
      shape,
      hash: "h",
      stored: NOTHING_STORED,
    });
    assert.deepEqual(
      steps.map((step) => step.map(plain)),
      [
        [
          {
            index: "articles",
            id: "7",
            action: "index",
            document: {
              ...document.body.parse(),
              csplade: { 3: 2, 5: 1, 9: 4 },
              csplade_model: "0123456789abcdef",
              csplade_hash: "h",
            },
          },
        ],
      ],
    );
  });

  it("merged: is written only over the state that was looked at, and stamped with the version it will have", () => {
    const at = (over: IndexableDocument["over"]) => {
      const context = { shape, hash: "h", stored: NOTHING_STORED };
      const target = { ...document, version: 21, ...(over === undefined ? {} : { over }) };
      const [[operation] = []] = documentSteps(info("merged"), target, passages, context);
      const { action, version, if_seq_no, if_primary_term } = operation ?? {};
      const { csplade_hash } = plain(operation).document;
      return { action, version, if_seq_no, if_primary_term, csplade_hash };
    };
    const none = { version: undefined, if_seq_no: undefined, if_primary_term: undefined };
    assert.deepEqual(at(undefined), {
      ...none,
      action: "index",
      version: 21,
      csplade_hash: "h@21",
    });
    assert.deepEqual(at("nothing"), { ...none, action: "create", csplade_hash: "h@1:21" });
    assert.deepEqual(at({ seq_no: 5, primary_term: 2, version: 7 }), {
      action: "index",
      version: undefined,
      if_seq_no: 5,
      if_primary_term: 2,
      csplade_hash: "h@8:21",
    });
  });

  it("nested: keeps each passage's vector with its place in the text", () => {
    const [[operation] = []] = documentSteps(info("nested"), document, passages, {
      shape,
      stored: NOTHING_STORED,
    });
    assert.deepEqual(plain(operation).document, {
      ...document.body.parse(),
      csplade_passages: [
        { start: 0, end: 19, csplade: { 3: 2, 5: 1 } },
        { start: 19, end: 32, csplade: { 3: 1, 9: 4 } },
      ],
      csplade_model: "0123456789abcdef",
    });
  });

  it("documents: each passage has its own text, and all have the document's other fields", () => {
    const steps = documentSteps(info("documents"), document, passages, {
      shape,
      hash: "h",
      stored: NOTHING_STORED,
    });
    assert.deepEqual(
      steps.map((step) => step.map(({ id }) => id)),
      [["7#0"], ["7#1"], ["7#0"]],
    );
    const common = {
      title: "A title",
      year: 2025,
      csplade_parent: "7",
      csplade_model: "0123456789abcdef",
    };
    assert.deepEqual(plain(steps[1]?.[0]).document, {
      ...common,
      text: "Second half.",
      csplade: { 3: 1, 9: 4 },
      csplade_passage: 1,
    });
    assert.deepEqual(plain(steps[2]?.[0]).document, {
      ...common,
      text: "First half.",
      csplade: { 3: 2, 5: 1 },
      csplade_passage: 0,
      csplade_passage_count: 2,
      csplade_hash: "h",
    });
    assert.equal(plain(steps[0]?.[0]).document.csplade_hash, undefined);
  });

  it("stores a document without a passage with an empty vector in every mode", () => {
    for (const mode of ["merged", "nested", "documents"] as const) {
      const steps = documentSteps(info(mode), document, [], { shape, stored: NOTHING_STORED });
      assert.equal(steps.length, 1);
      const stored = plain(steps[0]?.[0]).document;
      assert.deepEqual(
        mode === "nested" ? stored.csplade_passages : stored.csplade,
        mode === "nested" ? [] : {},
      );
    }
  });

  it("makes vectors smaller as configured, after merging", () => {
    const [[operation] = []] = documentSteps(info("merged"), document, passages, {
      shape: { prune_type: "top_k", prune_ratio: 2, quantize_bits: 9 },
      stored: NOTHING_STORED,
    });
    assert.deepEqual(plain(operation).document.csplade, { 3: 2, 9: 4 });
  });

  const refused: [string, { id: string; body: Readonly<Record<string, unknown>> }, RegExp][] = [
    ["a reserved field", { id: "1", body: { csplade: 1 } }, /csplade is reserved/],
    [
      "a reserved field with a suffix",
      { id: "1", body: { csplade_x: 1 } },
      /csplade_x is reserved/,
    ],
    [
      "a reserved field with a dot",
      { id: "1", body: { "csplade.3": 1 } },
      /csplade\.3 is reserved/,
    ],
    ["a field that is the cluster's own", { id: "1", body: { _routing: "x" } }, /_routing is the/],
    ["an empty id", { id: "", body: {} }, /0 bytes/],
    ["an id of more than 512 bytes", { id: "é".repeat(257), body: {} }, /514 bytes/],
    ["half a character in the id", { id: "a\ud800", body: {} }, /surrogate/],
  ];
  for (const [what, bad, message] of refused) {
    it(`refuses ${what}`, () => {
      const document = { ...bad, body: JsonObject.of(bad.body) };
      assert.throws(() => checkDocument(info("merged"), document), message);
    });
  }

  it("leaves fields alone whose names only begin alike", () => {
    checkDocument(info("merged"), {
      id: "1",
      body: JsonObject.of({ cspladed: 1, CSPLADE: 2 }),
    });
  });

  it("leaves room for the passage number in ids", () => {
    assert.throws(
      () => checkDocument(info("documents"), { id: "x".repeat(507), body: JsonObject.of({}) }),
      /1 to 506/,
    );
  });

  it("documents: a crash at any point is mended by writing the document again", () => {
    // In the step it dies in, any of the operations may have been carried out.
    const crash = fc.record({
      step: fc.integer({ min: 0, max: 3 }),
      done: fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
    });
    const version = fc.record({
      passages: fc.integer({ min: 0, max: 5 }),
      text: fc.constantFrom("a", "b", "c"),
    });
    fc.assert(
      fc.property(
        fc.array(fc.record({ version, crash }), {
          maxLength: 6,
        }),
        version,
        fc.boolean(),
        (history, last, thenDelete) => {
          const store = new Map<string, Record<string, unknown>>();
          for (const { version: tried, crash: at } of history) ingest(store, tried, at);
          ingest(store, last);
          const count = Math.max(1, last.passages);
          assert.deepEqual(
            [...store.keys()].sort(),
            Array.from({ length: count }, (_, n) => `d#${n}`).sort(),
          );
          for (const stored of store.values()) assert.equal(stored.tag, last.text);
          if (!thenDelete) return;
          run(store, deletionSteps(info("documents"), { id: "d" }, stateOf(store)));
          assert.equal(store.size, 0);
        },
      ),
      { numRuns: 500 },
    );
  });
});

interface Crash {
  readonly step: number;
  readonly done: readonly boolean[];
}

/** Ingests one version as the pipeline does: skips what is unchanged, then writes step by step. */
function ingest(
  store: Map<string, Record<string, unknown>>,
  version: { passages: number; text: string },
  crash?: Crash,
): void {
  const plan = info("documents");
  const body = JsonObject.of({ tag: version.text, length: version.passages });
  const hash = contentHash(body, plan, { ...shape, max_passages: 10 });
  const stored = stateOf(store);
  if (stored.hash === hash) return;
  const vectors = Array.from({ length: version.passages }, (_, n) => ({
    start: n,
    end: n + 1,
    vector: sparseVector([[n, 1]]),
  }));
  const source = { id: "d", text: "x".repeat(version.passages), body };
  run(store, documentSteps(plan, source, vectors, { shape, hash, stored }), crash);
}

function stateOf(store: Map<string, Record<string, unknown>>): StoredState {
  const head = store.get("d#0");
  return {
    hash: head?.csplade_hash as string | undefined,
    passages: (head?.csplade_passage_count ?? 0) as number,
  };
}

function run(
  store: Map<string, Record<string, unknown>>,
  steps: readonly (readonly BulkOperation[])[],
  crash?: Crash,
): void {
  for (const [n, step] of steps.slice(0, (crash?.step ?? Infinity) + 1).entries()) {
    for (const [i, { id, action, document: written }] of step.entries()) {
      if (n === crash?.step && crash.done[i] !== true) continue;
      if (action === "delete") store.delete(id);
      else store.set(id, { ...plainDocument(written ?? {}) });
    }
  }
}

describe("content hash", () => {
  const plan = info("merged");
  const choices = { ...shape, max_passages: 10 };

  it("does not depend on the order of fields", () => {
    const a = contentHash(JsonObject.of({ a: 1, b: { c: [1, 2], d: "x" } }), plan, choices);
    const b = contentHash(JsonObject.of({ b: { d: "x", c: [1, 2] }, a: 1 }), plan, choices);
    assert.equal(a, b);
    assert.match(a, /^[\w-]{11}$/);
  });

  it("changes with the document, the model and every choice that changes the vectors", () => {
    const body = JsonObject.of({ text: "a" });
    const other = { ...plan, model: { ...plan.model, fingerprint: "fedcba9876543210" } };
    const hashes = [
      contentHash(body, plan, choices),
      contentHash(JsonObject.of({ text: "b" }), plan, choices),
      contentHash(JsonObject.of({ text: ["a"] }), plan, choices),
      contentHash(body, other, choices),
      contentHash(body, info("nested"), choices),
      contentHash(body, { ...plan, text_fields: ["text"] }, choices),
      contentHash(body, plan, { ...choices, quantize_bits: 9 }),
      contentHash(body, plan, { ...choices, prune_type: "top_k", prune_ratio: 100 }),
      contentHash(body, plan, { ...choices, max_passages: 11 }),
      contentHash(body, plan, choices, false),
    ];
    assert.equal(new Set(hashes).size, hashes.length);
  });
});
