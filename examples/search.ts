/**
 * Ask an index by meaning, through the client you already have.
 *
 *   OPENSEARCH_URL=http://127.0.0.1:9250 CSPLADE_MODEL=… node dist/examples/search.js articles "fear of small rooms"
 */
import { Client } from "@opensearch-project/opensearch";
import { clusterOf, loadConfig, openEncoder, openSearcher } from "csplade";

const [index = "articles", question = "fear of small rooms"] = process.argv.slice(2);

const client = new Client({ node: process.env.OPENSEARCH_URL ?? "http://127.0.0.1:9250" });
const encoder = await openEncoder(loadConfig().values); // CSPLADE_MODEL, CSPLADE_THREADS, …
try {
  const searcher = openSearcher({ cluster: clusterOf(client), encoder });
  const answer = await searcher.search(index, question, {
    mode: "hybrid",
    size: 3,
    explain: true,
    body: { aggs: { titles: { terms: { field: "title.keyword" } } } },
  });
  for (const { id, score, source, terms, spans } of answer.hits) {
    console.log(`${id} ${score.toFixed(4)} ${String(source.title)}`);
    for (const { term, literal, contribution } of terms.slice(0, 5)) {
      console.log(`  ${literal ? " " : "+"}${term} ${contribution.toFixed(3)}`);
    }
    const text = String(source.text);
    const words = spans.text?.map(({ start, end }) => text.slice(start, end)) ?? [];
    console.log(`  in the text: ${words.join(" ")}`);
  }
  console.log(JSON.stringify(answer.aggregations));
} finally {
  await encoder.close();
  await client.close();
}
