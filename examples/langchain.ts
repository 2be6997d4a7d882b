/**
 * Ask an index by meaning as a retriever of LangChain.js: hybrid search, filters, and which terms matched.
 *
 *   OPENSEARCH_URL=http://127.0.0.1:9250 CSPLADE_MODEL=… node dist/examples/langchain.js articles "fear of small rooms"
 */
import { Document } from "@langchain/core/documents";
import { BaseRetriever } from "@langchain/core/retrievers";
import { Client } from "@opensearch-project/opensearch";
import {
  clusterOf,
  loadConfig,
  openEncoder,
  openSearcher,
  type QuestionOptions,
  type Searcher,
} from "csplade";

/** What a document says of itself besides its text. */
interface Metadata extends Record<string, unknown> {
  readonly score: number;
  /** Terms that matched, the heaviest first. */
  readonly matched: readonly string[];
}

/** Copy it: all that LangChain wants is documents for a question. */
class CspladeRetriever extends BaseRetriever<Metadata> {
  override readonly lc_namespace = ["csplade", "retrievers"];

  constructor(
    private readonly searcher: Searcher,
    private readonly index: string,
    private readonly options: QuestionOptions = {},
  ) {
    super();
  }

  override async _getRelevantDocuments(question: string): Promise<Document<Metadata>[]> {
    const { hits } = await this.searcher.search(this.index, question, this.options);
    return hits.map(({ id, score, terms, source: { text, ...metadata } }) => {
      const matched = terms.map(({ term }) => term);
      return new Document({
        id,
        pageContent: String(text),
        metadata: { ...metadata, score, matched },
      });
    });
  }
}

const [index = "articles", question = "fear of small rooms"] = process.argv.slice(2);

const client = new Client({ node: process.env.OPENSEARCH_URL ?? "http://127.0.0.1:9250" });
const encoder = await openEncoder(loadConfig().values); // CSPLADE_MODEL, CSPLADE_THREADS, …
try {
  const searcher = openSearcher({ cluster: clusterOf(client), encoder });
  const retriever = new CspladeRetriever(searcher, index, {
    mode: "hybrid",
    size: 2,
    explain: true,
    filter: { exists: { field: "text" } },
  });
  for (const { id, pageContent, metadata } of await retriever.invoke(question)) {
    console.log(`${id} ${metadata.score.toFixed(4)} ${pageContent}`);
    console.log(`  ${String(metadata.title)}: ${metadata.matched.slice(0, 5).join(" ")}`);
  }
} finally {
  await encoder.close();
  await client.close();
}
