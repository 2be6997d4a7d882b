/** The saved objects for OpenSearch Dashboards: whole, and their questions answered by a real cluster. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";
import { connectCluster, type Cluster } from "../../src/cluster/cluster.js";
import { packageRoot } from "../../src/config/package-root.js";
import { testServers } from "../support/servers.js";
import { testConfig } from "../support/tiny-checkpoints.js";

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

  describe("asked of a real OpenSearch", () => {
    let cluster: Cluster;

    before(async () => {
      cluster = connectCluster(testConfig({ "opensearch.url": testServers().opensearchUrl }));
      for (const [index, fields] of patterns) {
        await cluster.send({ method: "DELETE", path: `/dashboards-test-${index}` });
        await cluster.demand(
          {
            method: "PUT",
            path: `/dashboards-test-${index}`,
            body: {
              mappings: {
                dynamic: false,
                properties: Object.fromEntries(
                  fields.map(({ name, esTypes }) => [name, { type: esTypes[0] }]),
                ),
              },
            },
          },
          "Creating an index with the fields of a pattern",
        );
      }
      await cluster.demand(
        {
          method: "POST",
          path: "/_bulk",
          query: { refresh: "true" },
          body: bulkBody(),
        },
        "Writing documents of the shape that docs/reindexing.md documents",
      );
    });

    after(async () => {
      for (const index of patterns.keys()) {
        await cluster.send({ method: "DELETE", path: `/dashboards-test-${index}` });
      }
      await cluster.close();
    });

    for (const { title, index, visState, kibanaSavedObjectMeta } of visualizations) {
      it(`${title} shows something`, async () => {
        const { query } = kibanaSavedObjectMeta.searchSourceJSON.query;
        const answer = await cluster.demand(
          {
            method: "POST",
            path: `/dashboards-test-${index}/_search`,
            body: {
              size: 0,
              query: query === "" ? { match_all: {} } : { query_string: { query } },
              ...requestOf(visState.aggs),
            },
          },
          title,
        );
        const shown = valuesIn((answer as { aggregations?: unknown }).aggregations);
        assert.ok(shown.length > 0 && shown.every(Number.isFinite), JSON.stringify(answer));
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

function bulkBody(): string {
  const lines: unknown[] = [];
  for (let tick = 0; tick < 5; tick++) {
    const time = new Date(Date.UTC(2026, 0, 1, 0, 0, 10 * tick)).toISOString();
    lines.push({ index: { _index: "dashboards-test-csplade-runs" } });
    lines.push({
      kind: "progress",
      "@timestamp": time,
      run: "docs-1",
      alias: "docs",
      documents_done: 100 * tick,
      documents_planned: 500,
      documents_per_second: 10,
      tokens_per_second: 1_200.5,
      dead_letters: tick,
      lag_seconds: 0.5,
    });
    lines.push({ index: { _index: "dashboards-test-csplade-dead-letters" } });
    lines.push({
      "@timestamp": time,
      run: "docs-1",
      id: `${tick}`,
      code: "document_no_text",
      reason: "The field text is missing.",
    });
  }
  return lines.map((line) => JSON.stringify(line)).join("\n") + "\n";
}
