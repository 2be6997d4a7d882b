/** A program: scores `{question, texts}` of its standard input with the cross-encoder in its argument. */
import { json } from "node:stream/consumers";
import { openReranker } from "../../src/rerank/open-reranker.js";
import { testConfig } from "./tiny-checkpoints.js";

const { question, texts } = (await json(process.stdin)) as { question: string; texts: string[] };
const reranker = await openReranker(testConfig({ "rerank.model": process.argv[2] ?? "" }));
const scores = await reranker?.score(question, texts, AbortSignal.timeout(60_000));
console.log(JSON.stringify(scores));
await reranker?.close();
