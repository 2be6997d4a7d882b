/** Quality against index size as an SVG picture: a panel for each corpus, a curve for each rule of pruning. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

/** What cuts of different depth give. */
export interface SizeCurve {
  readonly name: string;
  /** Size as a multiple of the BM25 index, nDCG@10 as a share of whole vectors'. */
  readonly points: readonly { readonly name: string; readonly x: number; readonly y: number }[];
}

/** The curves of one corpus. */
export interface SizeCurves {
  readonly title: string;
  readonly curves: readonly SizeCurve[];
}

const WIDTH = 420;
const HEIGHT = 320;

/** Points nearer to whole vectors than this share of their size stand without a label. */
const NEAR = 0.05;

/** Dark enough on white, and told apart by people who see no red or green (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73"];

/** What is needed of an element; the types of browsers are not loaded here. */
interface DrawnElement {
  readonly outerHTML: string;
  setAttribute(name: string, value: string): void;
}

/** One picture, panels in rows of two. */
export function sizePlot(panels: readonly SizeCurves[]): string {
  const columns = Math.min(2, panels.length);
  const drawn = panels.map((one, place) => {
    const svg = panel(one);
    svg.setAttribute("x", String((place % columns) * WIDTH));
    svg.setAttribute("y", String(Math.floor(place / columns) * HEIGHT));
    return svg.outerHTML;
  });
  const width = WIDTH * columns;
  const height = HEIGHT * Math.ceil(panels.length / columns);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" role="img" aria-label="nDCG@10 against the size of the index">` +
    `<rect width="100%" height="100%" fill="white"/>${drawn.join("")}</svg>\n`
  );
}

function panel({ title, curves }: SizeCurves): DrawnElement {
  const { document } = parseHTML("<!doctype html><html></html>") as unknown as {
    readonly document: never;
  };
  const whole = Math.max(...curves.flatMap(({ points: seen }) => seen.map(({ x }) => x)));
  const points = curves.flatMap(({ name, points: seen }) =>
    seen.map((point) => ({ ...point, curve: name })),
  );
  const labelled = points.filter(({ name, x }) => name === "whole" || whole - x > NEAR * whole);
  const xy = { x: "x", y: "y", stroke: "curve" } as const;
  // Typed by the DOM, whose types are not loaded here.
  const svg: unknown = Plot.plot({
    document,
    width: WIDTH,
    height: HEIGHT,
    marginLeft: 50,
    marginRight: 30,
    marginTop: 36,
    style: { fontFamily: "sans-serif", fontSize: "11px", background: "white", color: "black" },
    x: { label: "times the BM25 index, vectors not in _source", nice: true },
    y: { label: `nDCG@10, % of whole vectors (${title})`, grid: true, percent: true },
    color: { domain: curves.map(({ name }) => name), range: COLOURS },
    marks: [
      Plot.ruleX([1.5], { stroke: "#999999", strokeDasharray: "4 3" }),
      Plot.line(points, { ...xy, strokeWidth: 1.5 }),
      Plot.dot(points, { ...xy, fill: "curve", r: 3 }),
      Plot.text(labelled, { x: "x", y: "y", text: "name", dy: -8, fill: "curve", fontSize: 9 }),
      // A legend of the plot's own would be HTML.
      ...curves.map(({ name }, place) =>
        Plot.text([name], {
          frameAnchor: "bottom-right",
          text: [name],
          dy: -8 - 14 * place,
          fill: COLOURS[place] ?? "black",
          fontWeight: "bold",
        }),
      ),
    ],
  });
  return svg as DrawnElement;
}
