/** The saved objects for OpenSearch Dashboards: whole, and their questions answered by a real cluster. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { packageRoot } from "../../src/config/package-root.js";
import { openEncoder } from "../../src/encoder/encoder.js";
import { refreshIndex } from "../../src/index/csplade-index.js";
import { createWorkerMetrics } from "../../src/observe/worker-metrics.js";
import { reindex } from "../../src/reindex/reindex.js";
import { discardIndices, fill, reindexConfig, testDocuments } from "../support/reindexing.js";

const json = z.string().transform((text) => JSON.parse(text) as unknown);

const objectSchema = z.object({
  type: z.enum(["index-pattern", "visualization", "search", "dashboard"]),
  id: z.string(),
  attributes: z.looseObject({ title: z.string() }),
  references: z.array(z.object({ name: z.string(), type: z.string(), id: z.string() })),
});

const aggSchema = z.object({
  id: z.string(),
  type: z.enum(["max", "avg", "count", "terms", "date_histogram"]),
  schema: z.enum(["metric", "segment", "group", "bucket"]),
  params: z.looseObject({ field: z.string().optional() }),
});
type Agg = z.infer<typeof aggSchema>;

const visualizationSchema = z.object({
  visState: json.pipe(z.object({ type: z.string(), aggs: z.array(aggSchema) })),
  kibanaSavedObjectMeta: z.object({
    searchSourceJSON: json.pipe(
      z.object({ query: z.object({ query: z.string() }), indexRefName: z.string() }),
    ),
  }),
});

const fieldsSchema = json.pipe(
  z.array(z.object({ name: z.string(), type: z.string(), esTypes: z.array(z.string()) })),
);

const mappingSchema = z.record(
  z.string(),
  z.object({
    mappings: z.object({
      properties: z.record(z.string(), z.looseObject({ type: z.string().optional() })),
    }),
  }),
);

const objects = readFileSync(
  path.join(packageRoot, "k8s", "dashboards", "csplade-run.ndjson"),
  "utf8",
)
  .trim()
  .split("\n")
  .map((line) => objectSchema.parse(JSON.parse(line)));

const patterns = new Map(
  objects
    .filter(({ type }) => type === "index-pattern")
    .map(({ id, attributes }) => [id, fieldsSchema.parse(attributes.fields)]),
);

const visualizations = objects
  .filter(({ type }) => type === "visualization")
  .map((object) => ({
    title: object.attributes.title,
    index: object.references[0]?.id ?? "",
    ...visualizationSchema.parse(object.attributes),
  }));

describe("the saved objects of OpenSearch Dashboards", () => {
  it("refer only to each other, and the dashboard shows all of them", () => {
    const there = new Set(objects.map(({ type, id }) => `${type} ${id}`));
    assert.equal(there.size, objects.length, "an id is there twice");
    for (const { id, references } of objects) {
      for (const to of references) assert.ok(there.has(`${to.type} ${to.id}`), `${id} → ${to.id}`);
    }
    const dashboard = objects.find(({ type }) => type === "dashboard");
    const panels = json
      .pipe(z.array(z.object({ panelRefName: z.string() })))
      .parse(dashboard?.attributes.panelsJSON);
    assert.deepEqual(
      panels.map(({ panelRefName }) => panelRefName),
      dashboard?.references.map(({ name }) => name),
    );
    const shown = new Set(dashboard?.references.map(({ id }) => id));
    const showable = objects.filter(({ type }) => type === "visualization" || type === "search");
    for (const { id } of showable) assert.ok(shown.has(id), `${id} is on no dashboard`);
  });

  it("use only fields of their index pattern, numbers as numbers", () => {
    for (const { title, index, visState } of visualizations) {
      const fields = new Map(patterns.get(index)?.map(({ name, type }) => [name, type]));
      for (const { type, params } of visState.aggs) {
        if (type === "count") continue;
        const wanted = { max: "number", avg: "number", terms: "string", date_histogram: "date" };
        assert.equal(
          fields.get(params.field ?? ""),
          wanted[type],
          `${title}: ${params.field ?? ""}`,
        );
      }
    }
  });

  describe("asked of a real run", function () {
    this.timeout(180_000);
    let cluster: Cluster;

    before(async () => {
      const config = reindexConfig();
      cluster = connectCluster(config);
      await fill(cluster, "saved-source", [
        ...testDocuments(300),
        { id: "without-text", title: 7, text: ["an array", 8] },
      ]);
      const encoder = await openEncoder(config);
      try {
        await reindex({
          config,
          cluster,
          encoder,
          what: { from: ["saved-source"], alias: "saved-search" },
          metrics: createWorkerMetrics(),
          signal: AbortSignal.timeout(120_000),
        });
      } finally {
        await encoder.close();
      }
      for (const index of patterns.keys()) await refreshIndex(cluster, index);
    });

    after(async () => {
      await discardIndices(cluster, "saved-");
      await cluster.close();
    });

    it("their index patterns have the fields of the real indices", async () => {
      for (const [index, fields] of patterns) {
        const answer = await cluster.demand(
          { method: "GET", path: `/${index}/_mapping` },
          "Reading a mapping",
        );
        const { properties } = mappingSchema.parse(answer)[index]?.mappings ?? {};
        for (const { name, esTypes } of fields) {
          assert.equal(properties?.[name]?.type, esTypes[0], `${index}: ${name}`);
        }
      }
    });

    for (const { title, index, visState, kibanaSavedObjectMeta } of visualizations) {
      it(`${title} shows something`, async () => {
        const { query } = kibanaSavedObjectMeta.searchSourceJSON.query;
        const answer = await cluster.demand(
          {
            method: "POST",
            path: `/${index}/_search`,
            body: {
              size: 0,
              query: query === "" ? { match_all: {} } : { query_string: { query } },
              ...requestOf(visState.aggs),
            },
          },
          title,
        );
        const shown = valuesIn((answer as { aggregations?: unknown }).aggregations);
        // A bucket of a slow run may hold reports that have no lag yet, and then says null.
        assert.ok(shown.some(Number.isFinite), JSON.stringify(answer));
      });
    }
  });
});

/** What Dashboards sends for these aggregations: buckets around buckets around metrics. */
function requestOf(aggs: readonly Agg[]): Record<string, unknown> {
  const metrics = Object.fromEntries(
    aggs
      .filter(({ type, schema }) => schema === "metric" && type !== "count")
      .map(({ id, type, params }) => [id, { [type]: { field: params.field } }]),
  );
  const inside = Object.keys(metrics).length === 0 ? {} : { aggs: metrics };
  return aggs
    .filter(({ schema }) => schema !== "metric")
    .reduceRight<Record<string, unknown>>((within, { id, type, params }) => {
      const body =
        type === "terms"
          ? { field: params.field, size: params.size }
          : { field: params.field, fixed_interval: "10s", min_doc_count: 1 };
      return { aggs: { [id]: { [type]: body, ...within } } };
    }, inside);
}

/** Every metric's value and, of buckets without metrics, every count. */
function valuesIn(aggregations: unknown): number[] {
  if (aggregations === null || typeof aggregations !== "object") return [];
  return Object.entries(aggregations).flatMap(([key, value]) =>
    key === "value" || (key === "doc_count" && typeof value === "number")
      ? [value as number]
      : Array.isArray(value)
        ? value.flatMap(valuesIn)
        : valuesIn(value),
  );
}
