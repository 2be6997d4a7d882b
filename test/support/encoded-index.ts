/** An index of a few dozen real sentences, encoded by a real (if tiny) model. */
import { randomBytes } from "node:crypto";
import type { Cluster } from "../../src/cluster/cluster.js";
import type { Encoder } from "../../src/encoder/encoder.js";
import { ensureIndex } from "../../src/index/csplade-index.js";
import type { PassagesMode } from "../../src/index/index-meta.js";
import { toFeatures } from "../../src/sparse/features.js";

/** What the documents say; document `i` has the id `String(i)`. */
export const SENTENCES: readonly string[] = [
  "a morbid fear of being closed in a confined space",
  "an inability to sleep",
  "a physicist who studies astronomy",
  "a domesticated animal that is kept for its milk",
  "the science of matter and energy and their interactions",
  "a musical composition for a solo instrument",
  "a person who is unable to see",
  "a tall building that is used as a lighthouse for ships",
  "the process by which green plants make food from light",
  "an instrument that measures atmospheric pressure",
  "a long journey by sea or in space",
  "a machine that is worked by the force of the wind",
  "the part of the sea near a coast",
  "a disease of the lungs caused by dust",
  "a small room in which a prisoner is kept",
  "an irrational dread of heights",
];

/** Fills a new index; `year` is 1990 + i, `kind` is even or odd, `at` a day of January 2026. */
export async function fillEncodedIndex(
  cluster: Cluster,
  encoder: Encoder,
  passages: PassagesMode = "merged",
  name = `encoded-${randomBytes(6).toString("hex")}`,
  sentences = SENTENCES,
): Promise<string> {
  await ensureIndex(cluster, {
    name,
    model: encoder.manifest,
    passages,
    text_fields: ["title", "text"],
    title_field: "title",
  });
  await fillWithSentences(cluster, encoder, passages, name, sentences);
  return name;
}

/** Fills an index that is there. */
export async function fillWithSentences(
  cluster: Cluster,
  encoder: Encoder,
  passages: PassagesMode,
  name: string,
  sentences = SENTENCES,
): Promise<void> {
  const encoded = await encoder.encodeDocuments(sentences);
  const lines = sentences.flatMap((text, i) => {
    const features = (encoded[i]?.passages ?? []).map((each) => toFeatures(each.vector));
    const vectors =
      passages === "nested"
        ? { csplade_passages: features.map((csplade) => ({ start: 0, end: text.length, csplade })) }
        : { csplade: features[0] };
    return [
      { index: { _id: String(i) } },
      {
        title: text.split(" ").slice(1, 4).join(" "),
        text,
        year: 1990 + i,
        kind: i % 2 === 0 ? "even" : "odd",
        at: new Date(Date.UTC(2026, 0, i + 1, 12)).toISOString().replace(".000", ""),
        comments: [{ author: `writer ${i % 3}`, stars: i % 5 }],
        csplade_model: encoder.manifest.fingerprint,
        ...vectors,
      },
    ];
  });
  const answer = (await cluster.demand(
    {
      method: "POST",
      path: `/${name}/_bulk`,
      query: { refresh: true },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    },
    "Filling the test index",
  )) as { errors: boolean };
  if (answer.errors) throw new Error(JSON.stringify(answer));
}
