/**
 * How busy a session is kept: texts are tokenized, and get their lexical parts, beside it. Sessions are
 * stubs that take ten milliseconds a batch.
 *
 *   npm run bench:busy -- --model DIR --windows 40
 *
 * Prints the share of the time in which the session's thread worked on batches, after a first window.
 */
import path from "node:path";
import { loadConfig } from "../src/config/load-config.js";
import { packageRoot } from "../src/config/package-root.js";
import { openEncoder } from "../src/encoder/encoder.js";
import { benchFlags } from "./bench-flags.js";
import { mixedTexts } from "./mixed-texts.js";

const flags = benchFlags(import.meta.url, {
  model: { type: "string" },
  windows: { type: "string", default: "40" },
});
const model = flags.model === undefined ? {} : { "model.path": flags.model };
const config = loadConfig({ flags: { ...model, "model.sessions": 1 } }).values;
const stub = path.join(packageRoot, "dist", "bench", "stub-session.js");
const encoder = await openEncoder(config, { execArgv: ["--import", stub] });
try {
  const size = config["ingest.job_documents"];
  const texts = await mixedTexts(size * Number(flags.windows), 1);
  const windows = Array.from({ length: Number(flags.windows) }, (_, i) =>
    texts.slice(i * size, (i + 1) * size),
  );
  const lane = async (): Promise<void> => {
    for (let next = windows.pop(); next !== undefined; next = windows.pop()) {
      await encoder.encodeDocuments(next);
    }
  };
  await encoder.encodeDocuments(windows.pop() ?? []);
  const [before, started] = [encoder.totals(), performance.now()];
  await Promise.all(Array.from({ length: config["ingest.concurrency"] }, lane));
  const ms = performance.now() - started;
  const { batches, tokens, busy_ms } = encoder.totals();
  const share = (busy_ms - before.busy_ms) / ms;
  const perSecond = Math.round((1_000 * (tokens - before.tokens)) / ms);
  console.log(
    `${batches - before.batches} batches, ${perSecond} tokens a second: the session was busy ` +
      `${(100 * share).toFixed(1)} % of the time`,
  );
} finally {
  await encoder.close();
}
