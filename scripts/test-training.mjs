/**
 * `npm run test:training`: lint, types and tests of the Python package in training/.
 *
 * Its own virtual environment lies in the user's cache, named after the pinned
 * dependencies, so that nothing is installed twice and nothing lies in the tree.
 * It is no part of `npm test`: PyTorch alone is more than 2 GB from nothing.
 * Where it cannot run (no Python 3.11, no package registry) it says so and ends
 * with status 0; with --required that is status 1.
 *
 *   npm run test:training -- [--required] [pytest arguments]
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const training = fileURLToPath(new URL("../training", import.meta.url));
const required = process.argv.includes("--required");
const forwarded = process.argv.slice(2).filter((word) => word !== "--required");

function say(message) {
  process.stderr.write(`test:training: ${message}\n`);
}

/** Ends without a verdict on the code, and never silently. */
function skip(reason) {
  say(`SKIPPED, nothing was tested: ${reason}`);
  process.exit(required ? 1 : 0);
}

function succeeds(program, args, options = {}) {
  const end = spawnSync(program, args, { cwd: training, stdio: ["ignore", 2, 2], ...options });
  return end.status === 0;
}

/** A Python with what pyproject.toml pins; made once. */
function environment() {
  const project = readFileSync(path.join(training, "pyproject.toml"));
  const sum = createHash("sha256").update(project).digest("hex").slice(0, 12);
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), ".cache");
  const folder = path.join(cache, "csplade", `training-${sum}`);
  const python = path.join(folder, "bin", "python");
  const stamp = path.join(folder, ".complete");
  if (existsSync(stamp)) return python;
  const recent = "import sys; sys.exit(sys.version_info < (3, 11))";
  const system = ["python3", "python3.11", "python3.12", "python3.13"].find((name) =>
    succeeds(name, ["-c", recent], { stdio: "ignore" }),
  );
  if (system === undefined) skip("it needs Python 3.11 or newer as python3");
  mkdirSync(path.dirname(folder), { recursive: true });
  say(`making ${folder} (PyTorch: more than 2 GB)`);
  if (!succeeds(system, ["-m", "venv", "--clear", folder])) skip("python3 -m venv failed");
  const wanted = spawnSync(
    python,
    [
      "-c",
      "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project'];" +
        "print('\\n'.join(p['dependencies'] + p['optional-dependencies']['dev']))",
    ],
    { cwd: training, encoding: "utf8" },
  ).stdout;
  const list = path.join(folder, "requirements.txt");
  writeFileSync(list, wanted);
  const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", list];
  if (!succeeds(python, install)) skip("pip could not install the dependencies; see above");
  writeFileSync(stamp, "");
  return python;
}

const python = environment();
const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", MPLBACKEND: "Agg" };
const checks = [
  ["ruff", "check", "."],
  ["ruff", "format", "--check", "."],
  ["mypy", "--cache-dir", path.join(path.dirname(python), "..", ".mypy_cache")],
  ["pytest", "-p", "no:cacheprovider", ...forwarded],
];
let failed = 0;
for (const check of checks) {
  const end = spawnSync(python, ["-m", ...check], { cwd: training, env, stdio: "inherit" });
  if (end.status === 0) continue;
  failed += 1;
  say(`${check.slice(0, 2).join(" ")} failed`);
}
process.exitCode = failed === 0 ? 0 : 1;
