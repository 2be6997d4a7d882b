/** A program: encodes full batches with the checkpoint in its argument, and prints its peak memory in bytes. */
import { openEncoder } from "../../src/encoder/encoder.js";
import { testConfig } from "./tiny-checkpoints.js";

const encoder = await openEncoder(testConfig({ "model.path": process.argv[2] ?? "" }));
const texts = Array.from({ length: 4 }, (_, i) => `words of the sentence number ${i}. `.repeat(40));
for (const { failure, passages } of await encoder.encodeDocuments(texts)) {
  if (failure !== undefined || passages.length === 0) throw new Error(failure ?? "no passage");
}
await encoder.close();
console.log(process.resourceUsage().maxRSS * 1_024);
