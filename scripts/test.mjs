/**
 * `npm test`: setup, all checks, all tests. What is given after `--` goes to
 * mocha, such as `npm test -- --grep bulk`.
 *
 * The last line is `N passed, N failed` alone, for continuous integration;
 * failed checks count as failures.
 */
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** Runs a program to its end, showing what it prints. */
async function run(program, args) {
  let output = "";
  const status = await new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
    // An interrupted run must still stop the test servers, which mocha's teardown does.
    const forward = (signal) => child.kill(signal);
    process.on("SIGINT", forward).on("SIGTERM", forward);
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      process.stdout.write(chunk);
      output += chunk;
    });
    child.on("error", (thrown) => {
      process.stderr.write(`${program}: ${thrown.message}\n`);
      resolve(1);
    });
    child.on("close", (code) => {
      process.off("SIGINT", forward).off("SIGTERM", forward);
      resolve(code ?? 1);
    });
  });
  return { status, output };
}

function lastNumber(output, pattern) {
  return Number([...output.matchAll(pattern)].at(-1)?.[1] ?? 0);
}

const setup = await run(process.execPath, ["scripts/setup.mjs", "--browser"]);
if (setup.status !== 0) finish(0, 1);
else {
  const check = await run(process.execPath, ["scripts/check.mjs"]);
  const failedChecks = Math.max(
    lastNumber(check.output, /^check: \d+ ok, (\d+) failed$/gm),
    check.status === 0 ? 0 : 1,
  );
  const mocha = await run(path.join(root, "node_modules", ".bin", "mocha"), [
    "--config",
    "test/mocharc.json",
    "--forbid-only",
    ...process.argv.slice(2),
    "dist/test/**/*.test.js",
  ]);
  const passed = lastNumber(mocha.output, /^\s*(\d+) passing/gm);
  const pending = lastNumber(mocha.output, /^\s*(\d+) pending/gm);
  const failing = lastNumber(mocha.output, /^\s*(\d+) failing/gm);
  const failedTests = Math.max(failing, mocha.status === 0 ? 0 : 1);
  process.stdout.write(
    `tests: ${passed} passing, ${pending} pending, ${failedTests} failing; checks: ${failedChecks} failed\n`,
  );
  finish(passed, failedTests + failedChecks);
}

function finish(passed, failed) {
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}
