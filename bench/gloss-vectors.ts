/**
 * WordNet's glosses encoded by the model, kept in a file: encoding all 117,000 takes minutes,
 * and every benchmark and every rerun wants the same vectors.
 */
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { z } from "zod";
import type { Encoder } from "../src/encoder/encoder.js";
import { wordNetDocuments, wordNetFolder } from "../src/sources/wordnet.js";
import { maxMerge, sparseVector, termsOf } from "../src/sparse/sparse-vector.js";
import type { BaseText } from "./resampled-corpus.js";

/** Texts encoded in one call: enough that batches are full. */
const WINDOW = 512;

const lineSchema = z.object({
  text: z.string(),
  ids: z.array(z.number()),
  weights: z.array(z.number()),
});

/**
 * Every synset as a text, lemmas and gloss, with the model's vector, in WordNet's own order
 * (neighbours are about similar things).
 * @param folder where vectors are kept, a file per model fingerprint.
 * @param every encode only each n-th gloss, for a quick run.
 */
export async function encodedGlosses(
  encoder: Encoder,
  folder: string,
  every: number,
): Promise<BaseText[]> {
  const { fingerprint } = encoder.manifest;
  const file = path.join(folder, `glosses-${fingerprint}-${every}.ndjson`);
  if (!existsSync(file)) await encodeInto(file, encoder, every);
  const glosses: BaseText[] = [];
  for await (const line of createInterface({ input: createReadStream(file, "utf8") })) {
    const { text, ids, weights } = lineSchema.parse(JSON.parse(line));
    glosses.push({
      text,
      vector: { ids: Uint32Array.from(ids), weights: Float32Array.from(weights) },
    });
  }
  return glosses;
}

/** Written beside its place and renamed: the file is whole or absent. */
async function encodeInto(file: string, encoder: Encoder, every: number): Promise<void> {
  const texts: string[] = [];
  let place = 0;
  for await (const { title, text } of wordNetDocuments(wordNetFolder())) {
    if (place++ % every === 0) texts.push(`${title} ${text}`);
  }
  await mkdir(path.dirname(file), { recursive: true });
  const part = `${file}.part`;
  const output = createWriteStream(part);
  const started = performance.now();
  for (let from = 0; from < texts.length; from += WINDOW) {
    const window = texts.slice(from, from + WINDOW);
    const encoded = await encoder.encodeDocuments(window);
    for (const [i, { passages }] of encoded.entries()) {
      const vector =
        passages.length === 0 ? sparseVector([]) : maxMerge(passages.map((one) => one.vector));
      const terms = [...termsOf(vector)];
      output.write(
        `${JSON.stringify({
          text: window[i],
          ids: terms.map(([id]) => id),
          weights: terms.map(([, weight]) => Number(weight.toPrecision(6))),
        })}\n`,
      );
    }
    const done = from + window.length;
    const rate = done / ((performance.now() - started) / 1000);
    if (done % (WINDOW * 8) === 0) {
      console.error(
        `${done} of ${texts.length} glosses encoded, ${rate.toFixed(0)}/s, ${((texts.length - done) / rate).toFixed(0)} s to go`,
      );
    }
  }
  output.end();
  await finished(output);
  await rename(part, file);
}
