import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import type { Cluster } from "../../../src/cluster/cluster.js";
import { toFeatures } from "../../../src/sparse/features.js";
import { findChromium, startChromium } from "../../support/browser.js";
import { fillEncodedIndex } from "../../support/encoded-index.js";
import { startTestGateway, type TestGateway } from "../../support/gateway.js";
import { testServers } from "../../support/servers.js";
import { testCluster } from "../../support/test-index.js";

const QUESTION = "fear of closed spaces";
const MARKUP = '<img src=x onerror="document.title=1">';

interface Comparison {
  readonly terms: readonly { term: string; weight: number; literal: boolean }[];
  readonly bm25: Ranking;
  readonly csplade: Ranking;
}

interface Ranking {
  readonly hits: readonly {
    readonly id: string;
    readonly title: string;
    readonly score: number;
    readonly text: string;
    readonly spans: readonly { start: number; end: number }[];
    readonly terms: readonly { contribution: number; term: string }[];
  }[];
}

describe("the console", () => {
  let gateway: TestGateway;
  let cluster: Cluster;
  let index: string;
  before(async function () {
    this.timeout(120_000);
    cluster = testCluster();
    gateway = await startTestGateway({ "opensearch.url": testServers().opensearchUrl });
    index = await fillEncodedIndex(cluster, gateway.encoder);
    const [encoded] = await gateway.encoder.encodeDocuments([QUESTION]);
    await cluster.demand(
      {
        method: "PUT",
        path: `/${index}/_doc/markup`,
        query: { refresh: true },
        body: {
          title: MARKUP,
          text: `${QUESTION} & <b>markup</b>`,
          csplade: toFeatures(encoded!.passages[0]!.vector),
          csplade_model: gateway.encoder.manifest.fingerprint,
        },
      },
      "Adding a document with markup",
    );
  });
  after(async () => {
    await cluster.send({ method: "DELETE", path: `/${index}` });
    await gateway.stop();
    await cluster.close();
  });

  it("ranks a question both ways, with terms that add up to each score", async () => {
    const answer = await gateway.post("/_csplade/compare", { index, question: QUESTION });
    assert.equal(answer.status, 200, await answer.clone().text());
    const { terms, bm25, csplade } = (await answer.json()) as Comparison;
    assert.ok(terms.length > 3 && terms.some((each) => each.literal));
    for (const { hits } of [bm25, csplade]) {
      assert.ok(hits.length > 0);
      for (const hit of hits) {
        const sum = hit.terms.reduce((total, each) => total + each.contribution, 0);
        assert.ok(Math.abs(sum - hit.score) < 1e-3 * hit.score, `${sum} is not ${hit.score}`);
      }
    }
    assert.ok(bm25.hits.some((hit) => hit.terms.some((each) => each.term === "fear")));
    const [{ text, spans } = { text: "", spans: [] }] = csplade.hits;
    assert.match(spans.map(({ start, end }) => text.slice(start, end)).join(""), /fe.*ar/);
  });

  it("answers what cannot be compared as the cluster would", async () => {
    const missing = await gateway.post("/_csplade/compare", { index: "no-such", question: "x" });
    assert.equal(missing.status, 404);
    assert.match(await missing.text(), /index_not_found_exception/);
    const wrong = await gateway.post("/_csplade/compare", { index });
    assert.equal(wrong.status, 400);
    assert.match(await wrong.text(), /question/);
    const nothing = await gateway.post("/_csplade/compare", { index, question: " " });
    assert.equal(((await nothing.json()) as Comparison).csplade.hits.length, 0);
    assert.equal((await fetch(`${gateway.url}/_csplade/nothing`)).status, 404);
  });

  describe("in Chromium", function () {
    this.timeout(180_000);
    let browser: Browser | undefined;
    let page: Page;
    const complaints: string[] = [];

    before(async function () {
      const program = findChromium();
      if (program === undefined) {
        process.stderr.write(
          "console test skipped: no Chromium (install it, or set CHROME_PATH)\n",
        );
        this.skip();
      }
      browser = await startChromium(program);
      page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error") complaints.push(message.text());
      });
      await page.goto(`${gateway.url}/_csplade`);
      await page.waitForSelector("#index option", { state: "attached" });
      await page.selectOption("#index", index);
    });
    after(async () => {
      await browser?.close();
    });

    // Expressions as text: the types of a browser's page are not part of this program.
    const valueIn = (expression: string): Promise<unknown> => page.evaluate(expression);
    const each = (selector: string, property: string): Promise<unknown> =>
      valueIn(`[...document.querySelectorAll("${selector}")].map((found) => found.${property})`);
    const textsOf = async (selector: string) => (await each(selector, "textContent")) as string[];
    const focused = () =>
      valueIn("document.activeElement?.closest('ol')?.id ?? document.activeElement?.id");

    async function ask(text: string): Promise<void> {
      await page.fill("#question", text);
      await page.keyboard.press("Enter");
      await page
        .locator("body:not([aria-busy]) #status", { hasText: /hits by BM25/ })
        .waitFor({ timeout: 60_000 });
    }

    it("shows both rankings, the question's terms as bars, and each hit's terms", async () => {
      await ask(QUESTION);
      const answer = await gateway.post("/_csplade/compare", { index, question: QUESTION });
      const { terms, bm25, csplade } = (await answer.json()) as Comparison;
      const titles = await textsOf("#csplade .title");
      assert.deepEqual(
        titles,
        csplade.hits.map((hit) => hit.title),
      );
      assert.deepEqual(
        await textsOf("#bm25 .title"),
        bm25.hits.map((hit) => hit.title),
      );
      assert.ok(titles.includes(MARKUP), "markup in a document is text");
      const widths = (await each(".bar", "getBoundingClientRect().width")) as number[];
      assert.equal(widths.length, Math.min(24, terms.length));
      assert.ok(widths[0]! > 50);
      const share = widths[2]! / widths[0]!;
      assert.ok(Math.abs(share - terms[2]!.weight / terms[0]!.weight) < 0.05, String(share));
      assert.ok((await textsOf("#csplade .matched")).every((text) => /\d/.test(text)));
      const marked = await textsOf("#csplade li:first-child .text mark");
      const [{ text, spans } = { text: "", spans: [] }] = csplade.hits;
      assert.deepEqual(
        marked,
        spans.map(({ start, end }) => text.slice(start, end)),
      );
    });

    it("has a slider for what the model adds, and shows how that moves the ranking", async () => {
      const exact = await gateway.post("/_csplade/compare", {
        index,
        question: QUESTION,
        expansion: 0,
      });
      const { terms, csplade } = (await exact.json()) as Comparison;
      assert.ok(terms.length > 0 && terms.every((term) => term.literal));
      const before = await textsOf("#csplade .title");
      await page.focus("#expansion");
      await page.keyboard.press("Home");
      await page.locator("#expansion-shown", { hasText: "none" }).waitFor();
      await page.locator("body:not([aria-busy]) #term-rows:not(:has(.added))").waitFor();
      const titles = await textsOf("#csplade .title");
      assert.deepEqual(
        titles,
        csplade.hits.map((hit) => hit.title),
      );
      const changed = titles.filter((title, i) => title !== before[i]).length;
      assert.ok(changed > 0, "the tiny model adds what moves this ranking");
      assert.equal((await textsOf("#csplade .moved")).length, changed);
      assert.match(page.url(), /expansion=0/);
      const file = process.env.CSPLADE_SLIDER_SCREENSHOT;
      if (file !== undefined) await writeFile(file, await page.screenshot());
      await page.keyboard.press("End");
      await page.locator("body:not([aria-busy]) #term-rows:has(.added)").waitFor();
      assert.deepEqual(await textsOf("#csplade .title"), before);
      assert.doesNotMatch(page.url(), /expansion/);
    });

    it("marks the words that the added terms of a hit came from, once that is asked for", async () => {
      const hit = page.locator("#csplade li:has(.all .added)").first();
      await hit.locator("summary").click();
      assert.equal(await hit.locator("mark.origin, .from").count(), 0);
      const title = await hit.locator(".title").textContent();
      await hit.locator(".trace").click();
      await hit.locator("details > .note").waitFor({ timeout: 60_000 });
      const words = (await hit.locator(".all .from").allTextContents()).flatMap((each) =>
        each.split(", "),
      );
      const marks = await hit.locator("mark.origin").allTextContents();
      assert.ok(marks.length > 0 && words.length > 0);
      // The tiny model's terms are pieces of words, each marked by itself where it stands in the text.
      assert.deepEqual(
        words.filter((word) => !marks.join("").includes(word)),
        [],
      );
      assert.equal(await hit.locator(".title").textContent(), title);
      const file = process.env.CSPLADE_ORIGIN_SCREENSHOT;
      if (file !== undefined) await writeFile(file, await page.screenshot({ fullPage: true }));
      await hit.locator("summary").click();
    });

    it("can be used with the keyboard alone", async () => {
      await page.focus("#question");
      await page.keyboard.press("ArrowDown");
      assert.equal(await focused(), "csplade");
      await page.keyboard.press("Enter");
      assert.deepEqual(((await each("#csplade details", "open")) as boolean[])[0], true);
      await page.keyboard.press("ArrowLeft");
      assert.equal(await focused(), "bm25");
      await page.keyboard.press("/");
      assert.equal(await focused(), "question");
      assert.deepEqual(await each("#question", "value"), [QUESTION]);
    });

    it("has no accessibility fault that axe-core finds, in light and dark", async () => {
      await page.evaluate(axe.source);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const faults = await valueIn(
          `axe.run().then(({ violations }) =>
             violations.map(({ id, nodes }) => id + ": " + nodes[0]?.html))`,
        );
        assert.deepEqual(faults, [], colorScheme);
      }
    });

    it("is a picture worth looking at", async () => {
      await page.emulateMedia({ colorScheme: "light" });
      const picture = await page.screenshot({ fullPage: true });
      const file = process.env.CSPLADE_SCREENSHOT;
      if (file !== undefined) await writeFile(file, picture);
      assert.ok(picture.length > 20_000, "an empty page is smaller");
    });

    it("shares a comparison by its address, and says what went wrong in an alert", async () => {
      const address = page.url();
      assert.match(address, /question=fear/);
      await page.goto(address);
      await page.waitForSelector("#csplade .title");
      await valueIn(
        "document.getElementById('index').append(new Option('gone-index', 'gone-index', true, true))",
      );
      await page.focus("#question");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#error:not([hidden])");
      assert.match((await textsOf("#error"))[0]!, /gone-index/);
      assert.deepEqual(await each("#results", "hidden"), [true]);
    });

    it("breaks no rule of its content security policy, and logs no error of its own", () => {
      // The browser itself reports the 404 that the test before provoked.
      const own = complaints.filter((text) => !/status of 404/.test(text));
      assert.deepEqual(own, []);
    });
  });
});
