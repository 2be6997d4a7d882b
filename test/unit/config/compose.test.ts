import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { packageRoot, packageVersion } from "../../../src/config/package-root.js";
import { settings } from "../../../src/config/settings.js";
import type { Setting } from "../../../src/config/setting-schemas.js";

interface Service {
  readonly image: string;
  readonly profiles?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

describe("compose.yaml", () => {
  const text = readFileSync(path.join(packageRoot, "compose.yaml"), "utf8");
  const { services } = parse(text, { merge: true }) as { services: Record<string, Service> };

  it("starts the two servers alone unless the profile is asked for, all on loopback", () => {
    const always = Object.keys(services).filter((name) => services[name]?.profiles === undefined);
    assert.deepEqual(always, ["opensearch", "redis"]);
    for (const { ports = [] } of Object.values(services)) {
      for (const port of ports) assert.match(port, /^127\.0\.0\.1:/);
    }
  });

  it("gives gateway and worker settings that there are, the default checkpoint and this version's image", () => {
    const known = Object.values(settings).map(({ env }: Setting) => env);
    const model = path.relative(packageRoot, settings["model.path"].schema.parse(undefined));
    for (const name of ["gateway", "worker"]) {
      const { environment = {}, image, volumes } = services[name] as Service;
      for (const variable of Object.keys(environment))
        assert.ok(known.includes(variable), variable);
      assert.equal(image, `csplade:${packageVersion}`);
      assert.deepEqual(volumes, [`./${model}:/models/model:ro`]);
    }
  });
});
