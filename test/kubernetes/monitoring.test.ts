/** The dashboard and the alert rules: what they ask for exists, and alerts fire when they should. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { SyntaxNodeRef } from "@lezer/common";
import { parser } from "@prometheus-io/lezer-promql";
import { parse } from "yaml";
import { z } from "zod";
import { packageRoot } from "../../src/config/package-root.js";
import { createMetrics } from "../../src/gateway/metrics.js";
import { createRunMetrics } from "../../src/observe/run-metrics.js";
import { createWorkerMetrics } from "../../src/observe/worker-metrics.js";
import { demandTool, runTool } from "../support/kubernetes-tools.js";

const folder = path.join(packageRoot, "k8s", "helm", "csplade", "monitoring");

const rulesSchema = z.object({
  groups: z.array(
    z.object({
      rules: z.array(
        z.object({
          alert: z.string(),
          expr: z.string(),
          for: z.string(),
          labels: z.object({ severity: z.enum(["critical", "warning", "info"]) }),
          annotations: z.object({ summary: z.string(), description: z.string() }),
        }),
      ),
    }),
  ),
});

const dashboardSchema = z.object({
  panels: z.array(
    z.object({
      id: z.number(),
      title: z.string(),
      gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
      targets: z.array(z.object({ expr: z.string() })).default([]),
    }),
  ),
  templating: z.object({ list: z.array(z.object({ name: z.string() })) }),
});

const alerts = rulesSchema
  .parse(parse(readFileSync(path.join(folder, "alerts.yaml"), "utf8")))
  .groups.flatMap(({ rules }) => rules);

const dashboard = dashboardSchema.parse(
  JSON.parse(readFileSync(path.join(folder, "grafana-dashboard.json"), "utf8")),
);

/** One metric as an expression asks for it. */
interface Asked {
  readonly where: string;
  readonly name: string;
  /** Label → value of the exact matchers. */
  readonly labels: ReadonlyMap<string, string>;
}

describe("monitoring", () => {
  const expressions = [
    ...alerts.map(({ alert, expr }) => ({ where: `alert ${alert}`, expr })),
    ...dashboard.panels.flatMap(({ title, targets }) =>
      targets.map(({ expr }) => ({ where: `panel ${title}`, expr: withoutVariables(expr) })),
    ),
  ];

  it("asks in PromQL that parses", () => {
    for (const { where, expr } of expressions) {
      parser.parse(expr).iterate({
        enter: (node) => assert.ok(!node.type.isError, `${where}: ${expr} at ${node.from}`),
      });
    }
  });

  it("asks only for metrics, labels and values that csplade has", async () => {
    const known = await knownMetrics();
    const asked = expressions.flatMap(({ where, expr }) => selectorsIn(where, expr));
    assert.ok(asked.length > 40);
    for (const { where, name, labels } of asked) {
      const values = known.get(name);
      assert.ok(values !== undefined, `${where} asks for ${name}, which nobody exports`);
      for (const [label, value] of labels) {
        if (prometheusLabels.has(label)) continue;
        const allowed = values.get(label);
        assert.ok(allowed !== undefined, `${where}: ${name} has no label ${label}`);
        if (allowed.size > 0) assert.ok(allowed.has(value), `${where}: ${name} ${label}=${value}`);
      }
    }
  });

  it("shows every documented metric of a run and of workers somewhere", async () => {
    const shown = new Set(
      expressions.flatMap(({ where, expr }) => selectorsIn(where, expr)).map(({ name }) => name),
    );
    const missing = [...(await knownMetrics()).keys()].filter(
      (name) => /^csplade_(worker|reindex|queue|backlog)/.test(name) && !shown.has(name),
    );
    // Of a histogram, the dashboard shows buckets or the mean.
    assert.deepEqual(
      missing.filter((name) => !/_(bucket|sum|count)$/.test(name)),
      [],
    );
  });

  it("has panels that do not overlap, each with an id of its own", () => {
    const { panels } = dashboard;
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    for (const [index, { title, gridPos: one }] of panels.entries()) {
      assert.ok(one.x + one.w <= 24, title);
      for (const { title: other, gridPos: two } of panels.slice(index + 1)) {
        const apart =
          one.x + one.w <= two.x ||
          two.x + two.w <= one.x ||
          one.y + one.h <= two.y ||
          two.y + two.h <= one.y;
        assert.ok(apart, `${title} lies over ${other}`);
      }
    }
  });

  it("documents what to do about every alert", () => {
    const docs = readFileSync(path.join(packageRoot, "docs", "kubernetes.md"), "utf8");
    for (const { alert } of alerts) assert.ok(docs.includes(`\`${alert}\``), alert);
  });

  describe("judged by promtool", () => {
    let promtool: string;

    before(function () {
      promtool = path.join(demandTool(this, "promtool"), "promtool");
    });

    it("has rules in order", () => {
      const end = runTool(promtool, [
        "check",
        "rules",
        "--lint-fatal",
        path.join(folder, "alerts.yaml"),
      ]);
      assert.equal(end.status, 0, end.output);
    });

    it("fires alerts when they should, and only then", () => {
      const copy = mkdtempSync(path.join(os.tmpdir(), "csplade-alerts-"));
      try {
        const cases = "alerts.promtool.yaml";
        cpSync(path.join(packageRoot, "test", "kubernetes", cases), path.join(copy, cases));
        cpSync(path.join(folder, "alerts.yaml"), path.join(copy, "alerts.yaml"));
        const end = runTool(promtool, ["test", "rules", path.join(copy, cases)]);
        assert.equal(end.status, 0, end.output);
      } finally {
        rmSync(copy, { recursive: true });
      }
    });
  });
});

