/**
 * `npm run readme`: runs the demo and writes what it prints into README.md, on whatever servers
 * OPENSEARCH_URL and REDIS_URL name, or the embedded ones. test/live/cli/demo.test.ts compares.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { withOutput, worthShowing } from "../dist/test/support/readme-demo.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const demo = spawnSync(process.execPath, ["dist/src/cli/main.js", "demo"], {
  cwd: root,
  encoding: "utf8",
  stdio: ["ignore", "pipe", "inherit"],
  env: { ...process.env, NO_COLOR: "1" },
});
if (demo.status !== 0) process.exit(demo.status ?? 1);
const file = path.join(root, "README.md");
writeFileSync(file, withOutput(readFileSync(file, "utf8"), worthShowing(demo.stdout)));
process.stdout.write(`${file} shows this run of the demo\n`);
