/**
 * Put a question's weighted terms into a search body of your own, sent by your own code. With
 * Elasticsearch's client here; OpenSearch's does as well.
 *
 *   ELASTICSEARCH_URL=http://127.0.0.1:9200 CSPLADE_MODEL=… node dist/examples/own-query.js articles "fear of small rooms"
 */
import { Client } from "@elastic/elasticsearch";
import { clusterOf, loadConfig, openEncoder, openSearcher } from "csplade";

const [index = "articles", question = "fear of small rooms"] = process.argv.slice(2);

const client = new Client({ node: process.env.ELASTICSEARCH_URL ?? "http://127.0.0.1:9200" });
const encoder = await openEncoder(loadConfig().values); // CSPLADE_MODEL, CSPLADE_THREADS, …
try {
  const searcher = openSearcher({ cluster: clusterOf(client), encoder });
  const { query, notes } = await searcher.query(index, question, {
    dialect: "rank_feature", // every OpenSearch and Elasticsearch takes it
    other_clauses: 10,
  });
  for (const note of notes) console.error(note);
  const { hits, aggregations } = await client.search({
    index,
    query: {
      function_score: {
        query: {
          bool: {
            must: [query],
            should: [{ match: { title: { query: question, boost: 0.1 } } }],
            must_not: [{ term: { "title.keyword": "Insomnia" } }],
          },
        },
        boost: 2,
      },
    },
    aggs: { documents: { value_count: { field: "title.keyword" } } },
    _source: ["title"],
    size: 3,
  });
  for (const { _id, _score, _source } of hits.hits) console.log(_id, _score, _source);
  console.log(JSON.stringify(aggregations));
} finally {
  await encoder.close();
  await client.close();
}