/** Set by Prometheus, which knows the pod. */
const prometheusLabels: ReadonlySet<string> = new Set(["namespace", "pod"]);

/** Grafana's variables in place: an expression for Prometheus. */
function withoutVariables(expr: string): string {
  const names = new Set(dashboard.templating.list.map(({ name }) => name));
  return expr.replace(/\$(\w+)/g, (whole, name: string) => {
    assert.ok(names.has(name), `${whole} is no variable of the dashboard`);
    return "x";
  });
}

function selectorsIn(where: string, expr: string): Asked[] {
  const asked: Asked[] = [];
  const text = ({ from, to }: { from: number; to: number }) => expr.slice(from, to);
  parser.parse(expr).iterate({
    enter(node: SyntaxNodeRef) {
      if (node.name !== "VectorSelector") return;
      const selector = node.node;
      const name = selector.getChild("Identifier");
      const labels = new Map<string, string>();
      const matchers =
        selector.getChild("LabelMatchers")?.getChildren("UnquotedLabelMatcher") ?? [];
      for (const matcher of matchers) {
        const [label, operator, value] = [
          matcher.getChild("LabelName"),
          matcher.getChild("MatchOp"),
          matcher.getChild("StringLiteral"),
        ];
        if (label === null || operator === null || value === null) continue;
        // Of a pattern only the label is checked: an empty set of values stands for any.
        if (text(operator) === "=") labels.set(text(label), text(value).slice(1, -1));
        else labels.set(text(label), "");
      }
      asked.push({ where, name: name === null ? "" : text(name), labels });
    },
  });
  return asked;
}

/** Metric → label → values (none listed: any), of every process that has /metrics. */
async function knownMetrics(): Promise<Map<string, Map<string, Set<string>>>> {
  const known = new Map<string, Map<string, Set<string>>>();
  const add = (name: string, type: string, labels: Map<string, Set<string>>) => {
    const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    for (const suffix of suffixes) known.set(name + suffix, labels);
  };
  const documented = new Map(documentedMetrics().map(({ name, values }) => [name, values]));
  const registries = [
    createMetrics().registry,
    createWorkerMetrics().registry,
    createRunMetrics().registry,
  ];
  for (const registry of registries) {
    for (const { name, type } of await registry.getMetricsAsJSON()) {
      const metric = registry.getSingleMetric(name) as unknown as { labelNames: string[] };
      const labels = metric.labelNames.map((label): [string, Set<string>] => [
        label,
        documented.get(name)?.get(label) ?? new Set(),
      ]);
      add(name, String(type), new Map(labels));
    }
  }
  return known;
}

/** Metric → label → values, from the tables of docs/reindexing.md: code has no list of values. */
function documentedMetrics() {
  const docs = readFileSync(path.join(packageRoot, "docs", "reindexing.md"), "utf8");
  const rows = [...docs.matchAll(/^\| `(csplade_\w+)` +\| \w+ +\| (.*) \|$/gm)];
  assert.ok(rows.length >= 15, "the tables of docs/reindexing.md have another form now");
  return rows.map(([, name = "", cell = ""]) => {
    // `label`: `value`, `value` (which means …), …
    const listed = [...cell.matchAll(/`(\w+)`: ((?:(?:, )?`\w+`(?: \([^)]*\))?)+)/g)];
    const values = new Map(
      listed.map(([, label = "", list = ""]) => [
        label,
        new Set([...list.matchAll(/`(\w+)`/g)].map(([, value = ""]) => value)),
      ]),
    );
    return { name, values };
  });
}
