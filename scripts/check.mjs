/**
 * `npm run check`: everything that can be judged without running the code. All
 * checks run even when one fails; the exit status is 1 if any fails.
 *
 * Plain Node without dependencies, like the other scripts.
 */
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const deadlineMs = 600_000;

const checks = [
  { name: "types", tool: "tsc", args: ["-p", "tsconfig.json"] },
  { name: "lint", tool: "eslint", args: ["."] },
  { name: "format", tool: "prettier", args: ["--check", "--log-level", "warn", "."] },
  { name: "unused code", tool: "knip", args: ["--no-progress", "--no-config-hints"] },
  { name: "imports go one way", tool: "depcruise", args: ["src", "--output-type", "err"] },
];

/** Runs one check; nothing is thrown, a tool that cannot run is a failed check. */
async function run({ name, tool, args }) {
  const startedAt = Date.now();
  let output = "";
  const keep = (chunk) => {
    output += chunk;
  };
  const status = await new Promise((resolve) => {
    const child = spawn(path.join(root, "node_modules", ".bin", tool), args, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: deadlineMs,
    });
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    child.on("error", (thrown) => {
      keep(`${thrown.message} (run npm run setup)\n`);
      resolve(-1);
    });
    child.on("close", resolve);
  });
  const seconds = (Date.now() - startedAt) / 1000;
  return { name, ok: status === 0, seconds, output: output.trim() };
}

const results = await Promise.all(checks.map(run));
for (const { name, ok, output } of results) {
  if (!ok) process.stdout.write(`\n── ${name} ──\n${output}\n`);
}
process.stdout.write("\n");
for (const { name, ok, seconds } of results) {
  process.stdout.write(`${ok ? "ok    " : "FAILED"}  ${name} (${seconds.toFixed(1)} s)\n`);
}
const failed = results.filter(({ ok }) => !ok).length;
process.stdout.write(`check: ${results.length - failed} ok, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
