/**
 * The plots of a report, drawn by Observable Plot into SVG text: no browser, no script. Colours
 * are CSS variables of the page (`--ours`, `--theirs`, `--gain`, `--loss`, `--muted`), so that a
 * plot follows the reader's light or dark scheme.
 */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { TermCounts } from "./index-footprint.js";

/** A plot and what it says in words, for those who do not see it. */
export interface Chart {
  /** `<svg>…</svg>` */
  readonly svg: string;
  readonly description: string;
}

/** A mean with its 95 % confidence interval. */
export interface Interval {
  readonly name: string;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** A point with a label. */
export interface LabelledPoint {
  readonly name: string;
  readonly x: number;
  readonly y: number;
}

/** Width of a plot in pixels: beside another one, or alone. Text has 13 pixels in both. */
const HALF_WIDTH = 580;
const FULL_WIDTH = 860;
const MARGINS = { marginLeft: 56, marginRight: 24, marginTop: 24, marginBottom: 44 };

/** Systems whose colour is the baseline's. */
function colourOf(name: string): string {
  return name === "bm25" || name === "BM25" ? "var(--theirs)" : "var(--ours)";
}

/** What is needed of an element; the types of browsers are not loaded here. */
interface DrawnElement {
  readonly tagName: string;
  readonly outerHTML: string;
  querySelector(selector: string): DrawnElement | null;
  querySelectorAll(selector: string): Iterable<DrawnElement>;
  getAttribute(name: string): string | null;
  removeAttribute(name: string): void;
  setAttribute(name: string, value: string): void;
}

/** Plot, as far as it does not name the types of browsers. */
const plotInto = Plot.plot as unknown as (
  options: Omit<Plot.PlotOptions, "document"> & { readonly document: object },
) => DrawnElement;

/** Draws; `label` names the plot, `description` says what it shows. */
function draw(label: string, description: string, options: Plot.PlotOptions): Chart {
  const { document } = parseHTML("<!doctype html><html></html>") as unknown as {
    readonly document: object;
  };
  const plot = plotInto({
    document,
    width: HALF_WIDTH,
    ...MARGINS,
    className: "chart",
    style: { fontSize: "13px", background: "none", overflow: "visible" },
    ...options,
  });
  const svg = plot.tagName.toLowerCase() === "svg" ? plot : plot.querySelector("svg");
  if (svg === null) throw new Error("Observable Plot drew no SVG");
  // The picture has one description; names of its parts help only the style sheet.
  for (const part of svg.querySelectorAll("[aria-label]")) {
    part.setAttribute("class", (part.getAttribute("aria-label") ?? "").replaceAll(" ", "-"));
    part.removeAttribute("aria-label");
  }
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${label}. ${description}`);
  return { svg: svg.outerHTML, description };
}

/** Means with their intervals, one row per system. */
export function intervalChart(metric: string, rows: readonly Interval[]): Chart {
  const longest = Math.max(...rows.map(({ name }) => name.length));
  const range = domainOf(
    rows.flatMap(({ low, high }) => [low, high]),
    { pad: 0.15 },
  );
  const description = rows
    .map(
      ({ name, mean, low, high }) =>
        `${name} ${mean.toFixed(3)} (95 % between ${low.toFixed(3)} and ${high.toFixed(3)})`,
    )
    .join("; ");
  return draw(`${metric} by system`, description, {
    width: FULL_WIDTH,
    height: 70 + rows.length * 32,
    marginLeft: Math.min(240, 24 + longest * 8),
    marginRight: 64,
    x: { label: `${metric} →`, grid: true, domain: range, ticks: 6 },
    y: { label: null, domain: rows.map(({ name }) => name) },
    marks: [
      Plot.ruleY(rows, {
        y: "name",
        x1: "low",
        x2: "high",
        stroke: ({ name }: Interval) => colourOf(name),
        strokeWidth: 2.5,
        strokeOpacity: 0.45,
      }),
      Plot.dot(rows, { y: "name", x: "mean", r: 6, fill: ({ name }: Interval) => colourOf(name) }),
      Plot.text(rows, {
        y: "name",
        x: "high",
        text: ({ mean }: Interval) => mean.toFixed(3),
        textAnchor: "start",
        dx: 8,
        fontWeight: 600,
      }),
    ],
  });
}

/** How {@link scatterChart} names its axes. */
export interface ScatterAxes {
  readonly x: string;
  readonly y: string;
  /** A level to compare with, such as BM25's, as a dashed line. */
  readonly level?: { readonly name: string; readonly y: number } | undefined;
  /** Join the points from left to right: they are steps of one setting. */
  readonly joined?: boolean;
}

/** Labelled points: quality (up is better) against a cost (left is better). */
export function scatterChart(points: readonly LabelledPoint[], axes: ScatterAxes): Chart {
  const { level } = axes;
  const height = 360;
  const ys = [...points.map(({ y }) => y), ...(level === undefined ? [] : [level.y])];
  const x = domainOf(
    points.map((point) => point.x),
    { from: 0, pad: 0.28 },
  );
  const y = domainOf(ys, { pad: 0.15 });
  const description =
    points
      .map((one) => `${one.name}: ${axes.x} ${short(one.x)}, ${axes.y} ${one.y.toFixed(3)}`)
      .join("; ") + (level === undefined ? "" : `; ${level.name} ${level.y.toFixed(3)}`);
  return draw(`${axes.y} against ${axes.x}`, description, {
    height,
    x: { label: `${axes.x} →`, domain: x, grid: true, ticks: 6 },
    y: { label: `↑ ${axes.y}`, domain: y, grid: true, ticks: 6 },
    marks: [
      ...(level === undefined
        ? []
        : [
            Plot.ruleY([level.y], { stroke: "var(--theirs)", strokeDasharray: "5 4" }),
            Plot.text([level], {
              frameAnchor: "right",
              y: "y",
              text: "name",
              dy: -8,
              fill: "var(--theirs)",
              fontWeight: 600,
            }),
          ]),
      ...(axes.joined === true
        ? [
            Plot.line(
              [...points].sort((a, b) => a.x - b.x),
              { x: "x", y: "y", stroke: "var(--ours)", strokeOpacity: 0.4 },
            ),
          ]
        : []),
      Plot.dot(points, { x: "x", y: "y", r: 6, fill: ({ name }: LabelledPoint) => colourOf(name) }),
      ...placeLabels(points, { x, y, height }).map(({ point, side, dy }) =>
        Plot.text([point], {
          x: "x",
          y: "y",
          text: "name",
          dx: side === "right" ? 11 : -11,
          dy,
          textAnchor: side === "right" ? "start" : "end",
        }),
      ),
    ],
  });
}

/**
 * Labels to the right of their points, or to the left where they would leave the picture; moved
 * down where they would lie on another one.
 */
function placeLabels(
  points: readonly LabelledPoint[],
  { x, y, height }: { readonly x: number[]; readonly y: number[]; readonly height: number },
): { point: LabelledPoint; side: "left" | "right"; dy: number }[] {
  const inner = {
    width: HALF_WIDTH - MARGINS.marginLeft - MARGINS.marginRight,
    height: height - MARGINS.marginTop - MARGINS.marginBottom,
  };
  const along = (value: number, [from = 0, to = 1]: number[], size: number) =>
    ((value - from) / (to - from || 1)) * size;
  const taken: { left: number; right: number; at: number }[] = [];
  return [...points]
    .sort((a, b) => b.y - a.y)
    .map((point) => {
      const dot = along(point.x, x, inner.width);
      const size = 14 + point.name.length * 7.5;
      const side = dot + size > inner.width + MARGINS.marginRight ? "left" : "right";
      const left = side === "right" ? dot : dot - size;
      const right = left + size;
      const own = inner.height - along(point.y, y, inner.height);
      let at = own;
      const collides = () =>
        taken.find((one) => one.left < right && left < one.right && Math.abs(one.at - at) < 15);
      for (let other = collides(); other !== undefined; other = collides()) at = other.at + 15;
      taken.push({ left, right, at });
      return { point, side, dy: at - own };
    });
}

/** How many vectors have so many terms. */
export function termsChart(of: string, counts: TermCounts): Chart {
  const total = counts.reduce((sum, [, vectors]) => sum + vectors, 0);
  const [first, last] = [counts[0]?.[0] ?? 0, counts.at(-1)?.[0] ?? 0];
  const median = quantileOfCounts(counts, 0.5);
  const bins = Math.round(Math.min(32, Math.max(6, 1.3 * Math.sqrt(total))));
  const rows = counts.map(([terms, vectors]) => ({ terms, vectors }));
  return draw(
    `Terms per ${of}`,
    `${total} vectors with ${first} to ${last} terms, half of them with at most ${median}`,
    {
      height: 280,
      // Two rows above the bars: the name of the axis, and below it the median.
      marginTop: 46,
      x: { label: `terms per ${of} →`, nice: true },
      y: { label: `↑ ${of === "query" ? "queries" : "documents"}`, grid: true },
      marks: [
        Plot.rectY(
          rows,
          Plot.binX<Plot.RectYOptions>(
            { y: "sum" },
            { x: "terms", y: "vectors", fill: "var(--ours)", thresholds: bins, inset: 0.5 },
          ),
        ),
        Plot.ruleX([median], { stroke: "var(--theirs)", strokeWidth: 2, strokeDasharray: "5 4" }),
        Plot.text([median], {
          x: (terms: number) => terms,
          frameAnchor: "top",
          text: (terms: number) => `median ${terms}`,
          dy: -10,
          fill: "var(--theirs)",
          fontWeight: 600,
        }),
        Plot.ruleY([0]),
      ],
    },
  );
}

/** Most bars that can be told apart. */
const MOST_BARS = 600;

/** Per-query differences, the greatest gain first. */
export function differencesChart(
  metric: string,
  versus: string,
  differences: readonly number[],
): Chart {
  const sorted = [...differences].sort((a, b) => b - a);
  const wins = sorted.filter((value) => value > 1e-9).length;
  const losses = sorted.filter((value) => value < -1e-9).length;
  const step = Math.max(1, sorted.length / MOST_BARS);
  const bars = Array.from({ length: Math.ceil(sorted.length / step) }, (_, i) => ({
    at: i * step,
    value: sorted[Math.floor(i * step)] ?? 0,
  }));
  return draw(
    `${metric} of each query, minus ${versus}'s`,
    `${wins} queries are better, ${losses} worse, ${sorted.length - wins - losses} alike`,
    {
      width: FULL_WIDTH,
      height: 300,
      x: { label: "queries, greatest gain first →", domain: [0, sorted.length], ticks: 6 },
      y: {
        label: `↑ ${metric} minus ${versus}'s`,
        grid: true,
        domain: [-1, 1],
        tickFormat: "+.1f",
      },
      marks: [
        Plot.rectY(bars, {
          x1: "at",
          x2: ({ at }: { at: number }) => at + step,
          y1: 0,
          y2: "value",
          insetLeft: sorted.length < 150 ? 0.75 : 0,
          fill: ({ value }: { value: number }) => (value < 0 ? "var(--loss)" : "var(--gain)"),
        }),
        Plot.ruleY([0]),
      ],
    },
  );
}

/** The smallest number of terms that this share of the vectors does not exceed. */
export function quantileOfCounts(counts: TermCounts, share: number): number {
  const total = counts.reduce((sum, [, vectors]) => sum + vectors, 0);
  let seen = 0;
  for (const [terms, vectors] of counts) {
    seen += vectors;
    if (seen >= share * total) return terms;
  }
  return counts.at(-1)?.[0] ?? 0;
}

/** A domain around values with room at the ends, for labels and so that no point lies on the edge. */
function domainOf(
  values: readonly number[],
  { from, pad }: { readonly from?: number; readonly pad: number },
): number[] {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const low = from ?? least;
  const room = (most - low || Math.abs(most) || 1) * pad;
  return [from ?? Math.max(0, low - room), most + room];
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
