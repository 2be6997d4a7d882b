/**
 * A report of evaluations as one HTML page that needs nothing else: style and plots are in it, and
 * there is no script and no address (its Content-Security-Policy forbids both). Every plot has a
 * table beside it and a description for screen readers.
 */
import {
  differencesChart,
  intervalChart,
  quantileOfCounts,
  scatterChart,
  termsChart,
  type Chart,
  type Interval,
  type LabelledPoint,
} from "./charts.js";
import { compareResults, type ChangedQuery } from "./compare-results.js";
import type { TermCounts } from "./index-footprint.js";
import { namesOf, type Metrics } from "./metrics.js";
import { meanInterval } from "./mean-interval.js";
import { reportStyle } from "./report-style.js";
import type { SavedEvaluation, SavedSystem } from "./saved-evaluation.js";

/** Queries listed at either end of the gains and losses. */
const LISTED_QUERIES = 8;

/** Markup, as opposed to text that must be escaped. */
interface Html {
  readonly html: string;
}

/** Markup from a template: values that are no markup are escaped. */
function html(parts: TemplateStringsArray, ...values: (Html | Html[] | string | number)[]): Html {
  const text = (value: Html | Html[] | string | number): string => {
    if (Array.isArray(value)) return value.map((one) => one.html).join("");
    return typeof value === "object" ? value.html : escapeText(String(value));
  };
  return {
    html: parts.map((part, i) => (i === 0 ? part : text(values[i - 1] ?? "") + part)).join(""),
  };
}

const NOTHING: Html = { html: "" };

function escapeText(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character);
}

/**
 * Draws evaluations. The first of each collection is shown in full; further ones of the same
 * collection are set against it (precisions, prunings, quantizations).
 */
