import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { packageRoot, packageVersion } from "../../../src/config/package-root.js";
import { testServers } from "../../support/servers.js";

describe("the packed package", function () {
  this.timeout(600_000);
  let folder: string;
  before(async () => {
    await fetch(`${testServers().opensearchUrl}/wordnet`, { method: "DELETE" });
    folder = mkdtempSync(path.join(os.tmpdir(), "csplade-package-"));
  });
  after(async () => {
    await fetch(`${testServers().opensearchUrl}/wordnet`, { method: "DELETE" });
    rmSync(folder, { recursive: true });
  });

  function run(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}) {
    const ran = spawnSync(program, args, {
      cwd,
      encoding: "utf8",
      timeout: 400_000,
      env: { ...process.env, ...env },
    });
    return { code: ran.status, out: ran.stdout, all: ran.stdout + ran.stderr };
  }

  it("installs as a global program, and runs in an empty folder of a user who has nothing", () => {
    const packed = run(
      "npm",
      ["pack", "--ignore-scripts", "--pack-destination", folder],
      packageRoot,
    );
    assert.equal(packed.code, 0, packed.all);
    const cache = run("npm", ["config", "get", "cache"], packageRoot).out.trim();
    const [prefix, home, empty] = ["prefix", "home", "empty"].map((name) =>
      path.join(folder, name),
    );
    for (const each of [prefix, home, empty]) mkdirSync(each ?? "");
    const archive = path.join(folder, `csplade-${packageVersion}.tgz`);
    const env = {
      HOME: home,
      CSPLADE_HOME: path.join(home ?? "", "csplade"),
      ONNXRUNTIME_NODE_INSTALL: "skip",
      PATH: `${path.join(prefix ?? "", "bin")}${path.delimiter}${process.env.PATH ?? ""}`,
      OPENSEARCH_URL: testServers().opensearchUrl,
      REDIS_URL: testServers().redisUrl,
    };
    const flags = ["--prefix", prefix ?? "", "--cache", cache, "--prefer-offline"];
    const installed = run("npm", ["install", "--global", ...flags, archive], empty ?? "", env);
    assert.equal(installed.code, 0, installed.all);
    rmSync(archive);

    const csplade = (...args: string[]) => run("csplade", args, empty ?? "", env);
    assert.equal(csplade("--version").out.trim(), packageVersion);
    const doctor = csplade("doctor", "--json");
    assert.equal(doctor.code, 0, doctor.all);
    const { checks } = JSON.parse(doctor.out) as { checks: { name: string; ok: boolean }[] };
    assert.deepEqual(
      checks.filter(({ ok }) => !ok),
      [],
    );
    const demo = csplade("demo", "--documents", "60");
    assert.equal(demo.code, 0, demo.all);
    assert.match(demo.out, /60 read, 60 encoded, 60 written/);
    assert.match(demo.out, /\n {2}csplade search --index wordnet/);
    assert.doesNotMatch(demo.out, /npm run/);
    assert.deepEqual(readdirSync(empty ?? ""), []);
  });
});
