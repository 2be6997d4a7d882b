/**
 * Index documents with vectors through the client you already have.
 *
 *   OPENSEARCH_URL=http://127.0.0.1:9250 CSPLADE_MODEL=… node dist/examples/index-documents.js articles
 *
 * For files, many documents or several machines use `csplade ingest`: it resumes, retries and
 * skips what is unchanged.
 */
import { Client } from "@opensearch-project/opensearch";
import {
  clusterOf,
  ensureIndex,
  indexModelOf,
  loadConfig,
  maxMerge,
  openEncoder,
  quantize,
  toFeatures,
} from "csplade";

const [index = "articles"] = process.argv.slice(2);
const articles = [
  { id: "1", title: "Claustrophobia", text: "a morbid fear of being closed in a confined space" },
  { id: "2", title: "Insomnia", text: "an inability to sleep at night" },
  { id: "3", title: "Astronomer", text: "a physicist who studies the stars and planets" },
];

const client = new Client({ node: process.env.OPENSEARCH_URL ?? "http://127.0.0.1:9250" });
const encoder = await openEncoder(loadConfig().values); // CSPLADE_MODEL, CSPLADE_THREADS, …
try {
  const model = indexModelOf(encoder.manifest);
  await ensureIndex(clusterOf(client), {
    name: index,
    model,
    passages: "merged",
    text_fields: ["title", "text"],
    title_field: "title",
  });
  const encoded = await encoder.encodeDocuments(
    articles.map(({ title, text }) => `${title} ${text}`),
    { merged: true },
  );
  const { body } = await client.bulk({
    refresh: true,
    body: articles.flatMap(({ id, title, text }, i) => [
      { index: { _index: index, _id: id } },
      {
        title,
        text,
        // A long text has several passages: together they weigh a term as its best passage does.
        csplade: toFeatures(
          quantize(maxMerge(encoded[i]?.passages.map((passage) => passage.vector) ?? []), 9),
        ),
        csplade_model: model.fingerprint, // the index refuses vectors of another model
      },
    ]),
  });
  if (body.errors) throw new Error(JSON.stringify(body.items));
  console.log(`${articles.length} documents in ${index}`);
} finally {
  await encoder.close();
  await client.close();
}
