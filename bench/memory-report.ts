/** Whether memory grew: a robust slope over samples, and how it is shown. */

/** Memory at one moment. */
export interface MemorySample {
  /** Seconds since the beginning. */
  readonly at: number;
  /** Bytes, by what holds them. */
  readonly bytes: Readonly<Record<string, number>>;
}

/** What became of the memory of one holder. */
export interface MemoryTrend {
  readonly name: string;
  /** Bytes: median of the first and of the last quarter of the time that counts, and the highest. */
  readonly first: number;
  readonly last: number;
  readonly highest: number;
  /** Theil and Sen's slope over the medians of minutes, bytes per hour. */
  readonly slope: number;
  /** What the slope adds up to over the time that counts, as a share of the median. */
  readonly growth: number;
  readonly flat: boolean;
}

/** Growth over the measured time that still counts as flat. */
const FLAT = 0.05;

/** The trends of all holders, leaving out the first `warmUp` seconds. */
export function memoryTrends(samples: readonly MemorySample[], warmUp: number): MemoryTrend[] {
  const counted = samples.filter(({ at }) => at >= warmUp);
  const names = Object.keys(samples[0]?.bytes ?? {});
  return names.map((name) => {
    const minutes = mediansPerMinute(counted, name);
    const values = counted.map(({ bytes }) => bytes[name] ?? 0);
    const quarter = Math.max(1, Math.floor(values.length / 4));
    const slope = theilSen(minutes);
    const seconds = (counted.at(-1)?.at ?? 0) - (counted[0]?.at ?? 0);
    const growth = (slope / 3_600) * (seconds / median(values));
    return {
      name,
      first: median(values.slice(0, quarter)),
      last: median(values.slice(-quarter)),
      highest: Math.max(...values),
      slope,
      growth,
      flat: growth <= FLAT,
    };
  });
}

interface Point {
  /** Hours. */
  readonly x: number;
  readonly y: number;
}

/** Garbage collection makes single samples jump. */
function mediansPerMinute(samples: readonly MemorySample[], name: string): Point[] {
  const minutes = new Map<number, number[]>();
  for (const { at, bytes } of samples) {
    const minute = Math.floor(at / 60);
    minutes.set(minute, [...(minutes.get(minute) ?? []), bytes[name] ?? 0]);
  }
  return [...minutes].map(([minute, values]) => ({ x: minute / 60, y: median(values) }));
}

/** Median of the slopes of all pairs of points: some odd ones do not move it. */
function theilSen(points: readonly Point[]): number {
  const slopes = points.flatMap((a, i) =>
    points.slice(i + 1).map((b) => (b.y - a.y) / (b.x - a.x)),
  );
  return slopes.length === 0 ? 0 : median(slopes);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

const COLORS = ["#0969da", "#bf3989", "#1a7f37", "#bc4c00", "#6639ba"];

/** The samples as a plot (SVG): a panel per holder, from 0, so that a slope is as large as it looks. */
export function memoryPlot(
  samples: readonly MemorySample[],
  trends: readonly MemoryTrend[],
): string {
  const [width, panel, left, right, top] = [760, 150, 90, 20, 34];
  const end = Math.max(1, samples.at(-1)?.at ?? 1);
  const inner = { width: width - left - right, height: panel - top - 28 };
  const x = (at: number) => left + (at / end) * inner.width;
  const panels = trends.map(({ name, highest, slope }, n) => {
    const most = highest * 1.1;
    const base = n * panel + top + inner.height;
    const y = (bytes: number) => base - (bytes / most) * inner.height;
    const line = samples
      .map(({ at, bytes }) => `${x(at).toFixed(1)},${y(bytes[name] ?? 0).toFixed(1)}`)
      .join(" ");
    const ticks = Array.from({ length: Math.floor(end / 300) + 1 }, (_, i) => i * 300)
      .map(
        (at) => `<text x="${x(at).toFixed(1)}" y="${base + 16}" class="tick">${at / 60} min</text>`,
      )
      .join("");
    return (
      `<text x="${left}" y="${n * panel + 22}" class="name">${name}: ${megabytes(slope)} MB per hour</text>` +
      `<line x1="${left}" y1="${base}" x2="${width - right}" y2="${base}" class="axis"/>` +
      `<line x1="${left}" y1="${y(highest).toFixed(1)}" x2="${width - right}" y2="${y(highest).toFixed(1)}" class="grid"/>` +
      `<text x="${left - 8}" y="${(y(highest) + 4).toFixed(1)}" class="value">${megabytes(highest)} MB</text>` +
      `<text x="${left - 8}" y="${base + 4}" class="value">0</text>${ticks}` +
      `<polyline points="${line}" fill="none" stroke="${COLORS[n % COLORS.length] ?? ""}" stroke-width="1.5"/>`
    );
  });
  const height = trends.length * panel + 8;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">` +
    "<style>text{font:12px sans-serif;fill:#1f2328}.name{font-weight:600}.tick{text-anchor:middle;fill:#59636e}" +
    ".value{text-anchor:end;fill:#59636e}.axis{stroke:#59636e}.grid{stroke:#d1d9e0;stroke-dasharray:3 3}</style>" +
    `<rect width="${width}" height="${height}" fill="#ffffff"/>${panels.join("")}</svg>\n`
  );
}

/** Bytes in megabytes, for people. */
export function megabytes(bytes: number): string {
  const mb = bytes / 1e6;
  return Math.abs(mb) < 10 ? mb.toFixed(2) : mb.toFixed(0);
}
