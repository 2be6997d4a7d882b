/** The HTML report: what is in it, and how a real browser takes it. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import type { Browser } from "playwright-core";
import { metricsOf } from "../../../src/evaluate/metrics.js";
import { renderReport } from "../../../src/evaluate/report.js";
import type { SavedEvaluation } from "../../../src/evaluate/saved-evaluation.js";
import { findChromium, startChromium } from "../../support/browser.js";

const MARKUP = '<script>document.title="1"</script> & "quotes"';

function system(name: string, shift: number, ms?: number) {
  const values = Array.from({ length: 40 }, (_, i) => Math.min(1, ((i * 7) % 40) / 50 + shift));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    name,
    metrics: metricsOf([], () => mean),
    per_query: Object.fromEntries(values.map((value, i) => [`q${i}`, metricsOf([], () => value)])),
    ...(ms === undefined ? {} : { ms_p50: ms, ms_p95: 2 * ms }),
  };
}

function evaluation(changes: Partial<SavedEvaluation> = {}): SavedEvaluation {
  return {
    format: "csplade-evaluation/1",
    csplade: "0.1.0",
    made_at: "2026-01-02T03:04:05.000Z",
    label: "int8, 9 bits",
    dataset: "cats",
    model: "tiny",
    settings: {},
    documents: 1200,
    failed_documents: 1,
    queries: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`q${i}`, `${MARKUP} ${i}`])),
    systems: [system("csplade", 0.15, 5), system("bm25", 0.1, 2), system("two_phase", 0.2, 9)],
    versus_bm25: { difference: 0.05, p_value: 0.0004 },
    ms_per_query_p50: 31,
    index_bytes: 3_000_000,
    terms_per_query: [
      [3, 10],
      [20, 30],
    ],
    terms_per_document: [
      [10, 200],
      [90, 900],
      [256, 100],
    ],
    ...changes,
  };
}

const whole = [
  evaluation(),
  evaluation({ label: "int8, 5 bits", index_bytes: 2_000_000, systems: [system("csplade", 0.12)] }),
  evaluation({ dataset: "dogs", terms_per_document: [], systems: [system("csplade", 0.1)] }),
];

describe("report of evaluations", () => {
  it("shows text as text, and loads and runs nothing", () => {
    const page = renderReport(whole).replace(/\s+/g, " ");
    assert.ok(!page.includes("<script"), "There is a script.");
    assert.ok(page.includes("&lt;script&gt;document.title=&quot;1&quot;&lt;/script&gt; &amp;"));
    const addresses = page.match(/(?:src|href)=|url\(|@import|https?:\/\/(?!www\.w3\.org\/)/g);
    assert.equal(addresses, null);
  });

  it("has a section for every question that the results can answer, each plot described", () => {
    const sections = (page: string) => Array.from(page.matchAll(/<h3>(.*?)<\/h3>/g), (m) => m[1]);
    assert.deepEqual(sections(renderReport([evaluation()])), [
      "Quality by way of searching",
      "Quality against time",
      "Terms",
      "Query by query, against BM25",
    ]);
    const page = renderReport(whole).replace(/\s+/g, " ");
    assert.ok(sections(page).includes("What is paid for size and time"));
    const plots = [...page.matchAll(/<svg [^>]*>/g)].map(([tag]) => tag);
    assert.equal(plots.length, 1 + 1 + 2 + 2 + 1 + (1 + 1));
    for (const tag of plots) assert.match(tag, /role="img"/);
    assert.match(page, /aria-label="nDCG@10 by system\. two-phase 0\.590 \(95 % between/);
    assert.match(page, /40 queries are better than with BM25, 0 worse, 0 alike/);
    assert.match(page, /<th scope="row">int8, 5 bits<\/th>.*?−33 %/s);
  });

  it("is the same for the same results", () => {
    assert.equal(renderReport(whole), renderReport(whole));
  });

  describe("in Chromium", function () {
    this.timeout(120_000);
    let folder: string | undefined;
    let browser: Browser | undefined;

    before(async function () {
      const program = findChromium();
      if (program === undefined) {
        process.stderr.write("report in Chromium SKIPPED: there is no Chromium.\n");
        this.skip();
      }
      folder = mkdtempSync(path.join(os.tmpdir(), "csplade-report-"));
      writeFileSync(path.join(folder, "report.html"), renderReport(whole));
      browser = await startChromium(program);
    });

    after(async () => {
      await browser?.close();
      if (folder !== undefined) rmSync(folder, { recursive: true });
    });

    for (const colorScheme of ["light", "dark"] as const) {
      it(`asks for nothing, complains of nothing and has no fault that axe-core finds (${colorScheme})`, async () => {
        // axe-core is a script, which the page's own policy forbids.
        assert.ok(browser !== undefined && folder !== undefined);
        const context = await browser.newContext({ colorScheme, bypassCSP: true });
        const page = await context.newPage();
        const requests: string[] = [];
        const complaints: string[] = [];
        page.on("request", (request) => requests.push(request.url()));
        page.on("console", (message) => complaints.push(message.text()));
        const address = pathToFileURL(path.join(folder, "report.html")).href;
        await page.goto(address);
        assert.deepEqual(requests, [address]);
        assert.equal(await page.title(), "Retrieval quality: cats, dogs");
        await page.evaluate(axe.source);
        const faults: unknown = await page.evaluate(
          `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))`,
        );
        assert.deepEqual(faults, []);
        assert.deepEqual(complaints, []);
        const plot = await page.locator("figure svg").first().boundingBox();
        assert.ok(plot !== null && plot.width > 400 && plot.height > 100);
        await context.close();
      });
    }
  });
});
