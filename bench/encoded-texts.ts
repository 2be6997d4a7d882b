/**
 * Texts encoded by the model and kept in a file: encoding takes minutes, and every benchmark and
 * every rerun wants the same vectors.
 */
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { z } from "zod";
import type { Encoder } from "../src/encoder/encoder.js";
import { wordNetDocuments, wordNetFolder } from "../src/demo/wordnet.js";
import { maxMerge, sparseVector, termsOf, type SparseVector } from "../src/sparse/sparse-vector.js";
import type { BaseText } from "./resampled-corpus.js";

/** Texts encoded in one call: enough that batches are full. */
const WINDOW = 256;

/** Glosses in an article: as many words as a passage of a document has. */
const ARTICLE_GLOSSES = 8;

const lineSchema = z.object({
  text: z.string(),
  ids: z.array(z.number()),
  weights: z.array(z.number()),
});

/**
 * WordNet as articles of about 120 words, each eight synsets that follow each other, lemmas and
 * gloss, with the model's vector. They come in WordNet's own order: neighbours are about similar things.
 * @param folder where vectors are kept, a file per model fingerprint.
 * @param every encode only each n-th article, for a quick run.
 */
export async function encodedArticles(
  encoder: Encoder,
  folder: string,
  every: number,
): Promise<BaseText[]> {
  const texts: string[] = [];
  let place = 0;
  let article: string[] = [];
  for await (const { title, text } of wordNetDocuments(wordNetFolder())) {
    article.push(`${title}: ${text}.`);
    if (article.length < ARTICLE_GLOSSES) continue;
    if (place++ % every === 0) texts.push(article.join(" "));
    article = [];
  }
  return encodedTexts(encoder, folder, `wordnet-${every}`, texts);
}

/**
 * The texts with their vectors, passages merged as an ingest merges them; encoded now if the file does not have them.
 * @param name what the texts are, for the file's name.
 */
export async function encodedTexts(
  encoder: Encoder,
  folder: string,
  name: string,
  texts: readonly string[],
): Promise<BaseText[]> {
  const file = path.join(folder, `${name}-merged-${encoder.manifest.fingerprint}.ndjson`);
  const kept = existsSync(file) ? await readEncoded(file) : [];
  // Another release of a package, or another version of a collection, has other texts.
  const same = kept.length === texts.length && kept.every(({ text }, i) => text === texts[i]);
  if (same) return kept;
  await encodeInto(file, name, encoder, texts);
  return readEncoded(file);
}

async function readEncoded(file: string): Promise<BaseText[]> {
  const encoded: BaseText[] = [];
  for await (const line of createInterface({ input: createReadStream(file, "utf8") })) {
    const { text, ids, weights } = lineSchema.parse(JSON.parse(line));
    const terms = ids.map((id, i): [number, number] => [id, weights[i] ?? 0]);
    encoded.push({ text, vector: sparseVector(terms) });
  }
  return encoded;
}

/** Written beside its place and renamed: the file is whole or absent. */
async function encodeInto(
  file: string,
  name: string,
  encoder: Encoder,
  texts: readonly string[],
): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const part = `${file}.part`;
  const output = createWriteStream(part);
  const started = performance.now();
  for (let from = 0; from < texts.length; from += WINDOW) {
    const window = texts.slice(from, from + WINDOW);
    for (const [i, vector] of (await vectorsOf(encoder, window)).entries()) {
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
    if (done % (WINDOW * 4) === 0) {
      console.error(
        `${done} of ${texts.length} texts of ${name} encoded, ${rate.toFixed(0)}/s, ${((texts.length - done) / rate).toFixed(0)} s to go`,
      );
    }
  }
  output.end();
  await finished(output);
  await rename(part, file);
}

async function vectorsOf(encoder: Encoder, texts: readonly string[]): Promise<SparseVector[]> {
  const encoded = await encoder.encodeDocuments(texts, { merged: true });
  return encoded.map(({ passages }) =>
    passages.length === 0 ? sparseVector([]) : maxMerge(passages.map((one) => one.vector)),
  );
}
