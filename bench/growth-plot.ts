/** Curves of cost as an SVG picture: measured points and their power-law fits. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { fitPowerLaw } from "./power-law.js";

/** One way to search. */
interface Series {
  readonly name: string;
  /** What grew, and milliseconds. */
  readonly points: [x: number, ms: number][];
}

/** Cost against one thing that grows. */
export interface Growth {
  /** The thing: the title of the horizontal axis. */
  readonly title: string;
  readonly series: Series[];
}

const WIDTH = 460;
const HEIGHT = 330;

/** Dark enough on white, and told apart by people who see no red or green (Okabe and Ito). */
const COLOURS = new Map([
  ["BM25 match", "#0072b2"],
  ["plain", "#d55e00"],
  ["two_phase", "#009e73"],
]);

/** What is needed of an element; the types of browsers are not loaded here. */
interface DrawnElement {
  readonly outerHTML: string;
  setAttribute(name: string, value: string): void;
}

/** One picture with a panel for each thing that grows. */
export function growthPlot(growths: readonly Growth[]): string {
  const panels = growths.map((growth, place) => {
    const svg = panel(growth);
    svg.setAttribute("x", String(place * WIDTH));
    return svg.outerHTML;
  });
  const width = WIDTH * growths.length;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${HEIGHT}" ` +
    `viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="Milliseconds of a search by ` +
    `${growths.map(({ title }) => title).join(", and by ")}">` +
    `<rect width="100%" height="100%" fill="white"/>${panels.join("")}</svg>\n`
  );
}

function panel({ title, series }: Growth): DrawnElement {
  const { document } = parseHTML("<!doctype html><html></html>") as unknown as {
    readonly document: never;
  };
  const points = series.flatMap(({ name, points: seen }) =>
    seen.map(([x, ms]) => ({ name, x, ms })),
  );
  const curves = series.flatMap(({ name, points: seen }) => {
    const { factor, exponent } = fitPowerLaw(seen);
    return seen.map(([x]) => ({ name, x, ms: factor * x ** exponent }));
  });
  const ends = series.flatMap(({ name, points: seen }) => {
    const { factor, exponent } = fitPowerLaw(seen);
    const x = Math.max(...seen.map(([one]) => one));
    return [{ x, ms: factor * x ** exponent, label: `${name} ~ n^${exponent.toFixed(2)}`, name }];
  });
  const xy = { x: "x", y: "ms", stroke: "name" } as const;
  // Typed by the DOM, whose types are not loaded here.
  const svg: unknown = Plot.plot({
    document,
    width: WIDTH,
    height: HEIGHT,
    marginRight: 130,
    marginLeft: 50,
    style: { fontFamily: "sans-serif", fontSize: "11px", background: "white", color: "black" },
    x: { type: "log", label: title, tickFormat: "~s", ticks: 5 },
    y: { type: "log", label: "ms in the query phase", grid: true, tickFormat: "~g" },
    color: {
      domain: series.map(({ name }) => name),
      range: series.map(({ name }) => COLOURS.get(name) ?? "#555555"),
    },
    marks: [
      Plot.line(curves, { ...xy, strokeWidth: 1.5, strokeOpacity: 0.6 }),
      Plot.dot(points, { ...xy, fill: "name", r: 3 }),
      Plot.text(ends, { x: "x", y: "ms", text: "label", fill: "name", dx: 8, textAnchor: "start" }),
    ],
  });
  return svg as DrawnElement;
}