export function renderReport(evaluations: readonly SavedEvaluation[]): string {
  const datasets = new Map<string, SavedEvaluation[]>();
  for (const one of evaluations) {
    datasets.set(one.dataset, [...(datasets.get(one.dataset) ?? []), one]);
  }
  const names = [...datasets.keys()].join(", ");
  const versions = [...new Set(evaluations.map((one) => one.csplade))].join(", ");
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; style-src 'unsafe-inline'"
        />
        <title>Retrieval quality: ${names}</title>
        <style>
          ${{ html: reportStyle }}
        </style>
      </head>
      <body>
        <main>
          <h1>Retrieval quality</h1>
          ${[...datasets.values()].map((group) => datasetPart(group))}
          <footer>
            <p>
              Made by csplade ${versions} (<code>csplade eval --report</code>). Metrics are
              trec_eval's. Intervals hold 95&nbsp;% of 2,000 bootstrap samples of the queries;
              p-values are those of a paired randomization test, two-sided. Collections that ask
              other questions give other figures.
            </p>
          </footer>
        </main>
      </body>
    </html> `;
  return page.html;
}

function datasetPart(group: readonly SavedEvaluation[]): Html {
  const [main] = group;
  if (main === undefined) return NOTHING;
  return html`<header>
      <h2>${main.dataset}</h2>
      <p class="muted">
        ${count(Object.keys(main.queries).length, "judged query", "judged queries")},
        ${count(main.documents, "document", "documents")}${main.failed_documents === 0 ? "" : ` (${main.failed_documents} could not be indexed)`};
        model ${main.model}, ${main.label}; ${main.made_at.slice(0, 16).replace("T", " ")} UTC
      </p>
    </header>
    ${tiles(main)} ${systemsPart(main)} ${latencyPart(main)} ${tradeOffPart(group)}
    ${termsPart(main)} ${differencesPart(main)}`;
}

function tiles(main: SavedEvaluation): Html {
  const [ours, theirs] = [main.systems[0], systemNamed(main, "bm25")];
  const { difference, p_value } = main.versus_bm25;
  const tile = (name: string, value: string, more: string) =>
    html`<div class="tile">
      <dt>${name}</dt>
      <dd>${value}<small>${more}</small></dd>
    </div>`;
  return html`<dl class="tiles">
    ${tile("nDCG@10", figure(ours?.metrics["ndcg@10"]), `BM25 ${figure(theirs?.metrics["ndcg@10"])}`)}
    ${tile("against BM25", signed(difference), `p ${pText(p_value)}`)}
    ${tile("recall@100", figure(ours?.metrics["recall@100"]), `BM25 ${figure(theirs?.metrics["recall@100"])}`)}
    ${tile("a question takes", `${main.ms_per_query_p50.toFixed(0)} ms`, "median, encoding included")}
    ${tile("index", megabytes(main.index_bytes), `${(main.index_bytes / Math.max(1, main.documents)).toFixed(0)} bytes per document`)}
  </dl>`;
}

function systemsPart(main: SavedEvaluation): Html {
  const rows = main.systems.map((system): Interval & { system: SavedSystem } => {
    const values = Object.values(system.per_query).map((metrics) => metrics["ndcg@10"]);
    return { name: shownName(system), system, ...meanInterval(values) };
  });
  rows.sort((a, b) => b.mean - a.mean);
  const compared = main.systems.some(({ versus_plain }) => versus_plain !== undefined);
  const names = namesOf(main.systems[0]?.metrics as Metrics);
  return card(
    "Quality by way of searching",
    "All on one index. The bar is where the mean may lie for other queries of this kind; ways that " +
      "overlap can still differ, since they answer the same queries: see the p-values.",
    intervalChart("nDCG@10", rows),
    table(
      "Means over the queries",
      ["way of searching", ...names, ...(compared ? ["nDCG@10 − plain", "p"] : [])],
      rows.map(({ name, system }) => [
        name,
        ...names.map((metric) => figure(system.metrics[metric])),
        ...(compared ? versusPlain(system) : []),
      ]),
    ),
    true,
  );
}

function versusPlain({ versus_plain }: SavedSystem): string[] {
  if (versus_plain === undefined) return ["", ""];
  return [signed(versus_plain.difference), pText(versus_plain.p_value)];
}

function latencyPart(main: SavedEvaluation): Html {
  const timed = main.systems.filter(({ ms_p50 }) => ms_p50 !== undefined);
  if (timed.length < 2) return NOTHING;
  const points = timed.map((system) => ({
    name: shownName(system),
    x: system.ms_p50 ?? 0,
    y: system.metrics["ndcg@10"],
  }));
  return card(
    "Quality against time",
    "Milliseconds of a search for ten hits, one at a time, without encoding the question. Up and to the left is better.",
    scatterChart(points, { x: "median ms per search", y: "nDCG@10" }),
    table(
      "Time of a search",
      ["way of searching", "nDCG@10", "median ms", "95 % within ms"],
      timed.map((system) => [
        shownName(system),
        figure(system.metrics["ndcg@10"]),
        (system.ms_p50 ?? 0).toFixed(1),
        (system.ms_p95 ?? 0).toFixed(1),
      ]),
    ),
  );
}

/** Several evaluations of one collection: what is paid for size and time. */
function tradeOffPart(group: readonly SavedEvaluation[]): Html {
  const [main] = group;
  if (group.length < 2 || main === undefined) return NOTHING;
  const bm25 = systemNamed(main, "bm25")?.metrics["ndcg@10"];
  const level = bm25 === undefined ? undefined : { name: "BM25", y: bm25 };
  const points = (x: (one: SavedEvaluation) => number): LabelledPoint[] =>
    group.map((one) => ({ name: one.label, x: x(one), y: quality(one) }));
  const chart = (name: string, x: (one: SavedEvaluation) => number) =>
    scatterChart(points(x), { x: name, y: "nDCG@10", level, joined: false });
  const rows = group.map((one) => {
    const { difference, p_value } = against(main, one);
    return [
      one.label,
      figure(quality(one)),
      one === main ? "" : signed(difference),
      one === main ? "" : pText(p_value),
      megabytes(one.index_bytes),
      one === main ? "" : percent(one.index_bytes / main.index_bytes - 1),
      meanTerms(one.terms_per_document)?.toFixed(0) ?? "?",
      one.ms_per_query_p50.toFixed(0),
    ];
  });
  return html`<section class="card">
    <h3>What is paid for size and time</h3>
    <p class="muted">
      The same collection indexed with other settings. Up and to the left is better; the dashed line
      is BM25.
    </p>
    <div class="pair even">
      ${figureOf(chart("index size in MB", (one) => one.index_bytes / 1e6))}
      ${figureOf(chart("median ms per question, encoding included", (one) => one.ms_per_query_p50))}
    </div>
    ${table(
      `Each against ${main.label}`,
      [
        "setting",
        "nDCG@10",
        "difference",
        "p",
        "index",
        "size",
        "terms per document",
        "ms per question",
      ],
      rows,
    )}
  </section>`;
}

function termsPart(main: SavedEvaluation): Html {
  const kinds = [
    ["document", main.terms_per_document],
    ["query", main.terms_per_query],
  ] as const;
  const known = kinds.filter(([, counts]) => counts.length > 0);
  return html`<section class="card">
    <h3>Terms</h3>
    <p class="muted">
      How many terms the vectors have: what decides the size of the index and the time of a search.
    </p>
    <div class="pair even">${known.map(([of, counts]) => figureOf(termsChart(of, counts)))}</div>
    ${table(
      "Terms per vector",
      ["of a", "vectors", "least", "25 %", "median", "mean", "75 %", "95 %", "most"],
      known.map(([of, counts]) => [
        of,
        grouped(counts.reduce((sum, [, vectors]) => sum + vectors, 0)),
        ...[0, 0.25, 0.5].map((share) => String(quantileOfCounts(counts, share))),
        meanTerms(counts)?.toFixed(1) ?? "",
        ...[0.75, 0.95, 1].map((share) => String(quantileOfCounts(counts, share))),
      ]),
    )}
  </section>`;
}

function differencesPart(main: SavedEvaluation): Html {
  const [ours, theirs] = [main.systems[0], systemNamed(main, "bm25")];
  if (ours === undefined || theirs === undefined) return NOTHING;
  const { changed, metrics } = compareResults(queryResults(theirs), queryResults(ours));
  const ndcg = metrics.get("ndcg@10");
  const all = Object.keys(ours.per_query).map((query) => {
    const [mine, other] = [ours.per_query[query], theirs.per_query[query]];
    return (mine?.["ndcg@10"] ?? 0) - (other?.["ndcg@10"] ?? 0);
  });
  const ends = [
    ["Greatest gains", changed.filter(({ difference }) => difference > 0)],
    ["Greatest losses", changed.filter(({ difference }) => difference < 0)],
  ] as const;
  return html`<section class="card">
    <h3>Query by query, against BM25</h3>
    <p class="muted">
      ${count(ndcg?.wins ?? 0, "query is", "queries are")} better than with BM25,
      ${ndcg?.losses ?? 0} worse, ${ndcg?.ties ?? 0} alike. Means hide this: look at the losses
      before you believe the mean.
    </p>
    ${figureOf(differencesChart("nDCG@10", "BM25", all))}
    <div class="pair even">${ends.map(([title, queries]) => queryTable(title, queries, main))}</div>
  </section>`;
}

function queryTable(title: string, queries: readonly ChangedQuery[], main: SavedEvaluation): Html {
  const rows = queries.slice(0, LISTED_QUERIES).map(
    ({ query, first, second, difference }) =>
      html`<tr>
        <td class="text">${shortened(main.queries[query] ?? query)}</td>
        <td>${figure(first)}</td>
        <td>${figure(second)}</td>
        <td class="${difference < 0 ? "loss" : "gain"}">${signed(difference)}</td>
      </tr>`,
  );
  if (rows.length === 0) return html`<p class="muted">${title}: none.</p>`;
  return html`<div class="table">
    <table>
      <caption>
        ${title}
      </caption>
      <thead>
        <tr>
          <th scope="col" class="text">query</th>
          <th scope="col">BM25</th>
          <th scope="col">CSPLADE</th>
          <th scope="col">difference</th>
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  </div>`;
}

function card(title: string, note: string, chart: Chart, data: Html, below = false): Html {
  const inside = below
    ? html`${figureOf(chart)}${data}`
    : html`<div class="pair">${figureOf(chart)}${data}</div>`;
  return html`<section class="card">
    <h3>${title}</h3>
    <p class="muted">${note}</p>
    ${inside}
  </section>`;
}

function figureOf({ svg }: Chart): Html {
  return html`<figure>${{ html: svg }}</figure>`;
}

function table(
  caption: string,
  heads: readonly string[],
  rows: readonly (readonly string[])[],
): Html {
  return html`<div class="table">
    <table>
      <caption>
        ${caption}
      </caption>
      <thead>
        <tr>
          ${heads.map((head) => html`<th scope="col">${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          ([first = "", ...cells]) =>
            html`<tr>
              <th scope="row">${first}</th>
              ${cells.map((cell) => html`<td>${cell}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function against(main: SavedEvaluation, other: SavedEvaluation) {
  const [a, b] = [main.systems[0], other.systems[0]];
  const ndcg =
    a === undefined || b === undefined
      ? undefined
      : compareResults(queryResults(a), queryResults(b)).metrics.get("ndcg@10");
  return ndcg ?? { difference: 0, p_value: 1 };
}

function queryResults({ name, per_query }: SavedSystem) {
  return { name, per_query: new Map(Object.entries(per_query)) };
}

function systemNamed(main: SavedEvaluation, name: string): SavedSystem | undefined {
  return main.systems.find((system) => system.name === name);
}

function shownName({ name }: SavedSystem): string {
  if (name === "csplade") return "CSPLADE (plain)";
  return name === "bm25" ? "BM25" : name.replace("_", "-");
}

function quality(one: SavedEvaluation): number {
  return one.systems[0]?.metrics["ndcg@10"] ?? 0;
}

function meanTerms(counts: TermCounts): number | undefined {
  const vectors = counts.reduce((sum, [, many]) => sum + many, 0);
  if (vectors === 0) return undefined;
  return counts.reduce((sum, [terms, many]) => sum + terms * many, 0) / vectors;
}

function shortened(text: string): string {
  const words = text.replace(/\s+/g, " ").trim();
  return words.length > 120 ? `${words.slice(0, 119)}…` : words;
}

function figure(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(4);
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
}

function pText(p: number): string {
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function percent(share: number): string {
  return `${share < 0 ? "−" : "+"}${Math.abs(share * 100).toFixed(0)} %`;
}

function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

function count(value: number, one: string, many: string): string {
  return `${grouped(value)} ${value === 1 ? one : many}`;
}
