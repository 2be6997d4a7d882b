/**
 * Makes a bare machine ready: packages from npm, the build, and what the
 * embedded servers need. Does only what is missing, so it is quick when nothing is.
 *
 *   node scripts/setup.mjs [--unit] [--quiet] [--browser]
 *
 * --unit   leave out what only the embedded servers need
 * --quiet  say only what is done; a missing server package is then not an error
 * --browser  also Chromium for the console's tests, which are skipped where it cannot be had
 *
 * Plain Node without dependencies, because it runs before there are any.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const unit = process.argv.includes("--unit");
const quiet = process.argv.includes("--quiet");
const browser = process.argv.includes("--browser");
const startedAt = Date.now();

class SetupError extends Error {}

try {
  demandNode();
  installPackages();
  build();
  if (!unit) installServerPackages();
  if (browser) installBrowser();
  if (!quiet) say(`ready (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`);
} catch (thrown) {
  if (!(thrown instanceof SetupError)) throw thrown;
  say(thrown.message);
  process.exitCode = 1;
}

function say(message) {
  process.stderr.write(`setup: ${message}\n`);
}

/** Runs a program to its end; what it prints goes to standard error. */
function run(program, args, { env = process.env, deadlineMs = 900_000 } = {}) {
  const end = spawnSync(program, args, {
    cwd: root,
    env,
    stdio: ["ignore", 2, 2],
    timeout: deadlineMs,
  });
  if (end.status === 0) return;
  const how = end.error === undefined ? `ended with status ${end.status}` : end.error.message;
  throw new SetupError(`${[program, ...args].join(" ")} ${how}; see its output above.`);
}

function has(program) {
  return (process.env.PATH ?? "").split(path.delimiter).some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return folder !== "";
    } catch {
      return false;
    }
  });
}

function demandNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new SetupError(`Node ${process.versions.node} is too old; install Node 20.19 or newer.`);
}

/** `npm ci` when node_modules is not what package-lock.json says. */
function installPackages() {
  const lock = path.join(root, "package-lock.json");
  const installed = path.join(root, "node_modules", ".package-lock.json");
  const stamp = path.join(root, "node_modules", ".installed-from");
  const sum = createHash("sha256").update(readFileSync(lock)).digest("hex");
  if (existsSync(installed)) {
    // The sum, not the time, where it is known: switching branches touches files without changing them.
    const current = existsSync(stamp)
      ? readFileSync(stamp, "utf8") === sum
      : statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
    if (current) {
      if (!existsSync(stamp)) writeFileSync(stamp, sum);
      return;
    }
  }
  say("npm ci");
  const args = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  try {
    run("npm", args);
  } catch {
    say("npm ci failed; once more, in case it was the network");
    run("npm", args);
  }
  writeFileSync(stamp, sum);
}

/** Compiles when a source is newer than the last build, and forgets outputs whose source is gone. */
function build() {
  const stamp = path.join(root, "dist", ".built");
  const rooms = ["src", "test", "bench", "examples"].filter((name) =>
    existsSync(path.join(root, name)),
  );
  const sources = rooms.flatMap((name) => filesBelow(path.join(root, name)));
  const inputs = [...sources, "tsconfig.json", "package-lock.json"].map((file) =>
    path.resolve(root, file),
  );
  const builtAt = existsSync(stamp) ? statSync(stamp).mtimeMs : 0;
  if (inputs.some((file) => statSync(file).mtimeMs > builtAt)) {
    if (!quiet) say("building");
    const begun = new Date();
    run(path.join(root, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.json"]);
    writeFileSync(stamp, begun.toISOString());
  }
  for (const name of rooms) removeOrphans(name);
}

/** A test whose source was deleted must not go on passing. */
function removeOrphans(room) {
  const built = path.join(root, "dist", room);
  if (!existsSync(built)) return;
  for (const file of filesBelow(built)) {
    const source = path.join(root, path.relative(path.join(root, "dist"), file));
    if (!file.endsWith(".js") || existsSync(source.replace(/\.js$/, ".ts"))) continue;
    const stem = file.replace(/\.js$/, "");
    for (const ending of [".js", ".js.map", ".d.ts"]) rmSync(stem + ending, { force: true });
  }
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** The programs that assemble and run the embedded servers. */
function installServerPackages() {
  const canInstall = mayInstall();
  const needed = [
    { program: ["redis-server"], packages: ["redis-server"], named: "redis-server" },
    // Maven is content with a runtime; only the older OpenSearch wants a full JDK.
    {
      program: [canInstall ? "javac" : "java"],
      packages: ["default-jdk-headless"],
      named: "a JDK 17 or newer",
    },
    { program: ["mvn"], packages: ["maven"], named: "Maven (mvn)" },
    { program: ["pip3", "pip"], packages: ["python3-pip", "python3-venv"], named: "Python's pip" },
  ];
  const missing = needed.filter(({ program }) => !program.some(has));
  if (missing.length === 0) return;
  const names = missing.map(({ named }) => named).join(", ");
  if (!canInstall) {
    if (quiet) return;
    throw new SetupError(
      `The embedded servers need ${names}: install it with your package manager and run this again.`,
    );
  }
  aptInstall(missing.flatMap((each) => each.packages));
}

/** Chromium, if it can be had; without it some tests are skipped and say so. */
function installBrowser() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  if (process.env.CHROME_PATH !== undefined || names.some(has)) return;
  const without = "the console's browser tests will be skipped";
  if (!mayInstall()) {
    say(`no Chromium on the PATH or in CHROME_PATH: ${without}`);
    return;
  }
  try {
    aptInstall(["chromium"]);
  } catch (thrown) {
    if (!(thrown instanceof SetupError)) throw thrown;
    say(`Chromium cannot be installed: ${without}`);
  }
}

function mayInstall() {
  return process.getuid?.() === 0 && has("apt-get");
}

function aptInstall(packages) {
  say(`apt-get install ${packages.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  withoutServices(() => {
    run("apt-get", ["-qq", "update"], { env });
    run("apt-get", ["-qq", "install", "--yes", "--no-install-recommends", ...packages], { env });
  });
}

/** Debian starts a server when it installs it; its own way to forbid that is this file. */
function withoutServices(install) {
  const policy = "/usr/sbin/policy-rc.d";
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    install();
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
}
