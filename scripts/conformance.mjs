/**
 * `npm run conformance`: stories of the cluster's API (`test/support/conformance-*.ts`), each told
 * to a real OpenSearch straight and through the gateway with rules on; a table of what differs. Exits
 * with 1 if anything does.
 *
 *   --url URL   a running OpenSearch or Elasticsearch in place of one started for this
 */
import { parseArgs } from "node:util";
import { tableOf, tellStories } from "../dist/test/support/conformance.js";
import { startTestGateway } from "../dist/test/support/gateway.js";
import {
  mochaGlobalSetup,
  mochaGlobalTeardown,
  testServers,
} from "../dist/test/support/servers.js";

const { values } = parseArgs({ options: { url: { type: "string" } } });
if (values.url === undefined) await mochaGlobalSetup();
const cluster = values.url ?? testServers().opensearchUrl;
let differing;
try {
  const gateway = await startTestGateway({
    "opensearch.url": cluster,
    "gateway.rules": [{ index: "*", fields: ["text"], vector_fields: ["emb"] }],
  });
  const results = await tellStories({ cluster, gateway: gateway.url });
  await gateway.stop();
  process.stdout.write(`${tableOf(results)}\n`);
  for (const { group, title, differences } of results) {
    for (const each of differences) process.stdout.write(`${group}, ${title}: ${each}\n`);
  }
  differing = results.filter(({ differences }) => differences.length > 0).length;
  process.stdout.write(`${results.length} stories, ${differing} differ\n`);
} finally {
  if (values.url === undefined) await mochaGlobalTeardown();
}
process.exit(differing > 0 ? 1 : 0);
